"""What a question of adjustment is about: treatments, outcome, covariates, and which means."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from causalppl.data import Column, Table
from causalppl.estimation.column_values import MOST_STATES, encoded, numbers, states
from causalppl.estimation.estimate import Array
from causalppl.estimation.estimator import Problem
from causalppl.exceptions import AssumptionError, DataError, QueryError
from causalppl.identification import Estimand, explain_adjustment, find_adjustment_set
from causalppl.identification.expression import Policy, Probability, walk
from causalppl.queries import Contrast, Event, Intervention, Query, Value
from causalppl.queries.open_values import fill_open_values, label_open_values

__all__ = ["Arm", "Mean", "Others", "Roles", "Tests"]

Tests: TypeAlias = tuple[tuple[str, float], ...]
Arm: TypeAlias = Value | tuple[Value, ...]
"""A value of the treatment; of several treatments, one of each."""


class Others(str):
    """The arm of all values of a text that the question does not name, where there are many."""


class Mean(NamedTuple):
    """One mean ``E[g(Y_x) | population]``, by codes.

    Attributes:
        arm: The place of x among the arms.
        event: What g tests, as comparisons with bounds; empty where g is the outcome itself.
        seen: The arm that the population was seen in; None for all.
        strata: Variables and the codes that the population has.
    """

    arm: int
    event: Tests = ()
    seen: int | None = None
    strata: tuple[tuple[str, float], ...] = ()


class Roles(NamedTuple):
    """The variables of a question.

    Attributes:
        treatments: What is set, in the order of the query.
        outcome: What is read.
        strata: What defines the strata that are asked about.
    """

    treatments: tuple[str, ...]
    outcome: str
    strata: tuple[str, ...]


# Variables.


def find_roles(estimand: Estimand) -> Roles:
    """Find treatments, outcome and the variables that define strata.

    Raises:
        QueryError: The question is no mean under one intervention.
        AssumptionError: The formula needs more than observational data.
    """
    if isinstance(estimand.query, Contrast) and estimand.query.kind in ("NDE", "NIE"):
        raise QueryError(f"{estimand.query} goes through mediators; adjustment gives whole effects")
    for node in walk(estimand.body):
        if isinstance(node, Policy) or (isinstance(node, Probability) and (node.do or node.domain)):
            raise AssumptionError(
                f"the formula {estimand} needs more than the observed law; expected an estimand "
                "of observational data alone"
            )
    roles: set[tuple[tuple[str, ...], str]] = set()
    strata: dict[str, None] = {}
    for _, query in _parts(estimand):
        world = _single_world(estimand, query)
        names = tuple(intervention.name for intervention in world)
        roles |= {(names, event.name) for event in query.outcomes}
        strata |= dict.fromkeys(_strata(estimand, query, world))
    if len(roles) > 1:
        raise QueryError(
            f"{estimand.query} has several treatments or outcomes; expected the same in each part"
        )
    ((treatments, outcome),) = roles
    return Roles(treatments, outcome, tuple(strata))


def _parts(estimand: Estimand) -> list[tuple[float, Query]]:
    return [(weight, query.worlds) for weight, query in estimand.query.expand()]


def _single_world(estimand: Estimand, query: Query) -> tuple[Intervention, ...]:
    (world, *others) = {event.term.interventions for event in query.outcomes}
    plain = not others and world and not any(hasattr(i.value, "interventions") for i in world)
    if not plain:
        raise QueryError(
            f"{estimand.query} is not about the outcome under one intervention; expected a "
            "question such as E[Y | do(X=1)] or ATE(X -> Y)"
        )
    return world


def _strata(estimand: Estimand, query: Query, world: tuple[Intervention, ...]) -> list[str]:
    names = {intervention.name for intervention in world}
    for event in query.given:
        moved = event.term.interventions
        if moved and (moved != world or event.name in estimand.graph.descendants(sorted(names))):
            raise QueryError(f"{estimand.query} conditions on {event}, which is not a fact")
    given = [event.name for event in query.given]
    if 0 < len(names & set(given)) < len(names):
        raise QueryError(
            f"{estimand.query} conditions on some of the treatments {', '.join(sorted(names))}; "
            "expected all of them, or none"
        )
    return [name for name in given if name not in names]


def find_covariates(problem: Problem, roles: Roles) -> tuple[str, ...]:
    """Take what the formula adjusts for, or else an adjustment set among the columns.

    Raises:
        AssumptionError: There is none.
        DataError: The table lacks a column that defines strata.
    """
    estimand = problem.estimand
    strata = roles.strata
    rule = [step for step in estimand.steps if step.rule.startswith("back-door")]
    if rule and not strata and set(rule[0].variables) <= set(problem.table.names):
        return rule[0].variables
    own = {*roles.treatments, roles.outcome}
    named = set(problem.table.names) & set(estimand.graph.nodes) - own
    if unknown := sorted(set(strata) - named):
        problem.table.column(unknown[0])  # says which columns there are
    found = find_adjustment_set(
        estimand.graph, roles.treatments, roles.outcome, including=strata, within=sorted(named)
    )
    if found is None:
        raise AssumptionError(
            f"no set of the columns {sorted(named)}{' with ' if strata else ''}{', '.join(strata)} "
            f"is an adjustment set for {', '.join(roles.treatments)} and {roles.outcome} in the "
            "diagram; use an estimator for general formulas"
        )
    return estimand.graph.in_order(found)


def check_covariates(estimand: Estimand, roles: Roles, covariates: Sequence[str]) -> None:
    """Refuse covariates that are no adjustment set of the diagram."""
    failure = explain_adjustment(estimand.graph, roles.treatments, roles.outcome, covariates)
    if failure:
        raise AssumptionError(
            f"{{{', '.join(covariates)}}} is not an adjustment set for "
            f"{', '.join(roles.treatments)} and {roles.outcome}: {failure}; leave covariates out "
            "to take those of the formula"
        )


# Arms.


def is_dose(column: Column) -> bool:
    """Whether a treatment is a number with too many values to be arms."""
    if column.categories is not None or column.values.dim() > 1:
        return False
    return len(np.unique(column.values.detach().cpu().numpy())) > MOST_STATES


def find_arms(estimand: Estimand, table: Table, treatments: Sequence[str]) -> tuple[Arm, ...]:
    """List the values that a treatment takes, or the combinations that several take.

    Of a text with more than 20 values those that the question names, and one for all `Others`.

    Raises:
        DataError: There is one value only, or a column has too many.
    """
    if len(treatments) == 1 and (few := _find_named(estimand, table, treatments[0])):
        return few
    named = {name: states(name, table.column(name)) for name in treatments}
    for name, values in named.items():
        if len(values) < 2:
            raise DataError(
                f"{name} is {values[0]!r} in all {table.num_rows} rows; expected at least two "
                "values of the treatment to compare"
            )
    if len(treatments) == 1:
        return named[treatments[0]]
    seen = np.stack([numbers(table, name) for name in treatments], 1)
    occurring = {tuple(row) for row in np.unique(seen, axis=0).tolist()}
    return tuple(
        arm
        for arm in itertools.product(*named.values())
        if tuple(encoded(table, v, n) for n, v in zip(treatments, arm, strict=True)) in occurring
    )


def _find_named(estimand: Estimand, table: Table, treatment: str) -> tuple[Arm, ...] | None:
    """List the values that a question names, of a text with too many values to be arms."""
    categories = table.column(treatment).categories
    occurring = set(numbers(table, treatment).astype(int).tolist()) - {-1}
    if categories is None or len(occurring) <= MOST_STATES:
        return None
    values: set[Any] = set()
    for _, query in _parts(estimand):
        values |= {i.value for i in query.outcomes[0].term.interventions if i.name == treatment}
        values |= {event.value for event in query.given if event.name == treatment}
    if None in values:
        return None
    named = [categories[code] for code in sorted(occurring) if categories[code] in values]
    return (*named, Others(f"one of {len(occurring) - len(named)} other values"))


def find_levels(estimand: Estimand, table: Table, treatment: str) -> tuple[float, ...]:
    """List the values that a question sets a treatment that is a number to.

    Raises:
        QueryError: The question leaves the value open, or is about units that received one value.
    """
    found: set[float] = set()
    for _, query in _parts(estimand):
        for event in query.given:
            if event.name == treatment:
                raise QueryError(
                    f"{estimand.query} is about units with one value of {treatment}, which takes "
                    "many; ask about all units, or cut it into bands"
                )
        for intervention in query.outcomes[0].term.interventions:
            if intervention.value is None:
                raise QueryError(
                    f"{estimand.query} leaves {treatment} open, which takes many values; give "
                    f"one, such as do({treatment}={_example(table, treatment)})"
                )
            found.add(float(table.encode(intervention.value, treatment)))
    return tuple(sorted(found))


def _example(table: Table, treatment: str) -> str:
    return f"{np.median(numbers(table, treatment)):.3g}"


# Means.


def read_means(
    estimand: Estimand, table: Table, treatments: tuple[str, ...], arms: tuple[Arm, ...]
) -> tuple[tuple[Mean, ...], Array, dict[str, tuple[Value, ...]]]:
    """Fill in the open values, and collect the means that the answers are made of."""
    parts = _parts(estimand)
    labels = label_open_values(query for _, query in parts)
    axes = {}
    for opened, label in labels.items():
        name = opened if isinstance(opened, str) else opened.name
        axes[label] = states(name, table.column(name))
    rows: list[dict[Mean, float]] = []
    for values in itertools.product(*axes.values()):
        row: dict[Mean, float] = {}
        for weight, query in parts:
            filled = fill_open_values(query, labels, dict(zip(axes, values, strict=True)))
            mean = _read_mean(filled, table, treatments, arms)
            row[mean] = row.get(mean, 0.0) + weight
        rows.append(row)
    means = tuple(dict.fromkeys(mean for row in rows for mean in row))
    weights = np.array([[row.get(mean, 0.0) for mean in means] for row in rows])
    return means, weights, axes


def _read_mean(
    query: Query, table: Table, treatments: tuple[str, ...], arms: tuple[Arm, ...]
) -> Mean:
    world = {i.name: i.value for i in query.outcomes[0].term.interventions}
    seen = {event.name: event.value for event in query.given if event.name in treatments}
    strata = [event for event in query.given if event.name not in treatments]
    event = () if query.kind == "E" else _tests(table, query.outcomes)
    if query.kind == "E":
        _check_level(query.outcomes[0].name, table)
    return Mean(
        _arm(table, treatments, world, arms),
        event,
        _arm(table, treatments, seen, arms) if seen else None,
        tuple((event.name, encoded(table, event.value, event.name)) for event in strata),
    )


def _arm(
    table: Table, treatments: tuple[str, ...], values: dict[str, Any], arms: tuple[Arm, ...]
) -> int:
    for name in treatments:
        table.encode(values[name], name)
    one = len(treatments) == 1
    arm: Any = values[treatments[0]] if one else tuple(values[name] for name in treatments)
    if arm not in arms:
        shown = ", ".join(map(str, arms))
        known = f"it takes the values {shown}" if one else f"they take {shown}"
        raise DataError(f"{', '.join(treatments)} is never {arm!r} in the data; {known}")
    return arms.index(arm)


def _tests(table: Table, events: Iterable[Event]) -> Tests:
    found = []
    for event in events:
        if event.op != "=" and table.column(event.name).categories is not None:
            raise DataError(f"{event} compares categories; expected a column of numbers")
        found.append((event.op, encoded(table, event.value, event.name)))
    return tuple(found)


def _check_level(name: str, table: Table) -> None:
    categories = table.column(name).categories
    if table[name].dim() > 1:
        raise DataError(f"{name} has several values in each row; expected one number")
    if categories is not None and any(isinstance(value, str) for value in categories):
        raise DataError(
            f"{name} holds the categories {categories}, which have no mean; ask for a "
            f"probability, such as P({name}={categories[0]} | do(...))"
        )
