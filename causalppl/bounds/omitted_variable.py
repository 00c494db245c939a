"""Omitted-variable bias of a regression coefficient, in terms of partial R²."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from causalppl.bounds.sensitivity_rows import (
    check_lengths,
    num_counted,
    read_numbers,
    read_row_weights,
)
from causalppl.data import Table
from causalppl.data.column import listed
from causalppl.exceptions import DataError

__all__ = ["Adjusted", "Benchmark", "OmittedVariable"]

Array: TypeAlias = NDArray[np.float64]


class Adjusted(NamedTuple):
    """What the regression would have said with the omitted variable.

    Attributes:
        estimate: The coefficient.
        error: Its standard error.
        t: Their ratio.
        low: Lower limit of its 95 % interval.
        high: Upper limit.

    References:
        Cinelli and Hazlett (2020), Making sense of sensitivity: extending omitted variable bias.

    Example:
        >>> found = OmittedVariable(0.5, 0.1, 100).adjusted(0.1, 0.1)
        >>> round(found.estimate, 3), found.low < found.estimate < found.high
        (0.395, True)
    """

    estimate: float
    error: float
    t: float
    low: float
    high: float


class Benchmark(NamedTuple):
    """An omitted variable as strong as a covariate that was measured, or a multiple.

    Attributes:
        name: The covariates.
        multiple: How many times as strong.
        with_treatment: Its partial R² with the treatment.
        with_outcome: Its partial R² with the outcome, given the treatment.
        adjusted: What the regression would have said.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> z = rng.normal(size=500)
        >>> x = 0.3 * z + rng.normal(size=500)
        >>> data = {"x": x, "z": z, "y": x + 0.1 * z + rng.normal(size=500)}
        >>> found = OmittedVariable.from_regression(data, "x", "y", ["z"]).benchmark("z")
        >>> found.name, found.multiple
        ('z', 1.0)
    """

    name: str
    multiple: float
    with_treatment: float
    with_outcome: float
    adjusted: Adjusted


@dataclass(frozen=True, eq=False)
class OmittedVariable:
    """How an omitted variable could have moved a regression coefficient.

    The strength of the omitted variable is its partial R² with the treatment and with the outcome
    (given treatment and covariates); nothing is assumed of its law, and several omitted
    variables together move the coefficient by no more than one of the same joint R².

    Attributes:
        estimate: The coefficient of the treatment.
        error: Its classical standard error.
        freedom: The residual degrees of freedom of the regression.
        partials: Covariates to their partial R² with treatment and outcome, for benchmarks.

    Raises:
        DataError: The error or the degrees of freedom are not positive.

    References:
        Cinelli and Hazlett (2020), Making sense of sensitivity: extending omitted variable bias.

    Example:
        The effect of violence in Darfur on attitudes to peace:

        >>> darfur = OmittedVariable(0.09731582, 0.02325654, 783)
        >>> round(darfur.partial_r2, 3), round(darfur.robustness_value(), 3)
        (0.022, 0.139)
        >>> round(darfur.robustness_value(level=0.05), 3)
        0.076
        >>> round(darfur.adjusted(0.1, 0.1).estimate, 4)
        0.0287
    """

    estimate: float
    error: float
    freedom: float
    partials: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values = np.array([self.estimate, self.error, self.freedom], dtype=float)
        if not np.isfinite(values).all() or self.error <= 0 or self.freedom <= 1:
            raise DataError(
                f"estimate {self.estimate!r}, error {self.error!r}, freedom {self.freedom!r}; "
                "expected finite numbers, a positive standard error and more than 1 degree of "
                "freedom"
            )

    @classmethod
    def from_regression(
        cls,
        data: Any,
        treatment: str,
        outcome: str,
        covariates: Sequence[str] = (),
        *,
        weights: Any = None,
    ) -> "OmittedVariable":
        """Fit the least-squares regression of outcome on treatment and covariates.

        Args:
            data: A table of any kind (see `Table.from_any`); incomplete rows are left out, and
                categories become indicators.
            treatment: The column of the treatment: numbers, or 0 and 1.
            outcome: The column of the outcome.
            covariates: What is adjusted for; each is kept as a benchmark.
            weights: How often each row counts: whole numbers are equal rows, others sampling
                weights.

        Raises:
            DataError: A column is missing, or the columns do not determine the coefficient.

        Example:
            >>> rng = np.random.default_rng(0)
            >>> z = rng.normal(size=500)
            >>> x = z + rng.normal(size=500)
            >>> data = {"x": x, "z": z, "y": x + z + rng.normal(size=500)}
            >>> found = OmittedVariable.from_regression(data, "x", "y", ["z"])
            >>> round(found.estimate, 1), list(found.partials)
            (1.0, ['z'])
        """
        import torch

        names = [treatment, outcome, *covariates]
        table = Table.from_any(data, dtype=torch.float64).select(names)
        weight = read_row_weights(weights, table.num_rows)
        kept = _complete(table)
        weight = np.ones(int(kept.sum())) if weight is None else weight[kept]
        table = table.rows(torch.from_numpy(kept))
        blocks = {name: _columns(table, name) for name in covariates}
        root = np.sqrt(weight)[:, None]
        x, y = (read_numbers(n, table.column(n))[:, None] * root for n in (treatment, outcome))
        design = {name: block * root for name, block in blocks.items()}
        return _fitted(cls, x, y, root, design, num_counted(weight[weight > 0]))

    @property
    def t(self) -> float:
        """The estimate over its error."""
        return self.estimate / self.error

    @property
    def partial_r2(self) -> float:
        """The partial R² of treatment and outcome.

        If the omitted variable explained all that is left of the outcome, it would have to explain
        this share of the treatment to bring the estimate to 0.
        """
        return self.t**2 / (self.t**2 + self.freedom)

    def robustness_value(self, share: float = 1.0, *, level: float | None = None) -> float:
        """The strength that overturns the estimate: below it, with both, no variable does.

        Args:
            share: By which share the estimate is to be reduced; 1 brings it to 0.
            level: The reduced estimate need no longer differ from 0 at this level (two-sided);
                None: the estimate itself counts.

        Returns:
            The partial R², from 0 to 1.

        Raises:
            DataError: The share is not positive, or the level not between 0 and 1.
        """
        if not share > 0 or (level is not None and not 0 < level < 1):
            raise DataError(
                f"share is {share!r} and level {level!r}; expected a positive share, and a level "
                "between 0 and 1"
            )
        cohen = share * abs(self.t) / np.sqrt(self.freedom)
        critical = 0.0 if level is None else self._critical(level)
        left = cohen - critical
        if left <= 0:
            return 0.0
        # a stronger tie with the outcome shrinks the error too: the worst one is then a weaker tie
        if critical and cohen > 1 / critical:
            return float((cohen**2 - critical**2) / (1 + cohen**2))
        return float((np.sqrt(left**4 + 4 * left**2) - left**2) / 2)

    def adjusted(self, with_treatment: float, with_outcome: float, *, sign: int = -1) -> Adjusted:
        """What the regression would have said with an omitted variable of given strength.

        Args:
            with_treatment: Its partial R² with the treatment, from 0 to below 1.
            with_outcome: Its partial R² with the outcome, from 0 to 1.
            sign: -1 where it moves the estimate towards 0 (and beyond), 1 where away from it.

        Raises:
            DataError: A partial R² is out of range, or the sign not -1 or 1.

        Example:
            >>> found = OmittedVariable(0.5, 0.1, 100)
            >>> found.adjusted(0.0, 0.3).estimate
            0.5
        """
        if not (0 <= with_treatment < 1 and 0 <= with_outcome <= 1):
            raise DataError(
                f"the partial R² are {with_treatment!r} with the treatment and {with_outcome!r} "
                "with the outcome; expected 0 to below 1, and 0 to 1"
            )
        if sign not in (-1, 1):
            raise DataError(f"sign is {sign!r}; expected -1 (towards 0) or 1 (away from it)")
        factor = np.sqrt(with_outcome * with_treatment / (1 - with_treatment))
        bias = self.error * np.sqrt(self.freedom) * factor
        direction = 1.0 if self.estimate >= 0 else -1.0
        estimate = self.estimate + sign * direction * bias
        error = self.error * np.sqrt(
            (1 - with_outcome) / (1 - with_treatment) * self.freedom / (self.freedom - 1)
        )
        half = float(stdtrit(self.freedom - 1, 0.975)) * error
        t = estimate / error if error > 0 else np.copysign(np.inf, estimate)
        return Adjusted(*map(float, (estimate, error, t, estimate - half, estimate + half)))

    def benchmark(self, covariate: str, multiple: float = 1.0) -> Benchmark:
        """Bound an omitted variable that is some times as strong as a measured covariate.

        Args:
            covariate: One that the regression adjusted for.
            multiple: How many times as strong it is, both with treatment and with outcome.

        Raises:
            DataError: There is no such covariate, or the multiple is impossible: the omitted
                variable would explain all of the treatment.
        """
        if covariate not in self.partials:
            raise DataError(
                f"there is no covariate {covariate!r}; expected one of {listed(self.partials)} "
                "(from_regression keeps them)"
            )
        if not multiple > 0:
            raise DataError(f"multiple is {multiple!r}; expected a positive number, such as 1")
        x, y = self.partials[covariate]
        with_treatment = multiple * x / (1 - x)
        # how much of the covariate, given the treatment, such a variable would explain
        shared = multiple * x**2 / ((1 - multiple * x) * (1 - x)) if multiple * x < 1 else 1.0
        if with_treatment >= 1 or shared >= 1:
            most = (1 - x) / x
            raise DataError(
                f"a variable {multiple:g} times as strong as {covariate} would explain all of the "
                f"treatment; expected a multiple below {most:.3g}"
            )
        factor = (np.sqrt(multiple) + np.sqrt(shared)) / np.sqrt(1 - shared)
        with_outcome = min(float(factor**2 * y / (1 - y)), 1.0)
        found = self.adjusted(with_treatment, with_outcome)
        return Benchmark(covariate, multiple, with_treatment, with_outcome, found)

    def interpret(self, level: float = 0.05) -> str:
        """Say in plain words how strong an omitted variable must be.

        Args:
            level: The level of the test that the estimate differs from 0.

        Raises:
            DataError: The level is not between 0 and 1.
        """
        value, limit = self.robustness_value(), self.robustness_value(level=level)
        doubt = (
            f"{limit:.1%} would do for it no longer to differ from 0 at level {level:g}"
            if limit
            else f"as it stands it does not differ from 0 at level {level:g}"
        )
        return (
            f"Omitted variables that explain {value:.1%} of what is left of both treatment and "
            f"outcome could bring the estimate of {self.estimate:.4g} to 0; {doubt}. If they "
            f"explained all that is left of the outcome, {100 * self.partial_r2:.2g}% of the "
            "treatment would do."
        )

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.interpret())}</p>"

    def plot(
        self,
        ax: Any = None,
        *,
        benchmarks: Sequence[str | tuple[str, float]] = (),
        largest: float | None = None,
    ) -> Any:
        """Draw contours of the adjusted estimate over the two partial R²; returns the axes.

        Args:
            ax: The axes to draw on; None makes a figure.
            benchmarks: Covariates, or pairs of a covariate and a multiple, to mark.
            largest: Where the axes end; None: so that the contour of 0 is seen.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        from causalppl.bounds.omitted_variable_plot import draw_contours

        return draw_contours(self, ax, benchmarks, largest)

    def _critical(self, level: float) -> float:
        """Cohen's f at which an estimate with one more regressor is just significant."""
        t = float(stdtrit(self.freedom - 1, 1 - level / 2))
        return float(t / np.sqrt(self.freedom - 1))


def _complete(table: Table) -> NDArray[np.bool_]:
    kept = np.ones(table.num_rows, bool)
    for column in table.columns.values():
        if column.missing is not None:
            kept &= ~column.missing.cpu().numpy()
    return kept


def _columns(table: Table, name: str) -> Array:
    """A covariate as columns: itself, or indicators of all its values but the first."""
    column = table.column(name)
    values = column.values.detach().cpu().numpy()
    if column.categories is None:
        return np.asarray(values, dtype=float).reshape(len(values), -1)
    return np.asarray((values[:, None] == np.unique(values)[1:]) * 1.0)


def _fitted(
    cls: type[OmittedVariable],
    x: Array,
    y: Array,
    constant: Array,
    blocks: Mapping[str, Array],
    num_rows: int,
) -> OmittedVariable:
    check_lengths({"rows": x})
    full = np.concatenate([constant, *blocks.values()], 1)
    rank = int(np.linalg.matrix_rank(full)) + 1
    left = _residual(full, x)
    freedom = num_rows - rank
    if freedom <= 1 or float((left**2).sum()) <= 1e-12 * float((x**2).sum()):
        raise DataError(
            f"{num_rows} rows and {rank} coefficients do not determine the treatment's; expected "
            "more rows, and a treatment that the covariates do not fix"
        )
    y_left = _residual(full, y)
    estimate = float((left * y_left).sum() / (left**2).sum())
    rest = y_left - estimate * left
    error = np.sqrt(float((rest**2).sum()) / freedom / float((left**2).sum()))
    partials = {}
    for name in blocks:
        others = np.concatenate([constant, *(b for n, b in blocks.items() if n != name)], 1)
        partials[name] = (
            _partial_r2(others, full, x),
            _partial_r2(np.concatenate([others, x], 1), np.concatenate([full, x], 1), y),
        )
    return cls(estimate, float(error), freedom, partials)


def _residual(design: Array, target: Array) -> Array:
    return np.asarray(target - design @ np.linalg.lstsq(design, target, rcond=None)[0])


def _partial_r2(small: Array, large: Array, target: Array) -> float:
    """The share of what the small regression leaves that the large one explains."""
    before = float((_residual(small, target) ** 2).sum())
    after = float((_residual(large, target) ** 2).sum())
    return max(1 - after / before, 0.0) if before > 0 else 0.0
