"""Whether the law of a site gives evidence any chance, as far as that can be told before inference.

Told of a root site, whose law is the same for all units; of other sites, by what their family
allows whatever its parameters (0 or 1 of a Bernoulli, positive numbers of a LogNormal).
"""

from typing import Any

import torch
from torch.distributions import constraints

from causalppl.exceptions import ImpossibleEvidenceError
from causalppl.programs.interventions import Interventions
from causalppl.programs.scm import SCM
from causalppl.programs.slicing import slice_batch
from causalppl.programs.structure import Site
from causalppl.programs.targets import num_codes
from causalppl.programs.wrappers import unwrap
from causalppl.shapes import broadcast_shapes

__all__ = ["beyond_support", "check_support"]


def check_support(
    key: str, site: Site, law: Any, value: torch.Tensor, missing: torch.Tensor | None
) -> None:
    """Raise for evidence that the law of its site rules out.

    Args:
        key: The evidence, such as ``"Y@x0"``.
        site: Its site.
        law: The law of the site in some run.
        value: Shape ``(units, *event)``.
        missing: The units whose value is missing.

    Raises:
        ImpossibleEvidenceError: Naming the site, the first such value and the support.
    """
    support = _known_support(site, law)
    if support is None:
        return
    possible = support.check(value).reshape(len(value), -1).all(1)
    if missing is not None:
        possible = possible | missing
    if not bool(possible.all()):
        unit = int((~possible).nonzero()[0])
        raise ImpossibleEvidenceError(
            f"the evidence {value[unit].tolist()} on {key!r} (unit {unit}) lies outside the "
            f"support of its {site.family} law, so it has probability zero; expected "
            f"{_in_words(support)}, check the value"
        )


def beyond_support(scm: SCM, interventions: Interventions) -> tuple[str, ...]:
    """Say which interventions set a site to what its own law rules out, as far as can be told.

    Such a question has an answer, since mechanisms are functions, but a binary cause that is set
    to 2 is more often a slip.
    """
    notes = []
    for name, value in interventions.items():
        site, law = scm.structure.sites.get(name), scm.laws.get(name)
        is_plain = isinstance(value, int | float | torch.Tensor)
        if site is None or law is None or len(site.plates) != 1 or not is_plain:
            continue
        support = _known_support(site, law)
        entries = torch.as_tensor(value)
        entries = entries.expand(broadcast_shapes(entries.shape, site.event_shape))
        if support is not None and not bool(support.check(entries).all()):
            told = f"{value:g}" if isinstance(value, int | float) else "some values"
            notes.append(
                f"{name} is set to {told}, which its own {site.family} law rules out (it allows "
                f"{_in_words(support)}): the answer takes the mechanisms at their word there"
            )
    return tuple(notes)


def _known_support(site: Site, law: Any) -> Any:
    """The support that all units share; None where it may depend on the parents."""
    if not site.parents or num_codes(law) is not None:
        return slice_batch(law, -1, 0, keepdim=True).support
    declared = getattr(type(unwrap(law).base), "support", None)
    is_fixed = isinstance(declared, constraints.Constraint) and not constraints.is_dependent(
        declared
    )
    return declared if is_fixed else None


def _in_words(support: Any) -> str:
    """What is possible; of a vector, of each entry."""
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    low, high = (_number(getattr(support, name, None)) for name in ("lower_bound", "upper_bound"))
    kind = "whole numbers" if getattr(support, "is_discrete", False) else "numbers"
    if support is constraints.boolean:
        return "0 or 1"
    if low is not None and high is not None:
        return f"{kind} from {low:g} to {high:g}"
    if low is not None:
        is_open = isinstance(support, constraints.greater_than)
        return f"{kind} {'above' if is_open else 'from'} {low:g}{'' if is_open else ' on'}"
    return f"a value that satisfies {str(support).removesuffix('()')}"


def _number(bound: Any) -> float | None:
    """A bound as one number; None where there is none, or it differs between entries."""
    if isinstance(bound, torch.Tensor):
        return float(bound.flatten()[0]) if bound.unique().numel() == 1 else None
    return None if bound is None else float(bound)
