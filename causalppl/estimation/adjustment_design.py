"""What an adjustment estimand asks of a table: means of an outcome, by arm and population.

Every such question (an effect, an effect on the treated, the law under ``do``, an effect in a
stratum) is a weighted sum of means ``E[g(Y_x) | population]``, and every estimator here estimates
these means, with the influence of each row.
"""

import itertools
import warnings
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.data import Table
from causalppl.estimation.estimate import Array, Estimate
from causalppl.estimation.estimator import Estimator, Problem
from causalppl.estimation.nuisance import Codes, encoded, numbers, states, weighted_rows
from causalppl.exceptions import AssumptionError, CausalPPLError, DataError, QueryError
from causalppl.identification import Estimand, explain_adjustment, find_adjustment_set
from causalppl.identification.expression import Policy, Probability, walk
from causalppl.inference.progress import progress_bar
from causalppl.queries import Contrast, Event, Intervention, Query, Value
from causalppl.queries.open_values import Open, fill_open_values, label_open_values
from causalppl.queries.terms import HOLDS

__all__ = ["AdjustmentDesign", "AdjustmentEstimator", "Computed", "Mean"]

Tests: TypeAlias = tuple[tuple[str, float], ...]


class Mean(NamedTuple):
    """One mean ``E[g(Y_x) | population]``, by codes.

    Attributes:
        arm: The place of x among the values of the treatment.
        event: What g tests, as comparisons with bounds; empty where g is the outcome itself.
        seen: The arm that the population was seen in; None for all.
        strata: Variables and the codes that the population has.
    """

    arm: int
    event: Tests = ()
    seen: int | None = None
    strata: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, eq=False)
class AdjustmentDesign:
    """The rows and the means of one question.

    Attributes:
        estimand: The formula, with query and diagram.
        treatment: The variable that is set.
        outcome: The variable that is read.
        covariates: What is adjusted for.
        table: The rows, complete in treatment and covariates.
        arms: The values of the treatment that occur.
        means: The means that the question is about.
        weights: How the answers are made of them, shape ``(answers, means)``.
        axes: The open values of the question.
        row_weights: Sampling weights, with mean 1; shape ``(rows,)``.
    """

    estimand: Estimand
    treatment: str
    outcome: str
    covariates: tuple[str, ...]
    table: Table
    arms: tuple[Value, ...]
    means: tuple[Mean, ...]
    weights: Array
    axes: dict[str, tuple[Value, ...]]
    row_weights: Array

    @classmethod
    def from_problem(
        cls,
        problem: Problem,
        covariates: Sequence[str] | None = None,
        *,
        keep_unobserved: bool = False,
    ) -> "AdjustmentDesign":
        """Read the question, and take from the table what it needs.

        Args:
            problem: The estimand and the data. Weights that are whole numbers are counts of equal
                rows, others are sampling weights.
            covariates: What to adjust for; by default what the formula or the diagram says.
            keep_unobserved: Keep rows without an outcome.

        Raises:
            QueryError: The question is no mean under one intervention.
            AssumptionError: Adjustment does not answer it.
            DataError: The table lacks a column or a value, or the treatment is constant or
                continuous.
        """
        treatment, outcome, strata = _read_roles(problem.estimand)
        if covariates is None:
            covariates = _covariates(problem, treatment, outcome, strata)
        else:
            covariates = tuple(dict.fromkeys([*covariates, *strata]))
            _check_covariates(problem.estimand, treatment, outcome, covariates)
        needed = [treatment, *covariates]
        table = problem.table.select([*needed, outcome])
        given = problem.weights.get((None, frozenset()))
        complete = needed if keep_unobserved else table.names
        table, row_weights = weighted_rows(table, given, complete)
        arms = states(treatment, table.column(treatment))
        if len(arms) < 2:
            raise DataError(
                f"{treatment} is {arms[0]!r} in all {table.num_rows} rows; expected at least two "
                "values of the treatment to compare"
            )
        means, weights, axes = _read_means(problem.estimand, table, treatment, arms)
        design = cls(
            *(problem.estimand, treatment, outcome, tuple(covariates), table),
            *(arms, means, weights, axes, row_weights),
        )
        design._check_rows()
        return design

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return self.table.num_rows

    @cached_property
    def arm(self) -> Codes:
        """The arm that each row was seen in."""
        codes = np.array([encoded(self.table, value, self.treatment) for value in self.arms])
        seen = numbers(self.table, self.treatment)
        return np.asarray((seen[:, None] == codes).argmax(1))

    @cached_property
    def observed(self) -> NDArray[np.bool_]:
        """Whether each row has an outcome."""
        missing = self.table.column(self.outcome).missing
        return np.ones(self.num_rows, bool) if missing is None else ~missing.cpu().numpy()

    @cached_property
    def events(self) -> tuple[Tests, ...]:
        """The different functions of the outcome that the means are of."""
        return tuple(dict.fromkeys(mean.event for mean in self.means))

    @cached_property
    def asked_arms(self) -> tuple[int, ...]:
        """The arms that the means are about."""
        return tuple(sorted({mean.arm for mean in self.means}))

    def response(self, event: Tests) -> Array:
        """Compute g of the outcome of each row; 0 where it is missing."""
        y = np.where(self.observed, numbers(self.table, self.outcome), 0.0)
        if event:
            return np.all([HOLDS[op](y, bound) for op, bound in event], axis=0) * 1.0
        categories = self.table.column(self.outcome).categories
        return y if categories is None else np.array(categories, dtype=float)[y.astype(int)]

    def population(self, mean: Mean) -> Array:
        """1 for the rows that the mean is over, else 0."""
        inside = self.stratum(mean)
        return inside if mean.seen is None else inside * (self.arm == mean.seen)

    def stratum(self, mean: Mean) -> Array:
        """1 for the rows in the strata of the mean, whatever their arm."""
        inside = np.ones(self.num_rows)
        for name, code in mean.strata:
            inside = inside * (numbers(self.table, name) == code)
        return inside

    def _check_rows(self) -> None:
        for arm in self.asked_arms:
            if not (self.observed & (self.arm == arm)).any():
                raise DataError(f"no row with {self.treatment}={self.arms[arm]!r} has an outcome")
        for mean in self.means:
            if not self.population(mean).any():
                raise DataError(
                    f"no row is in a population that {self.estimand.query} asks about; expected "
                    "values that occur together"
                )

    def take(self, rows: Any) -> "AdjustmentDesign":
        """Keep some rows, by number (with repetition) or mask."""
        kept = self.row_weights[rows]
        return replace(self, table=self.table.rows(rows), row_weights=kept / kept.mean())


# Estimators.


@dataclass(frozen=True, eq=False)
class Computed:
    """What an adjustment estimator finds.

    Attributes:
        values: The means, shape ``(means,)``.
        influence: The influence of each row on them, shape ``(rows, means)``; None if unknown.
        ess: The effective sample size of each arm that was asked for.
        notes: As in `Estimate`.
        diagnostics: As in `Estimate`.
    """

    values: Array
    influence: Array | None
    ess: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    diagnostics: Any = None


@dataclass(frozen=True, kw_only=True)
class AdjustmentEstimator(Estimator):
    """What the estimators for adjustment have in common.

    Attributes:
        covariates: What to adjust for instead of the formula's covariates; must be an adjustment
            set of the diagram. The table must hold them.
        terms: Terms of the models beside the covariates themselves: powers and products such as
            ``"age^2"`` and ``"age*sex"``. A term that names the treatment enters the outcome model
            only, which is then one model for all arms.
        bootstrap: How many times to draw the rows anew for the errors; 0: errors by formula, or
            none; None: by formula where there is one, else 200 draws.
    """

    covariates: Sequence[str] | None = None
    terms: Sequence[str] = ()
    bootstrap: int | None = None

    def __post_init__(self) -> None:
        for name in ("covariates", "terms"):
            given = getattr(self, name)
            if isinstance(given, str):
                raise DataError(
                    f"{name} is the text {given!r}; expected a list, such as [{given!r}]"
                )
            if given is not None:
                object.__setattr__(self, name, tuple(given))
        if not isinstance(self.bootstrap, int | None) or (self.bootstrap or 0) < 0:
            raise DataError(f"bootstrap is {self.bootstrap!r}; expected a whole number from 0")

    @abstractmethod
    def compute(self, design: AdjustmentDesign, rng: np.random.Generator) -> Computed:
        """Estimate the means of a design."""

    @property
    def keeps_unobserved(self) -> bool:
        """Whether rows without an outcome are of use: the table should then be given whole."""
        return bool(getattr(self, "censoring", False))

    def extra_columns(self, estimand: Estimand) -> tuple[str, ...]:
        """Name the covariates that were given."""
        return tuple(self.covariates or ())

    def keeps_incomplete(self, estimand: Estimand) -> frozenset[str]:
        """Name the outcome, where rows without it are of use."""
        if not self.keeps_unobserved:
            return frozenset()
        query = estimand.query
        if isinstance(query, Contrast):
            return frozenset({query.outcome})
        return frozenset(event.name for event in query.outcomes)

    def refusal(self, problem: Problem) -> str | None:
        """Say why adjustment cannot answer; None if it can."""
        try:
            self.check(self._design(problem))
        except CausalPPLError as error:
            return str(error)
        return None

    def check(self, design: AdjustmentDesign) -> None:
        """Raise if the estimator cannot answer; nothing is fitted."""

    def model_assumption(self) -> str:
        """Say which models must be right."""
        return "the models of outcome and treatment are right"

    def solve(self, problem: Problem, *, seed: int, progress: bool = False) -> Estimate:
        """Estimate the means, and put the answer together, see `Estimator.solve`."""
        design = self._design(problem)
        self.check(design)
        found = self.compute(design, np.random.default_rng(seed))
        repeats = self.bootstrap
        if repeats is None:
            repeats = 200 if found.influence is None else 0
        draws = self._draws(design, repeats, seed, progress) if repeats else None
        influence = None if found.influence is None else found.influence @ design.weights.T
        if draws is None and influence is None:
            raise DataError(f"{self.name} has no formula for the errors here; leave bootstrap out")
        shape = tuple(map(len, design.axes.values()))
        error = None
        if draws is None and influence is not None:
            error = np.sqrt((influence**2).mean(0) / design.num_rows).reshape(shape)
        return Estimate(
            design.estimand.query,
            _described(self),
            (design.weights @ found.values).reshape(shape),
            axes=design.axes,
            error=error,
            draws=None if draws is None else draws.reshape(-1, *shape),
            num_rows=design.num_rows,
            num_dropped=design.table.dropped,
            ess=len(found.ess) ** 2 / sum(1 / size for size in found.ess) if found.ess else None,
            estimand=design.estimand,
            influence=None if influence is None else influence.reshape(-1, *shape),
            assumptions=(*_assumptions(design), self.model_assumption()),
            notes=found.notes,
            diagnostics={"covariates": design.covariates, **(found.diagnostics or {})},
        )

    def _design(self, problem: Problem) -> AdjustmentDesign:
        return AdjustmentDesign.from_problem(
            problem, self.covariates, keep_unobserved=self.keeps_unobserved
        )

    def _draws(self, design: AdjustmentDesign, repeats: int, seed: int, progress: bool) -> Array:
        rng = np.random.default_rng([seed, 1])
        draws: list[Array] = []
        bar = progress_bar(repeats, "bootstrap", progress=progress)
        with bar, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said once, of the data themselves
            while len(draws) < repeats:
                drawn = design.take(rng.integers(design.num_rows, size=design.num_rows))
                if set(design.asked_arms) <= set(drawn.arm[drawn.observed].tolist()):
                    draws.append(design.weights @ self.compute(drawn, rng).values)
                    bar.update()
        return np.array(draws)


def _described(estimator: AdjustmentEstimator) -> str:
    """Its name, with the settings that differ from the defaults."""
    given = [(f.name, getattr(estimator, f.name), f.default) for f in fields(estimator)]
    listed = [
        f"{name}={', '.join(value) if isinstance(value, tuple) else value}"
        for name, value, usual in given
        if value is not usual
    ]
    return f"{estimator.name} ({'; '.join(listed)})" if listed else estimator.name


def _assumptions(design: AdjustmentDesign) -> tuple[str, ...]:
    given = f" given {', '.join(design.covariates)}" if design.covariates else ""
    return (
        f"consistency: the outcome seen is the one under the {design.treatment} received",
        f"exchangeability: nothing else than the diagram shows confounds {design.treatment} and "
        f"{design.outcome}{given}",
        f"positivity: every value of {design.treatment} asked about has a chance{given}",
    )


# Reading the question.


def _parts(estimand: Estimand) -> list[tuple[float, Query]]:
    return [(weight, query.worlds) for weight, query in estimand.query.expand()]


def _read_roles(estimand: Estimand) -> tuple[str, str, tuple[str, ...]]:
    """Find treatment, outcome and the variables that define strata."""
    if isinstance(estimand.query, Contrast) and estimand.query.kind in ("NDE", "NIE"):
        raise QueryError(f"{estimand.query} goes through mediators; adjustment gives whole effects")
    for node in walk(estimand.body):
        if isinstance(node, Policy) or (isinstance(node, Probability) and (node.do or node.domain)):
            raise AssumptionError(
                f"the formula {estimand} needs more than the observed law; expected an estimand "
                "of observational data alone"
            )
    roles: set[tuple[str, str]] = set()
    strata: dict[str, None] = {}
    for _, query in _parts(estimand):
        world = _single_world(estimand, query)
        roles |= {(world.name, event.name) for event in query.outcomes}
        for event in query.given:
            if event.name != world.name:
                strata[event.name] = None
            moved = event.term.interventions
            if moved and (
                moved != (world,) or event.name in estimand.graph.descendants(world.name)
            ):
                raise QueryError(f"{estimand.query} conditions on {event}, which is not a fact")
    if len(roles) > 1:
        raise QueryError(
            f"{estimand.query} has several treatments or outcomes; expected one of each"
        )
    ((treatment, outcome),) = roles
    return treatment, outcome, tuple(strata)


def _single_world(estimand: Estimand, query: Query) -> Intervention:
    (world, *others) = {event.term.interventions for event in query.outcomes}
    plain = not others and len(world) == 1 and not hasattr(world[0].value, "interventions")
    if not plain:
        raise QueryError(
            f"{estimand.query} is not about the outcome under one intervention on one variable; "
            "expected a question such as E[Y | do(X=1)] or ATE(X -> Y)"
        )
    return world[0]


def _covariates(
    problem: Problem, treatment: str, outcome: str, strata: tuple[str, ...]
) -> tuple[str, ...]:
    estimand = problem.estimand
    rule = [step for step in estimand.steps if step.rule.startswith("back-door")]
    if rule and not strata and set(rule[0].variables) <= set(problem.table.names):
        return rule[0].variables
    named = set(problem.table.names) & set(estimand.graph.nodes) - {treatment, outcome}
    if unknown := sorted(set(strata) - named):
        problem.table.column(unknown[0])  # says which columns there are
    found = find_adjustment_set(
        estimand.graph, treatment, outcome, including=strata, within=sorted(named)
    )
    if found is None:
        raise AssumptionError(
            f"no set of the columns {sorted(named)}{' with ' if strata else ''}{', '.join(strata)} "
            f"is an adjustment set for {treatment} and {outcome} in the diagram; use an estimator "
            "for general formulas"
        )
    return estimand.graph.in_order(found)


def _check_covariates(
    estimand: Estimand, treatment: str, outcome: str, covariates: Sequence[str]
) -> None:
    if failure := explain_adjustment(estimand.graph, treatment, outcome, covariates):
        raise AssumptionError(
            f"{{{', '.join(covariates)}}} is not an adjustment set for {treatment} and {outcome}: "
            f"{failure}; leave covariates out to take those of the formula"
        )


# Reading the table.


def _read_means(
    estimand: Estimand, table: Table, treatment: str, arms: tuple[Value, ...]
) -> tuple[tuple[Mean, ...], Array, dict[str, tuple[Value, ...]]]:
    """Fill in the open values, and collect the means that the answers are made of."""
    parts = _parts(estimand)
    labels = label_open_values(query for _, query in parts)
    axes = {}
    for opened, label in labels.items():
        name = opened if isinstance(opened, str) else opened.name
        axes[label] = arms if name == treatment else states(name, table.column(name))
    rows: list[dict[Mean, float]] = []
    for values in itertools.product(*axes.values()):
        row: dict[Mean, float] = {}
        for weight, query in parts:
            mean = _read_mean(query, labels, dict(zip(axes, values, strict=True)), table, arms)
            row[mean] = row.get(mean, 0.0) + weight
        rows.append(row)
    means = tuple(dict.fromkeys(mean for row in rows for mean in row))
    weights = np.array([[row.get(mean, 0.0) for mean in means] for row in rows])
    return means, weights, axes


def _read_mean(
    query: Query,
    labels: dict[Open, str],
    values: dict[str, Value],
    table: Table,
    arms: tuple[Value, ...],
) -> Mean:
    filled = fill_open_values(query, labels, values)
    (world,) = filled.outcomes[0].term.interventions
    arm = _arm(table, world.name, world.value, arms)
    seen = [_arm(table, e.name, e.value, arms) for e in filled.given if e.name == world.name]
    strata = [e for e in filled.given if e.name != world.name]
    codes = tuple((event.name, encoded(table, event.value, event.name)) for event in strata)
    event = () if filled.kind == "E" else _tests(table, filled.outcomes)
    if filled.kind == "E":
        _check_level(filled.outcomes[0].name, table, query)
    return Mean(arm, event, seen[0] if seen else None, codes)


def _arm(table: Table, name: str, value: Any, arms: tuple[Value, ...]) -> int:
    table.encode(value, name)
    if value not in arms:
        raise DataError(f"{name} is never {value!r} in the data; it takes the values {arms}")
    return arms.index(value)


def _tests(table: Table, events: Iterable[Event]) -> Tests:
    found = []
    for event in events:
        if event.op != "=" and table.column(event.name).categories is not None:
            raise DataError(f"{event} compares categories; expected a column of numbers")
        found.append((event.op, encoded(table, event.value, event.name)))
    return tuple(found)


def _check_level(name: str, table: Table, query: Query) -> None:
    categories = table.column(name).categories
    if table[name].dim() > 1:
        raise DataError(f"{name} has several values in each row; expected one number")
    if categories is not None and any(isinstance(value, str) for value in categories):
        raise DataError(
            f"{name} holds the categories {categories}, which have no mean; ask for a "
            f"probability, such as P({name}={categories[0]} | do(...))"
        )
