"""Effects of single units: the effect given all that is adjusted for, one for each row.

Learners of conditional effects are cross-fitted and compared by how well they explain what the
treatment explains beyond the covariates (the R-loss). Averages come from doubly robust scores,
whatever was chosen.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri

from causalppl.data import Table
from causalppl.estimation.adjustment_design import AdjustmentDesign
from causalppl.estimation.adjustment_question import Mean
from causalppl.estimation.column_values import numbers
from causalppl.estimation.contingency import columns_by_source
from causalppl.estimation.effect_choice import EffectChoice
from causalppl.estimation.effect_sample import EffectSample, Rows
from causalppl.estimation.estimate import Array, Estimate
from causalppl.estimation.estimator import Problem
from causalppl.estimation.features import standardised
from causalppl.estimation.folds import find_folds
from causalppl.estimation.nuisance import check_learner, one_thread
from causalppl.estimation.outcome_surfaces import MANY
from causalppl.estimation.settings import check_count
from causalppl.exceptions import DataError, MissingExtraError, QueryError
from causalppl.identification import Estimand
from causalppl.inference.progress import is_shown, progress_bar
from causalppl.queries import Contrast, Query
from causalppl.seeding import checked_seed

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["UnitEffects", "unit_effects"]


@dataclass(frozen=True, eq=False)
class UnitEffects:
    """The effect of the treatment on each unit, given its covariates.

    Attributes:
        query: What was asked.
        effects: One for each unit, shape ``(units,)``.
        error: Their standard errors, likewise; ``error_kind`` says in words of what kind.
        error_kind: As said.
        rows: The number of each unit's row in the data, shape ``(units,)``.
        average: The answer to the query itself, by doubly robust scores.
        ate: The average effect in all rows, likewise; ``att``: in the treated ones.
        att: As said.
        learner: What was chosen.
        losses: The cross-validated R-loss of each candidate; only differences mean something.
        calibration: Slope of the effects on those predicted, its standard error, and the chance of
            a slope as large were the effect the same for all.
        notes: What the reader should know.
        diagnostics: Overlap, the models, the seed.

    Example:
        >>> from causalppl.graphs import ADMG
        >>> from causalppl.identification import identify
        >>> rng = np.random.default_rng(0)
        >>> x = rng.integers(0, 2, 200)
        >>> rows = {"Z": rng.normal(size=200), "X": x, "Y": 3 * x + rng.normal(size=200)}
        >>> asked = identify(ADMG.parse("Z -> X -> Y; Z -> Y"), "ATE(X -> Y)")
        >>> found = unit_effects(asked, rows, seed=0)
        >>> found.to_frame().shape[0], round(float(found.ate))
        (200, 3)
    """

    query: Query | Contrast
    effects: Array
    error: Array
    error_kind: str
    rows: Rows
    average: Estimate
    ate: Estimate
    att: Estimate
    learner: str
    losses: Mapping[str, float]
    calibration: tuple[float, float, float]
    notes: tuple[str, ...] = ()
    diagnostics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the effects rest on; the averages need the learner's part not."""
        close = "effects of units: the learner comes close to the effect given the covariates"
        return (*self.average.assumptions, close)

    @property
    def is_heterogeneous(self) -> bool:
        """Whether the test of calibration finds that effects differ, at 5 %."""
        return self.calibration[2] < 0.05

    def interval(self, prob: float = 0.95) -> tuple[Array, Array]:
        """Return the ends of each unit's interval, by the normal law.

        Args:
            prob: The probability that intervals are meant to hold, between 0 and 1.

        Raises:
            DataError: ``prob`` is not between 0 and 1.
        """
        if not 0 < prob < 1:
            raise DataError(f"prob is {prob!r}; expected a number between 0 and 1, such as 0.95")
        half = ndtri((1 + prob) / 2) * self.error
        return self.effects - half, self.effects + half

    def to_frame(self, prob: float = 0.95) -> "pd.DataFrame":
        """Return a row for each unit: effect, error and interval, by its row in the data.

        Args:
            prob: The probability that intervals are meant to hold, between 0 and 1.

        Raises:
            DataError: ``prob`` is not between 0 and 1.
        """
        import pandas as pd

        low, high = self.interval(prob)
        columns = {"effect": self.effects, "error": self.error, "low": low, "high": high}
        return pd.DataFrame(columns, index=pd.Index(self.rows, name="row"))

    def summary(self, prob: float = 0.95) -> "pd.DataFrame":
        """Return the averages over the rows learnt from, with their intervals.

        Args:
            prob: The probability that intervals are meant to hold, between 0 and 1.

        Raises:
            DataError: ``prob`` is not between 0 and 1.
        """
        import pandas as pd

        tables = {str(e.query): e.summary(prob) for e in (self.average, self.ate, self.att)}
        return pd.concat(tables.values())

    def quantiles(self, shares: Sequence[float] = (0.1, 0.5, 0.9)) -> "pd.Series":
        """Return quantiles of the effects of the units, which are guesses and shrink together.

        Raises:
            DataError: A share is not between 0 and 1.
        """
        import pandas as pd

        if not all(0 <= share <= 1 for share in shares):
            raise DataError(f"shares are {shares!r}; expected numbers from 0 to 1, such as 0.5")
        found = np.quantile(self.effects, list(shares))
        return pd.Series(found, index=pd.Index(shares, name="quantile of units"), name="effect")

    def interpret(self, prob: float = 0.95) -> str:
        """Say in plain words what was found, how surely, and on what it rests.

        Args:
            prob: The probability that intervals are meant to hold, between 0 and 1.

        Raises:
            DataError: ``prob`` is not between 0 and 1.
        """
        low, high = self.interval(prob)
        slope, error, chance = self.calibration
        verdict = "effects differ" if self.is_heterogeneous else "nothing shows that effects differ"
        notes = "".join(f" {note}." for note in self.notes)
        clear = np.mean((low > 0) | (high < 0))
        return (
            f"The effects on {len(self.effects):,} units are {self.effects.min():.4g} to "
            f"{self.effects.max():.4g} (by {self.learner}); for {clear:.0%} of them the "
            f"{100 * prob:g}% interval is clear of 0. By the test of calibration {verdict} "
            f"(slope {slope:.2f}, standard error {error:.2f}, p = {chance:.2g}). Errors of units "
            f"are {self.error_kind}. {self.average.interpret(prob)}{notes}"
        )

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.interpret())}</p>{self.summary().to_html()}"

    def plot(self, ax: Any = None, *, prob: float = 0.95) -> Any:
        """Draw the effects in order of size, with their intervals; returns the axes.

        Args:
            ax: Axes to draw on; None: those of a new figure.
            prob: The probability that intervals are meant to hold, between 0 and 1.

        Raises:
            MissingExtraError: matplotlib is not installed.
            DataError: ``prob`` is not between 0 and 1.
        """
        try:
            ax = ax or importlib.import_module("matplotlib.pyplot").subplots(figsize=(6, 4))[1]
        except ImportError:
            raise MissingExtraError(
                "drawing needs matplotlib, which is not installed; install it with "
                "pip install 'causalppl[plots]'"
            ) from None
        order, (low, high) = np.argsort(self.effects, kind="stable"), self.interval(prob)
        share = (np.arange(len(order)) + 0.5) / len(order)
        ax.fill_between(share, low[order], high[order], alpha=0.3, lw=0, color="C0")
        ax.plot(share, self.effects[order], color="C0")
        ax.axhline(float(self.ate), color="C1", ls="--", label="average")
        ax.set_xlabel("share of units with a smaller effect")
        ax.set_ylabel(f"effect and {100 * prob:.4g} % interval")
        ax.legend()
        return ax

    def __repr__(self) -> str:
        head = f"UnitEffects({len(self.effects)} units, by {self.learner})"
        return f"{head}\n{self.quantiles().to_string()}\naverages over all rows:\n{self.summary()}"


def unit_effects(
    estimand: Estimand,
    data: Any,
    *,
    units: Any = None,
    learner: Any = None,
    folds: int | None = None,
    seed: int | None = None,
    progress: bool | None = None,
) -> UnitEffects:
    """Estimate the effect of a treatment on each unit, given all that is adjusted for.

    Candidates are T-, S-, X- and DR-learners on ridge regressions and boosted trees, one effect for
    all and, up to 2,000 rows, a Gaussian process for both arms at once. Each is cross-fitted, and
    the one of smallest R-loss taken; one effect for all stays unless that is better by more than a
    standard error. Where the average of the effects is further from the doubly robust one than
    chance explains, they are shifted towards it.

    Args:
        estimand: From ``identify``: of an effect of two values of a treatment, such as
            ``"ATE(X -> Y)"``, by adjustment.
        data: The rows to learn from, as for `estimate`; incomplete ones are left out.
        units: The units whose effects are wanted: a table with the covariates; None: the rows.
        learner: A regressor of scikit-learn for all learners, in place of those above.
        folds: In how many parts to split the rows for cross-fitting; None: 5, beyond 20,000 rows 3.
        seed: Seed of all randomness; with None a fresh one is taken and kept in ``diagnostics``.
        progress: Whether to show a progress bar; None: at a terminal or in a notebook.

    Raises:
        QueryError: The question is no effect of two values, or nothing is adjusted for.
        AssumptionError: Adjustment does not answer it, or covariates tell the treatment.
        DataError: A column or a value is missing, or an arm has too few rows.

    References:
        Künzel et al. (2019) for T-, S- and X-learners; Kennedy (2023) for the DR-learner; Nie and
        Wager (2021) for the R-loss, Schuler et al. (2018) for choosing by it; Alaa and van der
        Schaar (2017) for the Gaussian process; Chernozhukov et al. (2018), Generic machine
        learning inference, for the test of calibration.

    Example:
        >>> from causalppl.graphs import ADMG
        >>> from causalppl.identification import identify
        >>> rng = np.random.default_rng(0)
        >>> z, x = rng.normal(size=200), rng.integers(0, 2, 200)
        >>> rows = {"Z": z, "X": x, "Y": x * (1 + 2 * z) + 0.5 * rng.normal(size=200)}
        >>> asked = identify(ADMG.parse("Z -> X -> Y; Z -> Y"), "ATE(X -> Y)")
        >>> found = unit_effects(asked, rows, units={"Z": [-1.0, 1.0]}, seed=0)
        >>> found.effects.round().tolist(), found.is_heterogeneous
        ([-1.0, 3.0], True)
    """
    check_learner("learner", learner)
    if folds is not None:
        check_count("folds", folds, 2, 5)
    used = checked_seed(seed)
    design, rows = _read(estimand, data)
    rng = np.random.default_rng(used)
    matrix, wanted = _matrices(design, units)
    bar = progress_bar(3, "unit effects", progress=is_shown(progress))
    with one_thread(design.num_rows), bar:
        count = folds or (5 if design.num_rows <= MANY else 3)
        sample = EffectSample.fitted(design, matrix, learner, find_folds(design, count, rng), rng)
        bar.update()
        choice = EffectChoice.made(sample, learner)
        bar.update()
        effect, error, kind = choice.fitted(wanted, rng)
        bar.update()
    shift = sample.shift(effect(matrix))
    query: Any = estimand.query
    up, down = sample.means
    treated = up._replace(seen=up.arm, strata=()), down._replace(seen=up.arm, strata=())
    whole = Mean(up.arm), Mean(down.arm)
    average = sample.average(query, (up, down))
    notes = [f"chosen among {len(choice.losses)} learners by R-loss"]
    if shift:
        notes.append(f"effects were shifted by {shift:.3g} towards the doubly robust average")
    return UnitEffects(
        query=query,
        effects=effect(wanted) + shift,
        error=error,
        error_kind=kind,
        rows=rows if units is None else np.arange(len(wanted)),
        average=average,
        ate=sample.average(replace(query, kind="ATE", given=()), whole),
        att=sample.average(replace(query, kind="ETT", given=()), treated),
        learner=choice.name,
        losses=choice.losses,
        calibration=sample.calibration(choice.out_of_fold),
        notes=tuple(notes),
        diagnostics={**average.diagnostics, "seed": used},
    )


# Reading.


def _read(estimand: Estimand, data: Any) -> tuple[AdjustmentDesign, NDArray[np.int64]]:
    """The design of the complete rows, and which rows these are."""
    query = estimand.query
    if not isinstance(query, Contrast) or query.kind not in ("ATE", "TE", "CATE", "ETT", "ATC"):
        raise QueryError(
            f"{query} is no effect of two values of a treatment; expected ATE, CATE, ETT or ATC, "
            "such as ATE(X -> Y)"
        )
    names = {name for found in columns_by_source(estimand).values() for name in found}
    table = Table.from_any(data, [*sorted(names | query.variables)], dtype=torch.float64)
    design = AdjustmentDesign.from_problem(Problem(estimand, table))
    if design.is_numeric:
        raise DataError(
            f"{design.treatment} takes {len(np.unique(design.received)):,} values; expected few, "
            "two of which are compared: use PartiallyLinear() for one slope, or cut it into bands"
        )
    if not design.covariates:
        raise QueryError(
            f"nothing is adjusted for, so units cannot be told apart; expected covariates: ask "
            f"estimate for {query}, or for CATE given a covariate"
        )
    used = [table.column(name).missing for name in design.table.names]
    gaps = [mask.numpy() for mask in used if mask is not None]
    whole = ~np.any(gaps, axis=0) if gaps else np.ones(table.num_rows, bool)
    return design, np.flatnonzero(whole)


def _matrices(design: AdjustmentDesign, units: Any) -> tuple[Array, Array]:
    """The covariates of rows and of units as columns, standardised by the rows."""
    old = design.table
    new = old if units is None else Table.from_any(units, design.covariates, dtype=torch.float64)
    if not new.num_rows:
        raise DataError("units holds no rows; expected at least one unit, or leave units out")
    found = []
    for name in design.covariates:
        column, categories = new.column(name), new.column(name).categories
        if column.missing is not None and bool(column.missing.any()):
            raise DataError(f"{name} is missing in some units; expected complete covariates")
        if categories and old.column(name).categories is None:
            raise DataError(f"{name} is text in units, but a number in the data; expected numbers")
        both = numbers(old, name), numbers(new, name)
        if old.column(name).categories is not None:
            values = categories or tuple(np.unique(both[1]))
            codes = np.array([old.encode(value, name) for value in values], dtype=float)
            seen = np.unique(both[0])[1:]
            place = both[1] if categories else np.searchsorted(values, both[1])
            both = (
                (both[0][:, None] == seen) * 1.0,
                (codes[place.astype(int)][:, None] == seen) * 1.0,
            )
        found.append([part.reshape(len(part), -1) for part in both])
    rows, wanted = (np.concatenate(parts, 1) for parts in zip(*found, strict=True))
    return standardised(rows), standardised(wanted, rows)
