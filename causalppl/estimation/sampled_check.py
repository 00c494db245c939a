"""A formula estimated from a program's units, against the program's units under ``do``."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from causalppl.estimation.estimator import Estimator
from causalppl.estimation.exact_check import parts_of
from causalppl.estimation.from_data import estimate
from causalppl.estimation.verification import Verification
from causalppl.exceptions import DataError, ImpossibleEvidenceError, QueryError
from causalppl.identification import Estimand
from causalppl.inference import infer
from causalppl.programs import SCM
from causalppl.queries import Contrast, Event, Query, parse_query
from causalppl.queries.open_values import Open, fill_open_values, label_open_values
from causalppl.queries.terms import HOLDS

__all__ = ["check_by_samples"]


class _Mean(NamedTuple):
    """A mean, and its standard error."""

    value: float
    error: float


def check_by_samples(
    scm: SCM,
    estimand: Estimand,
    query: str | Query | Contrast | None,
    *,
    estimator: Estimator | None,
    num_samples: int,
    false_alarm: float,
    seed: int,
) -> Verification:
    """Check one formula; the arguments are those of `verify`.

    Raises:
        QueryError: The query leaves a value open, or conditions on a continuous variable.
        DataError: A setting is out of range.
    """
    if not isinstance(num_samples, int) or num_samples < 100:
        raise DataError(f"num_samples is {num_samples!r}; expected a whole number from 100 up")
    if not 0 < false_alarm < 1:
        raise DataError(f"false_alarm is {false_alarm!r}; expected a number between 0 and 1")
    asked = estimand.query if query is None else query
    asked = parse_query(asked) if isinstance(asked, str) else asked
    parts = parts_of(asked, scm)
    if labels := label_open_values(part for _, part in parts):
        raise QueryError(
            f"{asked} leaves {', '.join(sorted(labels.values()))} open; a program with infinitely "
            f"many values is checked at given values, as in {_closed(scm, parts[0][1], labels)}"
        )
    data = _named(scm, scm.sample(num_samples, seed=seed))
    found = estimate(estimand, data, method=estimator, seed=seed, progress=False)
    truth = _answer(scm, parts, num_samples, seed + 1)
    error = np.hypot(float(found.standard_error), truth.error)
    allowed = float(-ndtri(false_alarm / 2) * error)
    return Verification(
        asked, estimand, {}, found.values, np.array(truth.value), allowed, false_alarm
    )


def _closed(scm: SCM, query: Query, labels: Mapping[Open, str]) -> Query:
    """The query with a 1 for what it leaves open; of a continuous outcome, the mean."""
    filled = fill_open_values(query, labels, dict.fromkeys(labels.values(), 1))
    (outcome, *others) = filled.outcomes
    if not others and not scm.structure.sites[outcome.name].is_discrete:
        filled = replace(filled, kind="E", outcomes=(replace(outcome, value=None),))
    return filled if filled.rung == 3 else filled.interventional()


def _answer(scm: SCM, parts: tuple[tuple[float, Query], ...], num_samples: int, seed: int) -> _Mean:
    """Ask the program; parts without conditions share their units, so that noise cancels."""
    value, variance = 0.0, 0.0
    shared = torch.zeros(num_samples, dtype=torch.float64)
    for weight, part in parts:
        if part.rung == 3:
            (mean,) = infer(scm, part, seed=seed, progress=False).mean().values()
            value += weight * float(mean)
            continue
        outcome, kept = _units(scm, part.interventional(), num_samples, seed)
        if part.given:
            chosen = outcome[kept]
            value += weight * float(chosen.mean())
            variance += weight**2 * float(chosen.var()) / len(chosen)
        else:
            shared += weight * outcome
    value += float(shared.mean())
    return _Mean(value, float((variance + float(shared.var()) / num_samples) ** 0.5))


def _units(scm: SCM, query: Query, num_samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw units in the query's world: what is asked of each, and which fulfil the condition."""
    world: dict[str, Any] = {setting.name: setting.value for setting in query.do}
    values = (scm.intervened(world) if world else scm).sample(num_samples, seed=seed)
    kept = torch.ones(num_samples, dtype=torch.bool)
    for event in query.given:
        if not scm.structure.sites[event.name].is_discrete:
            raise QueryError(
                f"{query} conditions on {event.name}, which is continuous; expected conditions on "
                "discrete variables, or none"
            )
        kept &= _holds(scm, event, values[event.name])
    if int(kept.sum()) < 2:
        raise ImpossibleEvidenceError(
            f"what is given in {query} happened to {int(kept.sum())} of {num_samples:,} units; "
            "raise num_samples, or change the condition"
        )
    if query.kind == "E":
        return values[query.outcomes[0].name].to(torch.float64), kept
    found = torch.ones(num_samples, dtype=torch.bool)
    for event in query.outcomes:
        found &= _holds(scm, event, values[event.name])
    return found.to(torch.float64), kept


def _holds(scm: SCM, event: Event, values: Tensor) -> Tensor:
    code = scm.encode({event.name: event.value})[event.name]
    found: Tensor = torch.as_tensor(HOLDS[event.op](values, code))
    return found


def _named(scm: SCM, values: dict[str, Tensor]) -> dict[str, Any]:
    """Give observed columns, with category names where the model has them."""
    import pandas as pd

    data: dict[str, Any] = dict.fromkeys(scm.observed)
    for name in data:
        labels: Any = list(scm.categories.get(name, ()))
        data[name] = values[name]
        if labels:
            data[name] = pd.Categorical.from_codes(values[name].long().numpy(), labels)
    return data
