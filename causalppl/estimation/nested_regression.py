"""Formulas of numbers that are no adjustment: nested regressions, from the inside out."""

from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import numpy as np

from causalppl.estimation.bootstrap_ends import with_ends
from causalppl.estimation.estimate import Array, Estimate
from causalppl.estimation.estimator import Estimator, Problem
from causalppl.estimation.nested_correction import Link, contributions, find_chains
from causalppl.estimation.nested_fit import Columns, Fit, Learners
from causalppl.estimation.nested_formula import (
    Expectation,
    Formula,
    compile_formula,
    inner_parts,
)
from causalppl.estimation.nested_overlap import check_overlap, describe_fixed
from causalppl.estimation.nuisance import check_learner
from causalppl.estimation.settings import check_count, check_flags
from causalppl.estimation.support import treatments_of
from causalppl.exceptions import AssumptionError, DataError, OverlapWarning
from causalppl.identification import Estimand
from causalppl.identification.expression import (
    Level,
    Node,
    Probability,
    Same,
    Symbol,
    Test,
    substitute,
    walk,
)
from causalppl.inference.progress import progress_bar
from causalppl.queries import Value
from causalppl.user_warning import warn_user

__all__ = ["NestedRegression"]

_MOST_LOST = 0.1  # of bootstrap draws, those in which a stratum is too thin
_LEAST_SHARE = 0.02  # of the rows, that the weighted residuals should be worth
_LEAST_WORTH = 5  # rows, below which they do not show their own spread

_MODELS = "the regressions come close to the true means: the plug-in has no protection if not"
_CORRECTED = (
    "the regressions and the weights of their residuals come close to the true ones, the product "
    "of their errors being smaller than the interval"
)


@dataclass(frozen=True)
class NestedRegression(Estimator):
    """Any formula that is built of nested expectations, for numbers as well as classes.

    Natural direct and indirect effects, effects of several treatments in time, ratios such as those
    of the napkin: a formula is read as ``E[... E[E[Y | x, m, z] | x', z] ...]`` and worked off from
    the inside out. Each law that is averaged over becomes a regression of what is inside on what
    the law is given (within strata of fixed values, where these are among few), a law without
    conditions the average over rows, a law at a fixed value of a discrete variable a probability
    or an indicator. What is not of this form, such as a formula that needs the density of a number,
    is refused by the name of the part.

    Sums of plain nests are corrected by one step, cross-fitted: each regression's residuals are
    added with the weights that they have in the whole. Other formulas (ratios, sums over a
    variable's own distribution at values of others) are plug-ins, whose interval is a bootstrap
    with the learners as chosen once.

    Attributes:
        one_step: Correct, where the formula allows it; False: always the plug-in and bootstrap.
        outcome_model: A regressor of scikit-learn; None: chosen by cross-validation.
        class_model: A classifier of scikit-learn, for probabilities; None: likewise.
        folds: Parts of the cross-fitting.
        num_bootstrap: Draws of the bootstrap, at least 100.

    Raises:
        DataError: A setting is out of range.

    References:
        Robins (1986), A new approach to causal inference in mortality studies; Bang and Robins
        (2005) for regressions from the inside out; Tchetgen Tchetgen and Shpitser (2012) for the
        correction; Chernozhukov, Newey, Singh and Syrgkanis (2022) for its weights.

    Example:
        >>> from causalppl.data import Table
        >>> from causalppl.graphs import ADMG
        >>> from causalppl.identification import identify
        >>> rng = np.random.default_rng(0)
        >>> c, e, f = rng.normal(size=(3, 1000))
        >>> x = (rng.random(1000) < 1 / (1 + np.exp(-c))).astype(int)
        >>> m = 1.5 * x + c + e
        >>> table = Table.from_any({"C": c, "X": x, "M": m, "Y": m + 2 * x + c + f})
        >>> graph = ADMG.parse("C -> {X, M, Y}; X -> {M, Y}; M -> Y")
        >>> estimand = identify(graph, "NDE(X: 1 vs 0 -> Y)")
        >>> estimate = NestedRegression().solve(Problem(estimand, table), seed=0)
        >>> abs(float(estimate) - 2) < 3 * float(estimate.standard_error)
        True
    """

    one_step: bool = True
    outcome_model: Any = None
    class_model: Any = None
    folds: int = 5
    num_bootstrap: int = 200
    name: ClassVar[str] = "NestedRegression"

    def __post_init__(self) -> None:
        check_flags(self, "one_step")
        check_learner("outcome_model", self.outcome_model)
        check_learner("class_model", self.class_model, for_classes=True)
        check_count("folds", self.folds, 2, 5)
        check_count("num_bootstrap", self.num_bootstrap, 100, 200)

    def refusal(self, problem: Problem) -> str | None:
        """Say what of the formula is no nested expectation, or what the data lack."""
        if problem.sources or problem.weights or problem.policies:
            return f"{self.name} takes neither other data, nor weights, nor policies"
        if problem.estimand.selected_on is not None:
            return f"{self.name} takes no data of selected units"
        try:
            _Case.read(problem).check(self._learners(0))
        except (AssumptionError, DataError) as error:
            return str(error)
        return None

    def solve(self, problem: Problem, *, seed: int, progress: bool = False) -> Estimate:
        """Estimate by regressions, corrected or with a bootstrap.

        Raises:
            AssumptionError: A stratum is too thin, or a probability to divide by too small; values
                that are averaged over do not occur where a regression is fitted.

        Warns:
            OverlapWarning: The answer rests on few rows, whose residuals weigh much; values that
                are averaged over hardly occur where a regression is fitted; or a number is asked
                about at a value that does not occur, or hardly for some rows.
        """
        case, learners = _Case.read(problem), self._learners(seed)
        for reason in case.poor_values():
            warn_user(
                f"{reason}: the regressions extrapolate there; ask about others", OverlapWarning
            )
        for formula in case.formulas:
            check_overlap(case.columns, formula)
        few = frozenset(case.columns.states)
        chains = [find_chains(formula, few) for formula in case.formulas]
        plain = [each for each in chains if each is not None]
        if self.one_step and len(plain) == len(chains):
            return self._corrected(case, plain, learners, seed)
        return self._plug_in(case, learners, seed, progress=progress)

    def _learners(self, seed: int) -> Learners:
        return Learners(self.outcome_model, self.class_model, seed)

    def _corrected(
        self,
        case: "_Case",
        chains: list[list[tuple[float, list[Link]]]],
        learners: Learners,
        seed: int,
    ) -> Estimate:
        rows = case.columns.num_rows
        fold = np.random.default_rng(seed).permutation(rows) % self.folds
        each, ess = np.empty((rows, len(chains))), float(rows)
        for place, chain in enumerate(chains):
            weights: Array = np.empty((sum(len(links) for _, links in chain), rows))
            for k in range(self.folds):
                train, test = (case.columns.rows(np.flatnonzero(p)) for p in (fold != k, fold == k))
                found = contributions(chain, train, test, learners)
                each[fold == k, place], weights[:, fold == k] = found
            ess = min(ess, *((w.sum() ** 2 / (w**2).sum()) for w in weights))
        if ess < _LEAST_WORTH:
            raise AssumptionError(
                f"the residuals of one regression are worth {ess:.1f} of {rows} rows; expected "
                f"{_LEAST_WORTH} at least (positivity): ask about values that are more frequent"
            )
        if ess < _LEAST_SHARE * rows:
            warn_user(
                f"the residuals of one regression are worth {ess:.0f} of {rows} rows: some of "
                "what the question asks about hardly occurs in the data; ask about values that "
                "are more frequent, or condition on less",
                OverlapWarning,
            )
        value, shape = each.mean(axis=0), case.shape
        influence = each - value
        return case.answer(
            f"one step, {self.folds} folds",
            _CORRECTED,
            values=value.reshape(shape),
            error=(influence.std(axis=0, ddof=1) / np.sqrt(rows)).reshape(shape),
            influence=influence.reshape(rows, *shape),
            ess=float(ess),
        )

    def _plug_in(self, case: "_Case", learners: Learners, seed: int, *, progress: bool) -> Estimate:
        rng, rows = np.random.default_rng(seed), case.columns.num_rows
        value, draws, lost = case.plug_in(case.columns, learners), [], 0
        with progress_bar(self.num_bootstrap, "bootstrap", progress=progress) as bar:
            for _ in range(self.num_bootstrap):
                again = case.columns.rows(rng.integers(0, rows, rows))
                try:
                    draws.append(case.plug_in(again, learners))
                except AssumptionError as error:
                    lost, trouble = lost + 1, error
                bar.update()
        if lost > _MOST_LOST * self.num_bootstrap:
            raise AssumptionError(
                f"{lost} of {self.num_bootstrap} bootstrap draws have no answer: {trouble}"
            )
        return case.answer(
            "plug-in, bootstrap",
            _MODELS,
            values=value,
            error=np.std(draws, axis=0, ddof=1),
            draws=with_ends(np.array(draws)),
            diagnostics={"lost_draws": lost},
        )


@dataclass(frozen=True, eq=False)
class _Case:
    """A question taken apart: one formula for each combination of open values."""

    problem: Problem
    columns: Columns
    axes: dict[str, tuple[Value, ...]]
    formulas: list[Formula]

    @classmethod
    def read(cls, problem: Problem) -> "_Case":
        estimand, table = problem.estimand, problem.table
        columns = Columns.read(table, _variables(estimand))
        if unseen := [s for _, s in estimand.axes if s.variable not in columns.states]:
            raise AssumptionError(
                f"the query leaves {unseen[0]} open, a number with many values; expected a value"
            )
        axes = {label: _states(columns, symbol) for label, symbol in estimand.axes}
        symbols = [symbol for _, symbol in estimand.axes]
        formulas = []
        for point in product(*axes.values()):
            fixed = {s: s._replace(value=v) for s, v in zip(symbols, point, strict=True)}
            body = substitute(estimand.body, fixed) if fixed else estimand.body
            formulas.append(compile_formula(body, frozenset(columns.states)))
        return cls(problem, columns, axes, formulas)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(states) for states in self.axes.values())

    def check(self, learners: Learners) -> None:
        """Refuse what cannot be fitted, without fitting."""
        self._check_constants()
        fit = Fit(self.columns, learners)
        for formula in self.formulas:
            for part in _parts(formula):
                if isinstance(part, Expectation):
                    fit.check(part)

    def _check_constants(self) -> None:
        """Refuse an outcome or a mediator that does not vary."""
        estimand = self.problem.estimand
        outcomes = [n.symbol.variable for n in walk(estimand.body) if isinstance(n, Level | Test)]
        treatments = [name for name in treatments_of(estimand.query) if name in estimand.graph]
        affected = {*outcomes, *estimand.graph.descendants(treatments)}.difference(treatments)
        for name, column in self.columns.values.items():
            if name in affected and np.ptp(column) == 0:
                raise DataError(
                    f"{name} is the same in all {len(column):,} rows: no error can be estimated; "
                    "expected an outcome, and variables between, that vary"
                )

    def poor_values(self) -> list[str]:
        """Describe the values of numbers that the data hardly hold."""
        steps = [part for formula in self.formulas for part in _parts(formula)]
        return sorted(
            {
                str(dose)
                for step in steps
                if isinstance(step, Expectation)
                for dose in describe_fixed(self.columns, step)
                if dose.is_poor
            }
        )

    def plug_in(self, columns: Columns, learners: Learners) -> Array:
        fit = Fit(columns, learners)
        found = [fit.value(formula, {}, 1)[0] for formula in self.formulas]
        return np.array(found).reshape(self.shape)

    def answer(self, way: str, assumption: str, **found: Any) -> Estimate:
        return Estimate(
            self.problem.estimand.query,
            f"nested regressions ({way})",
            axes=self.axes,
            num_rows=self.columns.num_rows,
            num_dropped=self.problem.table.dropped,
            estimand=self.problem.estimand,
            assumptions=(assumption, "every value that the formula needs can occur"),
            **found,
        )


def _variables(estimand: Estimand) -> tuple[str, ...]:
    found: set[str] = {symbol.variable for _, symbol in estimand.axes}
    for node in walk(estimand.body):
        found.update(symbol.variable for symbol in _symbols(node))
    return tuple(sorted(found))


def _symbols(node: Node) -> tuple[Symbol, ...]:
    match node:
        case Probability(outcomes=outcomes, given=given, do=do):
            return (*outcomes, *given, *do)
        case Level(symbol=symbol) | Test(symbol=symbol):
            return (symbol,)
        case Same(first=first, second=second):
            return first, second
    return ()


def _states(columns: Columns, symbol: Symbol) -> tuple[Value, ...]:
    categories = columns.table.column(symbol.variable).categories
    states = columns.states[symbol.variable]
    if categories is not None:
        return tuple(categories[int(code)] for code in states)
    return tuple(int(v) if float(v).is_integer() else float(v) for v in states)


def _parts(formula: Formula) -> list[Formula]:
    """List a formula and all below."""
    return [formula, *(each for part in inner_parts(formula) for each in _parts(part))]
