"""Overlap of nests: values fixed or averaged over that the rows of a regression hardly hold."""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.estimation.coefficient_influence import with_constant
from causalppl.estimation.dose import FAR, DoseOverlap
from causalppl.estimation.features import standardised
from causalppl.estimation.nested_fit import Columns
from causalppl.estimation.nested_formula import Expectation, Formula, inner_parts
from causalppl.estimation.nuisance import Fitted, plain_learner
from causalppl.estimation.overlap import RARE, RARE_SHARE
from causalppl.estimation.propensity import CERTAIN, MOST_CERTAIN
from causalppl.exceptions import AssumptionError, OverlapWarning
from causalppl.user_warning import warn_user

__all__ = ["check_overlap", "describe_fixed"]

Rows: TypeAlias = NDArray[np.bool_]

_MOST_RARE = 0.10  # as many rows may have a rare chance; at half of it intervals still cover


def describe_fixed(columns: Columns, step: Expectation) -> list[DoseOverlap]:
    """Describe each number that a regression is asked at, given its other regressors.

    Args:
        columns: The rows.
        step: The regression.

    Example:
        >>> from causalppl.data import Table
        >>> from causalppl.estimation.nested_formula import compile_formula
        >>> from causalppl.graphs import ADMG
        >>> from causalppl.identification import identify
        >>> rows = Table.from_any({"X": range(50), "Y": range(50)})
        >>> formula = compile_formula(
        ...     identify(ADMG.parse("X -> Y"), "E[Y | do(X=60)]").body, frozenset()
        ... )
        >>> print(describe_fixed(Columns.read(rows, ("X", "Y")), formula)[0])
        X=60 lies outside the values seen, 0 to 49
    """
    inside = columns.inside(step.law)
    values = {s: columns.values[s.variable][inside] for s in step.given}
    others = tuple(sorted(step.given))
    matrix = with_constant(columns.features(values, others, int(inside.sum())))
    found = []
    for symbol in step.law.given:
        if symbol.value is None or symbol.variable in columns.states:
            continue
        seen, level = columns.values[symbol.variable][inside], columns.code(symbol)
        expected = matrix @ np.linalg.lstsq(matrix, seen, rcond=None)[0]
        far = np.abs(level - expected) > FAR * np.sqrt(((seen - expected) ** 2).mean())
        ends = float(seen.min()), float(seen.max())
        found.append(DoseOverlap(str(symbol), level, ends, float(far.mean())))
    return found


def check_overlap(columns: Columns, formula: Formula) -> None:
    """Refuse, or warn, where a regression is asked about values that its rows do not have.

    A regression in a stratum is averaged over a law in another: over the mediators of the
    untreated, say, when it was fitted to the treated. A logistic regression says whether values
    tell the two apart, as a propensity does; values of a class must occur in both.

    Args:
        columns: The rows.
        formula: The formula whose regressions are looked at.

    Raises:
        AssumptionError: More than 1 % of the rows averaged over have a value of a class that does
            not occur in the stratum; or values tell the stratum of more than 90 % of the rows.

    Warns:
        OverlapWarning: More than 10 % of the rows averaged over have a chance below 0.01 of values
            like theirs being in the stratum.

    Example:
        >>> from causalppl.data import Table
        >>> from causalppl.estimation.nested_formula import compile_formula
        >>> from causalppl.graphs import back_door
        >>> from causalppl.identification import identify
        >>> formula = compile_formula(identify(back_door(), "E[Y | do(X=1)]").body, frozenset("XZ"))
        >>> rows = Table.from_any({"Z": [0, 1] * 30, "X": [0, 1] * 30, "Y": range(60)})
        >>> check_overlap(Columns.read(rows, ("X", "Y", "Z")), formula)
        Traceback (most recent call last):
        causalppl.exceptions.AssumptionError: Z=0 never occurs with X=1, and is averaged over...
    """
    done = set()
    for above, step in _nested(formula, None):
        population, own = columns.inside(above.law), columns.inside(step.law)
        names = tuple(sorted({s.variable for s in step.given}))
        key = population.tobytes(), own.tobytes(), names
        if key in done or not names or own[population].all():
            continue
        done.add(key)
        _check_classes(columns, step, population, own)
        _check_chances(columns, step, population, own)


def _nested(
    formula: Formula, above: Expectation | None
) -> Iterator[tuple[Expectation, Expectation]]:
    """List the regressions that are averaged over a law, with this."""
    if isinstance(formula, Expectation):
        if above is not None:
            yield above, formula
        above = formula
    for part in inner_parts(formula):
        yield from _nested(part, above)


def _check_classes(columns: Columns, step: Expectation, population: Rows, own: Rows) -> None:
    for symbol in sorted(step.given):
        if symbol.variable not in columns.states:
            continue
        seen = columns.values[symbol.variable]
        lacking = population & ~np.isin(seen, seen[own])
        share = lacking.sum() / population.sum()
        if share > RARE_SHARE:
            code = seen[lacking][0]
            categories = columns.table.column(symbol.variable).categories
            value = f"{code:g}" if categories is None else categories[int(code)]
            raise AssumptionError(
                f"{symbol.variable}={value} never occurs with {_stratum(step)}, and is averaged "
                f"over (with {share:.1%} of the rows): nothing shows what would be there; expected "
                "values that occur together (positivity): merge values or bound the effect"
            )


def _check_chances(columns: Columns, step: Expectation, population: Rows, own: Rows) -> None:
    union = population | own
    others = tuple(sorted(step.given))
    values = {s: columns.values[s.variable][union] for s in others}
    matrix = standardised(columns.features(values, others, int(union.sum())))
    target = own[union].astype(np.float64)
    fit = Fitted(plain_learner(classes=True), matrix, target, np.ones(len(target)), classes=True)
    chance = fit.predict(matrix)[:, -1]
    certain = float(((chance < CERTAIN) | (chance > 1 - CERTAIN)).mean())
    names = ", ".join(found := sorted({s.variable for s in others}))
    if certain > MOST_CERTAIN:
        tell = "tells" if len(found) == 1 else "tell"
        raise AssumptionError(
            f"{names} {tell} {_stratum(step)} in {certain:.1%} of the rows (perfect separation, or "
            "nearly): nothing shows what another value would have done; expected overlap, merge "
            "values or bound the effect"
        )
    rare = float((chance[population[union]] < RARE).mean())
    if rare > _MOST_RARE:
        warn_user(
            f"overlap is poor: {rare:.1%} of the rows averaged over have, by their {names}, a "
            f"chance below {RARE} of {_stratum(step)}: the regression extrapolates there; ask "
            "about values that are more frequent, or bound the effect",
            OverlapWarning,
        )


def _stratum(step: Expectation) -> str:
    return ", ".join(str(s) for s in step.law.given if s.value is not None)
