"""A posterior in words.

| name | what it does | paper |
|---|---|---|
| `sentence` | what was found, how surely, and on what it rests, in one sentence | - |
| `short_form` | one line for the prompt | - |
| `html_form` | the sentence and the first rows, for notebooks | - |
"""

import math
import re
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from causalppl.inference.khat import KHAT_LIMIT
from causalppl.inference.laws import EmpiricalLaw, Law, PointLaw
from causalppl.inference.posterior_table import (
    error_columns,
    is_certain,
    is_simulated,
    support,
    tails,
    worst_khat,
)

if TYPE_CHECKING:
    from causalppl.inference.posterior import Posterior

__all__ = ["html_form", "sentence", "short_form"]

RHAT_LIMIT: Final = 1.01
LONGEST: Final = 4
"""Variables and couplings that are named one by one."""

_SUBSCRIPT: Final = re.compile(r"_\{[^{}]*\}")
_CONTRAST: Final = re.compile(r"(?!P\()[A-Z]+\(")
_SPREAD: Final = "the spread is Monte Carlo error"


def sentence(posterior: "Posterior", prob: float) -> str:
    """Say what was found; see `Posterior.interpret`."""
    tails(prob)
    names = posterior.variables
    said = [_finding(posterior, name, prob) for name in names[:LONGEST]]
    if len(names) > LONGEST:
        said.append(f"{len(names) - LONGEST} more variables are in the summary")
    head = f"For {posterior.query}: " if posterior.query else ""
    return f"{head}{'; '.join(said)}, {_means(posterior)}, {_grounds(posterior)}."


def short_form(posterior: "Posterior") -> str:
    """Return one line: variables, query and engine."""
    names = posterior.variables
    shown = ", ".join(names[:LONGEST]) + (", ..." if len(names) > LONGEST else "")
    how = "exact" if posterior.is_exact else "approximate"
    query = posterior.query or "no query"
    return f"Posterior({shown or 'nothing'}; {query}; {posterior.engine}, {how})"


def html_form(posterior: "Posterior") -> str:
    """Return the sentence and a table of ten rows, as HTML."""
    table = posterior.summary(max_rows=10)
    hidden = table.attrs["left_out"]
    more = f"<p>{hidden:,} more rows left out</p>" if hidden else ""
    shown = table.to_html(float_format=lambda x: f"{x:.4g}", index_names=False)
    return f"<p>{escape(posterior.interpret())}</p>{shown}{more}"


# --- what was found --------------------------------------------------------------------------


def _finding(posterior: "Posterior", name: str, prob: float) -> str:
    law, number = posterior.law(name), _number_name(posterior, name)
    if law.shape:
        return _finding_on_units(posterior, name, number)
    if is_simulated(posterior, name):
        return f"{number or name} is {_text(law.mean())} with a standard error of {_text(law.sd())}"
    if float(law.sd()) == 0 or is_certain(law):
        sure = "in every draw" if isinstance(law, EmpiricalLaw) else "with certainty"
        # a number that was asked for is not an event that could have come out otherwise
        return (
            f"{number} is {_text(law.mean())}"
            if number
            else f"{name} is {_text(law.mean())} {sure}"
        )
    shares = _shares(name, law)
    if shares is not None:
        return shares
    low, high = tails(prob)
    return (
        f"{number or name} has posterior mean {_text(law.mean())} and standard deviation "
        f"{_text(law.sd())}, and lies between {_text(law.quantile(low))} and "
        f"{_text(law.quantile(high))} with probability {100 * prob:.4g} %"
    )


def _finding_on_units(posterior: "Posterior", name: str, number: str | None) -> str:
    law, data = posterior.law(name), posterior.draws.get(name)
    has_units = len(law.shape) == 1 and (data is None or "units" in data.dims)
    kind, mean, sd = "units" if has_units else "entries", law.mean(), law.sd()
    spread = "standard error" if is_simulated(posterior, name) else "standard deviation"
    said = (
        f"over {math.prod(law.shape):,} {kind} the posterior means of {number or name} average "
        f"{_text(mean.mean())} and range from {_text(mean.min())} to {_text(mean.max())}"
    )
    return (
        said
        if bool((sd == 0).all())
        else f"{said}, each with a {spread} of at most {_text(sd.max())}"
    )


def _shares(name: str, law: Law) -> str | None:
    """Probabilities of the values of a discrete law that has few of them."""
    values, labels = support(law, limit=6) if law.is_discrete else ([], [])
    if not values:
        return None
    if labels == [0, 1]:
        return f"{name} is 1 with probability {_text(law.probability(1))}"
    pairs = [
        f"{label} with probability {_text(law.probability(v))}"
        for v, label in zip(values, labels, strict=True)
    ]
    return f"{name} is {', '.join(pairs)}"


def _number_name(posterior: "Posterior", name: str) -> str | None:
    """Name the number that the query asks for; None where it asks for the law of a variable."""
    query = posterior.query
    if query.startswith("E["):
        return name if name.startswith("E[") else f"the mean of {name}"
    bare, found = name, 1
    while found:  # subscripts nest
        bare, found = _SUBSCRIPT.subn("", bare)
    if query.startswith("P(") and re.search("[=<>]", bare):
        return f"the probability of {name}"
    return name if _CONTRAST.match(query) else None


# --- by what means ---------------------------------------------------------------------------


def _means(posterior: "Posterior") -> str:
    engine = posterior.engine or "an unnamed engine"
    has_laws = all(name in posterior.laws for name in posterior.variables)
    draws = math.prod(posterior.draws.sizes.get(axis, 1) for axis in ("chain", "draw"))
    if posterior.is_exact:
        means = f"computed exactly by {engine}"
        return means if has_laws else f"{means} and represented by {draws:,} draws"
    if not has_laws:
        means = f"approximated by {engine} with {draws:,} draws"
    elif all(isinstance(law, PointLaw) for law in posterior.laws.values()):
        means = f"approximated by {engine}"
    else:
        means = f"by simulation with {engine}"
    flags = list(_flags(posterior))
    if flags:
        return f"{means}, which should not be trusted because {' and '.join(flags)}"
    if has_laws:
        return f"{means} ({_SPREAD})" if "simulation" in means else means
    return f"{means} (Monte Carlo error of the mean at most {_worst(posterior, 'mcse'):.2g})"


def _flags(posterior: "Posterior") -> Iterator[str]:
    rhat, khat = _worst(posterior, "rhat"), worst_khat(posterior)
    for what, value, limit in (("R-hat", rhat, RHAT_LIMIT), ("k-hat", khat, KHAT_LIMIT)):
        if not value <= limit:
            yield f"{what} reaches {value:.3g}, above {limit}"


def _worst(posterior: "Posterior", column: str) -> float:
    laws = ((name, posterior.law(name).flat()) for name in posterior.variables)
    columns = [error_columns(posterior, name, law).get(column, 0.0) for name, law in laws]
    return float(np.max([np.max(values, initial=0.0) for values in columns], initial=0.0))


# --- on what grounds -------------------------------------------------------------------------


def _grounds(posterior: "Posterior") -> str:
    said = "taking the program as given"
    if posterior.assumptions:
        said = f"assuming {' and '.join(posterior.assumptions)}"
    if posterior.couplings:
        named = [f"{site} {kind}" for site, kind in posterior.couplings.items()]
        more = len(named) - LONGEST
        rest = f" and those of {more} more sites" if more > 0 else ""
        said += f", with noise coupled across worlds by {', '.join(named[:LONGEST])}{rest}"
    notes = list(_clauses(posterior))
    return f"{said} ({'; '.join(notes)})" if notes else said


def _clauses(posterior: "Posterior") -> Iterator[str]:
    """Notes as parts of a sentence; what the sentence says itself is left out."""
    for note in dict.fromkeys(posterior.notes):
        clause = " ".join(note.split()).rstrip(".;")
        clause = re.sub(r"[.!?]\s+(?=[A-Z])", "; ", clause)
        if clause.startswith(_SPREAD):
            clause = clause[len(_SPREAD) :].partition("; ")[2]
        if clause:
            yield clause


def _text(value: torch.Tensor) -> str:
    return f"{float(value):.4g}"
