"""Whether weights make arms alike in what is adjusted for, and whether each arm had a chance."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causalppl.data.column import listed
from causalppl.estimation.adjustment_estimator import described
from causalppl.estimation.adjustment_question import find_roles
from causalppl.estimation.arm_positivity import ArmPositivity, Counterparts, describe_arm
from causalppl.estimation.compared_columns import (
    CovariateBalance,
    compare,
    covariate_columns,
    term_columns,
)
from causalppl.estimation.estimate import Array
from causalppl.estimation.from_data import Case
from causalppl.estimation.nuisance import name_of
from causalppl.estimation.reading import Reader
from causalppl.estimation.weighted_arms import WeightedArms, Weighting
from causalppl.estimation.weighting import IPW
from causalppl.exceptions import DataError
from causalppl.given import told
from causalppl.identification import Estimand
from causalppl.queries import Contrast, Query
from causalppl.seeding import checked_seed

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Balance", "balance"]

LIMIT = 0.1  # standard deviations by which arms may differ, by custom
_MOST_TOLD = 5  # columns named in a sentence


@dataclass(frozen=True, eq=False)
class Balance:
    """How alike arms are in what is adjusted for, before and after weighting.

    Attributes:
        query: What was asked.
        method: The estimator whose weights these are, with its settings.
        population: Whom the arms are weighted to stand for, in words.
        columns: One for each covariate, or category of one, and each term.
        arms: One for each arm that is compared: what it is worth, and the chances of it.
        weights: The weight of each row in its arm, shape ``(rows,)``; 0 for rows of other arms.
            The order is that of the rows that were used.
        chances: The chance of each arm compared, shape ``(rows, arms)``.
        received: The place of each row's arm among ``arms``, -1 for other arms; shape ``(rows,)``.
        shares: The weight of each row in the population, sum 1; shape ``(rows,)``.
        num_dropped: How many rows with missing values were left out.
        notes: What the reader should know, one sentence each.
        diagnostics: The covariates, the model of the treatment, the seed.

    Example:
        >>> from causalppl.graphs import ADMG
        >>> from causalppl.identification import identify
        >>> graph = ADMG.parse("age -> quit -> weight; age -> weight")
        >>> people = {"age": [30, 50] * 30, "quit": [0, 0, 0, 1, 1, 1] * 10,
        ...           "weight": [70.0, 72.0, 71.0, 75.0] * 15}
        >>> found = balance(identify(graph, "ATE(quit -> weight)"), people)
        >>> found.summary()[["SMD before", "SMD after"]].round(2).values.tolist()
        [[0.71, 0.0]]
    """

    query: Query | Contrast
    method: str
    population: str
    columns: tuple[CovariateBalance, ...]
    arms: tuple[ArmPositivity, ...]
    weights: Array
    chances: Array
    received: NDArray[np.int64]
    shares: Array
    num_dropped: int = 0
    notes: tuple[str, ...] = ()
    diagnostics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_rows(self) -> int:
        """How many rows were used."""
        return len(self.weights)

    def above(self, limit: float = LIMIT) -> tuple[str, ...]:
        """Name the columns in which arms differ by more than ``limit`` after weighting."""
        return tuple(c.name for c in self.columns if c.smd.after > limit)

    def summary(self) -> "pd.DataFrame":
        """Return a row for each column compared.

        ``SMD`` is the absolute standardised difference of means; variance ratio and ``KS``, the
        Kolmogorov-Smirnov distance, are there for numbers with more than two values, else NaN.
        """
        import pandas as pd

        rows = [
            {"kind": column.kind}
            | {f"mean {arm}, before": mean.before for arm, mean in column.means.items()}
            | {f"mean {arm}, after": mean.after for arm, mean in column.means.items()}
            | {"mean population": column.population}
            | {"SMD before": column.smd.before, "SMD after": column.smd.after}
            | dict(
                zip(
                    ("variance ratio before", "variance ratio after", "KS before", "KS after"),
                    (*column.variance_ratio, *column.ks),
                    strict=True,
                )
            )
            for column in self.columns
        ]
        return pd.DataFrame(rows, index=pd.Index([c.name for c in self.columns], name="column"))

    def positivity(self) -> "pd.DataFrame":
        """Return a row for each arm: its rows, what they are worth, and the chances of the arm."""
        import pandas as pd

        rows = [
            {
                "rows": arm.rows,
                "effective rows before": arm.worth_before,
                "effective rows": arm.worth,
                "largest share of weight": arm.largest_share,
                **{f"chance {100 * q:g}%": value for q, value in arm.quantiles.items()},
                "chance below 0.05": arm.below_05,
                "chance above 0.95": arm.above_95,
                "chance below 0.01": arm.below_01,
                "without counterpart": arm.unlike,
            }
            for arm in self.arms
        ]
        return pd.DataFrame(rows, index=pd.Index([arm.name for arm in self.arms], name="arm"))

    def interpret(self, limit: float = LIMIT) -> str:
        """Say in plain words how alike the arms are, what they are worth, and what is not seen."""
        before = max(self.columns, key=lambda column: column.smd.before)
        after = max(self.columns, key=lambda column: column.smd.after)
        left = self.above(limit)
        verb = "stays" if len(left) == 1 else "stay"
        stay = f"{listed(left, _MOST_TOLD) or 'none'} {verb if left else 'stays'} above {limit:g}"
        worth = listed(f"{a.worth:,.0f} ({a.name}, of {a.rows:,})" for a in self.arms)
        notes = "".join(f" {note[:1].upper()}{note[1:]}." for note in self.notes)
        who = "the arms" if len(self.arms) > 1 else f"{self.arms[0].name} and the population"
        return (
            f"Before weighting {who} differ most in {before.name}, by "
            f"{_told(before.smd.before)} standard deviations, and after it in {after.name}, by "
            f"{_told(after.smd.after)}; of {_columns(len(self.columns))} {stay}. "
            f"Effective rows: {worth}, weighted to stand for {self.population} by {self.method}. "
            "This is balance of measured columns only: whether hidden ones are balanced cannot be "
            f"seen.{notes}"
        )

    def plot(self, ax: Any = None, *, limit: float = LIMIT) -> Any:
        """Draw the standardised differences before and after, the largest on top; returns the axes.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        from causalppl.estimation.balance_plot import draw_balance

        return draw_balance(self, ax, limit)

    def __repr__(self) -> str:
        worst = [max(getattr(c.smd, when) for c in self.columns) for when in ("before", "after")]
        return (
            f"Balance({self.query}, {_columns(len(self.columns))}, worst difference {worst[0]:.2f} "
            f"before and {worst[1]:.2f} after weighting)"
        )

    def _repr_html_(self) -> str:
        tables = (self.summary(), self.positivity())
        shown = "".join(t.to_html(float_format="{:.3g}".format, na_rep="") for t in tables)
        return f"<p>{escape(self.interpret())}</p>{shown}"


def balance(
    estimand: Estimand,
    data: Any,
    *,
    method: Weighting | None = None,
    weights: Any = None,
    sampling_weights: bool = False,
    seed: int | None = None,
) -> Balance:
    """Compare arms in what is adjusted for, before and after weighting, and say who had a chance.

    The weights are exactly those of the estimator, given the same data, settings and seed. Only
    the arms that the question is about are compared; where it is about one, with the population.

    Args:
        estimand: From ``identify``, of a question that adjustment answers for one population, such
            as ``"ATE(X -> Y)"``, ``"ETT(X -> Y)"`` or ``"E[Y | do(X=1)]"``.
        data: The rows, as for `estimate`.
        method: The estimator whose weights are looked at: `IPW`, `AIPW` or `TMLE` with its
            settings (terms, propensity, trim, clip, covariates); None takes ``IPW()``, so a
            logistic regression without penalty. Of several ``repeats`` the first.
        weights: How often each row counts, as for `estimate`.
        sampling_weights: As for `estimate`.
        seed: Seed of all randomness, which `IPW` has none of.

    Returns:
        A table with a row for each number, each category (of two the second) and each term.

    Raises:
        QueryError: The question is no mean under one intervention, is about several populations, or
            nothing is adjusted for.
        AssumptionError: Adjustment does not answer it; too few rows of an arm are in the stratum.
        DataError: A column is missing, an arm has fewer than 5 rows, the treatment takes too many
            values to be arms, or the method has no weights.

    References:
        Austin (2009), Balance diagnostics for comparing the distribution of baseline covariates
        between treatment groups in propensity-score matched samples; Austin and Stuart (2015) for
        weighted ones; Stuart (2010) for the same standard deviation before and after; McCaffrey et
        al. (2013) for several arms.

    Example:
        >>> from causalppl.data import load_nhefs
        >>> from causalppl.graphs import ADMG
        >>> from causalppl.identification import identify
        >>> graph = ADMG.parse("{age, sex} -> {qsmk, wt82_71}; qsmk -> wt82_71")
        >>> found = balance(identify(graph, "ATE(qsmk -> wt82_71)"), load_nhefs())
        >>> found
        Balance(ATE(qsmk: 1 vs 0 -> wt82_71), 2 columns, worst difference 0.28 before and ...)
        >>> found.above(0.1)
        ()
    """
    used = checked_seed(seed)
    chosen = IPW() if method is None else method
    _check_input(estimand, chosen, weights, sampling_weights=sampling_weights)
    reader = Reader.of(estimand, data, None, weights, chosen, are_sampling=sampling_weights)
    case = Case.of(estimand, reader.rows(), {})
    arms = WeightedArms.of(case.problem, chosen, np.random.default_rng(used))
    groups, table = arms.groups, arms.design.table
    lacking, columns = Counterparts(groups), list[CovariateBalance]()
    for column in covariate_columns(table, arms.design.covariates):
        lacking.look_at(column)
        columns.append(compare(column, groups))
    columns += [compare(column, groups) for column in term_columns(table, arms.terms)]
    constant = tuple(
        f"{column.name} is constant: there is nothing to balance"
        for column in columns
        if column.kind == "constant"
    )
    return Balance(
        estimand.query,
        described(chosen),
        arms.population,
        tuple(columns),
        tuple(
            describe_arm(overlap, chance, own, groups.population, unlike)
            for overlap, chance, own, unlike in zip(
                arms.overlaps, arms.chances.T, arms.own, lacking.unlike, strict=True
            )
        ),
        arms.weighted.sum(0),
        arms.chances,
        arms.received,
        groups.population,
        sum(rows.num_incomplete for rows in case.usable),
        (*arms.notes, *lacking.notes, *constant),
        {
            "covariates": arms.design.covariates,
            "treatment model": name_of(arms.model.learner),
            "seed": used,
        },
    )


def _check_input(estimand: Any, method: Any, weights: Any, *, sampling_weights: bool) -> None:
    if not isinstance(estimand, Estimand):
        raise DataError(
            f"the estimand is {told(estimand)}; expected what identify returned, first: "
            "balance(estimand, data)"
        )
    if not isinstance(method, Weighting):
        raise DataError(
            f"method is {told(method)}; expected an estimator that weights rows: IPW(), AIPW(), "
            "TMLE(), or None"
        )
    if sampling_weights and weights is None:
        raise DataError("sampling_weights is set without weights; give weights=, or leave it out")
    find_roles(estimand)  # refuses what is no mean under one intervention


def _told(difference: float) -> str:
    return "infinitely many" if difference == float("inf") else f"{difference:.2f}"


def _columns(count: int) -> str:
    return "1 column" if count == 1 else f"{count} columns"
