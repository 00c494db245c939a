"""Try to refute an estimate: known changes of the data, and whether it reacts as it must."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from causalppl.data import Column
from causalppl.estimation.contingency import OBSERVED
from causalppl.estimation.estimate import Estimate
from causalppl.estimation.refutation_check import WEIGHT, Check, CheckResult, roles_of
from causalppl.estimation.refutation_checks import (
    BootstrapError,
    DummyOutcome,
    PlaceboTreatment,
    RandomCommonCause,
    SimulatedConfounder,
    SubsetStability,
)
from causalppl.estimation.refutation_form import FunctionalForm
from causalppl.estimation.refutation_learners import has_slow_learners, with_fixed_learners
from causalppl.estimation.refutation_priors import PosteriorPredictive, PriorSensitivity
from causalppl.exceptions import DataError
from causalppl.inference.progress import is_shown, progress_bar
from causalppl.seeding import checked_seed

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CHECKS", "Refutation", "refute"]

_MOST_ROWS = 2_000_000
_REPEATS, _FEW_REPEATS = 30, 6  # the latter for learners that take long

CHECKS: tuple[Check, ...] = (
    PlaceboTreatment(),
    DummyOutcome(),
    RandomCommonCause(),
    SubsetStability(),
    BootstrapError(),
    FunctionalForm(),
    SimulatedConfounder(),
    PriorSensitivity(),
    PosteriorPredictive(),
)


@dataclass(frozen=True, eq=False)
class Refutation:
    """What the attempts to refute an estimate found.

    Attributes:
        estimate: The estimate.
        results: One for each check.
        note: What limits the checks; empty if nothing does.

    Example:
        >>> from causalppl.data import load_kidney_stones
        >>> from causalppl.estimation import estimate
        >>> from causalppl.graphs import ADMG
        >>> from causalppl.identification import identify
        >>> stones = load_kidney_stones().rename(columns={"stone_size": "size"})
        >>> stones = stones.loc[stones.index.repeat(stones["count"])]
        >>> graph = ADMG.parse("size -> treatment -> success; size -> success")
        >>> found = estimate(identify(graph, "P(success=yes | do(treatment=open))"), stones, seed=0)
        >>> report = refute(found, repeats=5, seed=0)
        >>> report.summary().loc["placebo treatment", "verdict"]
        'skipped'
    """

    estimate: Estimate
    results: tuple[CheckResult, ...]
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(result.verdict != "failed" for result in self.results)

    def __bool__(self) -> bool:
        return self.passed

    def summary(self) -> "pd.DataFrame":
        """Return a table: a row for each check; ``warnings`` counts those of changed data."""
        import pandas as pd

        rows = [
            {
                "verdict": r.verdict,
                "found": r.found,
                "expected": r.expected,
                "warnings": r.num_warnings,
            }
            for r in self.results
        ]
        return pd.DataFrame(rows, index=pd.Index([r.name for r in self.results], name="check"))

    def interpret(self) -> str:
        """Say in plain words what was tried and what it means."""
        ran = [r for r in self.results if r.verdict in ("passed", "failed")]
        failed = [r for r in ran if r.verdict == "failed"]
        head = f"{len(ran) - len(failed)} of {len(ran)} checks of {self.estimate.query} passed"
        worst = "".join(f"; {r.name} failed: {r.found}, expected {r.expected}" for r in failed)
        told = "".join(
            f" {r.name.capitalize()}: {r.found}."
            for r in self.results
            if r.verdict == "for information"
        )
        return (
            f"{head}{worst}.{told}{self.note} Checks can refute an estimate, not prove it: a "
            "hidden common cause passes all but the simulated one."
        )

    def plot(self, ax: Any = None) -> Any:
        """Draw the estimates that each check made beside the one it tries; returns the axes.

        Args:
            ax: Axes to draw on; None: those of a new figure.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        from causalppl.estimation.refute_plot import draw_checks

        return draw_checks(self, ax)

    def __repr__(self) -> str:
        return f"{self.interpret()}\n{self.summary().to_string()}"

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.interpret())}</p>{self.summary().to_html()}"


def refute(
    estimate: Estimate,
    *,
    checks: Sequence[Check] = CHECKS,
    repeats: int | None = None,
    seed: int | None = None,
    progress: bool | None = None,
) -> Refutation:
    """Try to refute an estimate.

    Learners that the estimator left open are chosen once, from the data as they are, and used for
    all changed data. Warnings about changed data are counted in the table, not shown.

    Args:
        estimate: A single number from `estimate`.
        checks: What to try.
        repeats: How often each check changes the data; some stop earlier, at their
            ``most_repeats``. None: 30, and 6 where a learner is an ensemble (boosted trees, a
            forest) or a search, which would take minutes; the report says so.
        seed: Seed of all randomness: a non-negative integer; None: a fresh one.
        progress: Show a progress bar; None: at a terminal or in a notebook.

    Returns:
        A table of the checks, with verdicts and prose; true if none failed.

    Raises:
        DataError: The estimate is a table, or does not know what it was computed from; its
            outcome is constant, so that there is nothing to refute; a check is none.

    References:
        Sharma and Kiciman (2020), DoWhy: an end-to-end library for causal inference, for the idea
        of refutation tests.

    Example:
        >>> from causalppl.estimation import GFormula, estimate
        >>> from causalppl.graphs import back_door
        >>> from causalppl.identification import identify
        >>> rng = np.random.default_rng(0)
        >>> z = rng.normal(size=200)
        >>> x = (rng.normal(size=200) < z / 2).astype(float)
        >>> data = {"Z": z, "X": x, "Y": 2 * x + z + rng.normal(size=200)}
        >>> found = estimate(identify(back_door(), "ATE(X -> Y)"), data, method=GFormula(), seed=0)
        >>> refute(found, repeats=10, seed=0).passed
        True
    """
    _check_input(estimate, checks, _REPEATS if repeats is None else repeats)
    _check_outcome(estimate)
    given, estimate = estimate, _with_rows(estimate)
    rng = np.random.default_rng(checked_seed(seed))
    streams = rng.spawn(len(checks))
    estimate = with_fixed_learners(estimate, rng)
    repeats, note = _repeats(estimate, repeats)
    total = sum(check.num_estimates(repeats) for check in checks)
    results = []
    with progress_bar(total, "refuting", progress=is_shown(progress)) as bar:
        for check, rng in zip(checks, streams, strict=True):
            results.append(check.run(estimate, repeats=repeats, rng=rng, tick=bar.update))
    return Refutation(given, tuple(results), note)


def _repeats(estimate: Estimate, asked: int | None) -> tuple[int, str]:
    """How often the data are changed, and what the reader should know of it."""
    if asked is not None or not has_slow_learners(estimate):
        return (_REPEATS if asked is None else asked), ""
    return _FEW_REPEATS, (
        f" The data were changed {_FEW_REPEATS} times at most for each check, as the learners are "
        f"slow; repeats={_REPEATS} tells more."
    )


def _check_input(estimate: Any, checks: Any, repeats: Any) -> None:
    if not isinstance(estimate, Estimate):
        raise DataError(f"the estimate is {estimate!r}; expected what estimate() returned")
    if estimate.problem is None or estimate.estimator is None:
        raise DataError(
            "the estimate does not know its data; expected one that estimate() returned"
        )
    if estimate.axes:
        raise DataError(
            f"{estimate.query} leaves {', '.join(estimate.axes)} open; refute a single number, "
            "such as a contrast"
        )
    listed = list(checks) if isinstance(checks, Sequence) else [checks]
    others = [check for check in listed if not isinstance(check, Check)]
    if others or isinstance(checks, Check) or not listed:
        raise DataError(
            f"checks is {checks!r}; expected a list of checks, such as [PlaceboTreatment()] of "
            "causalppl.estimation"
        )
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 2:
        raise DataError(f"repeats is {repeats!r}; expected a whole number from 2 up")


def _check_outcome(estimate: Estimate) -> None:
    """Raise for an outcome that is constant: all estimates agree, and none has an error."""
    assert estimate.problem is not None
    table, name = estimate.problem.table, roles_of(estimate)[1]
    if name not in table:
        return
    values = table[name]
    if bool((values == values[0]).all()):
        raise DataError(
            f"the outcome {name} is the same in all {table.num_rows:,} rows: every check would "
            "agree with the estimate; expected an outcome that varies"
        )


def _with_rows(estimate: Estimate) -> Estimate:
    """Let rows be drawn, exchanged and left out: write counts out, give weights to their rows.

    Raises:
        DataError: Weights belong to other data, or the counts are too many.
    """
    problem = estimate.problem
    assert problem is not None
    if not problem.weights:
        return estimate
    if set(problem.weights) != {OBSERVED}:
        raise DataError(
            "the rows of other sources are weighted; expected weights of the observed rows alone"
        )
    weights = np.asarray(problem.weights[OBSERVED], dtype=float)
    if (weights != weights.round()).any():
        column = Column(torch.from_numpy(weights))
        table = replace(problem.table, columns={**problem.table.columns, WEIGHT: column})
        return replace(estimate, problem=replace(problem, table=table))
    if weights.sum() > _MOST_ROWS:
        raise DataError(
            f"the data are counts of {weights.sum():,.0f} rows; expected at most {_MOST_ROWS:,}, "
            "which can be drawn anew"
        )
    rows = np.repeat(np.arange(len(weights)), weights.astype(int))
    return replace(estimate, problem=replace(problem, table=problem.table.rows(rows), weights={}))
