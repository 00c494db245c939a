"""Bounds from first principles: every response function of a district, and one dense program."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import linprog

from causalppl.graphs import ADMG
from causalppl.programs.finite import FiniteModel
from causalppl.queries import Query, Term

Units = list[dict[str, dict[tuple[int, ...], int]]]


def all_responses(model: FiniteModel, members: Sequence[str]) -> Units:
    """List every response function of some variables: parents' states to a state."""
    tables = []
    for name in members:
        parents = model.graph.in_order(model.graph.parents(name))
        cells = list(itertools.product(*(range(model.states[p]) for p in parents)))
        answers = itertools.product(range(model.states[name]), repeat=len(cells))
        tables.append([dict(zip(cells, answer, strict=True)) for answer in answers])
    return [dict(zip(members, unit, strict=True)) for unit in itertools.product(*tables)]


def value(graph: ADMG, unit: Mapping, roots: Mapping[str, int], term: Term) -> int:
    """Evaluate a term in a unit, at given values of the variables outside the district."""
    held = {
        i.name: value(graph, unit, roots, i.value) if isinstance(i.value, Term) else i.value
        for i in term.interventions
    }

    def state(name: str) -> int:
        if name in held:
            return held[name]
        if name in roots:
            return roots[name]
        return unit[name][tuple(state(p) for p in graph.in_order(graph.parents(name)))]

    return state(term.name)


def brute_force_bounds(
    model: FiniteModel, parts: Sequence[tuple[float, Query]], experiments: Sequence[str] = ()
) -> tuple[float, float]:
    """Bound a weighted sum of queries that share what is given.

    The variables outside the only district of several must be roots.

    Args:
        model: Gives the diagram and its law.
        parts: The queries, without open values.
        experiments: Variables of the district with an experiment of their own.
    """
    graph = model.graph
    key = (graph, tuple(model.states.items()), tuple(experiments))
    if key not in _KNOWN:
        _KNOWN[key] = _incidence(model, experiments)
    rows, cells, units, outer, roots = _KNOWN[key]
    tables = {do: model.law(dict(do)) for do in dict.fromkeys(do for do, _ in cells)}
    right = [float(tables[do].probability(dict(codes))) for do, codes in cells]
    law = model.law().marginalise([name for name in graph.nodes if name not in roots])
    chance = np.array([float(law.probability(dict(zip(roots, at, strict=True)))) for at in outer])
    key = (*key, tuple(parts))
    if key not in _KNOWN:
        _KNOWN[key] = _scores(graph, units, outer, roots, parts)
    over, under = _KNOWN[key]
    return _ratio_ends(rows, np.array([1.0, *right]), over @ chance, under @ chance)


_KNOWN: dict = {}


def _incidence(model: FiniteModel, experiments: Sequence[str]) -> tuple:
    graph = model.graph
    members = max(graph.districts(), key=len)
    roots = [name for name in graph.nodes if name not in members]
    order = [name for name in graph.topological_order() if name in members]
    units = all_responses(model, order)
    outer = list(itertools.product(*(range(model.states[name]) for name in roots)))
    settings = [{}, *({x: state} for x in experiments for state in range(model.states[x]))]
    rows, cells = [np.ones(len(units))], []
    for at, setting in itertools.product(outer, settings):
        do = {**dict(zip(roots, at, strict=True)), **setting}
        for cell in itertools.product(*(range(model.states[name]) for name in order)):
            codes = dict(zip(order, cell, strict=True))
            if all(codes[name] == state for name, state in setting.items()):
                rows.append(np.array([_hits(graph, unit, do, codes) for unit in units], float))
                cells.append((tuple(do.items()), tuple({**codes, **do}.items())))
    return np.array(rows), cells, units, outer, roots


def _scores(graph, units, outer, roots, parts) -> tuple[np.ndarray, np.ndarray]:
    over, under = np.zeros((2, len(units), len(outer)))
    for (place, unit), (column, at) in itertools.product(enumerate(units), enumerate(outer)):
        held = dict(zip(roots, at, strict=True))
        given = parts[0][1].worlds.given
        if all(value(graph, unit, held, e.term) == e.value for e in given):
            under[place, column] = 1.0
            over[place, column] = sum(w * _score(graph, unit, held, q) for w, q in parts)
    return over, under


def _hits(graph: ADMG, unit: Mapping, held: Mapping, codes: Mapping) -> bool:
    return all(value(graph, unit, held, Term(name)) == code for name, code in codes.items())


def _score(graph: ADMG, unit: Mapping, roots: Mapping, query: Query) -> float:
    query = query.worlds
    values = [value(graph, unit, roots, event.term) for event in query.outcomes]
    if query.kind == "E":
        return float(np.dot(query.coefficients, values))
    return float(all(v == e.value for v, e in zip(values, query.outcomes, strict=True)))


def _ratio_ends(rows, right, over, under) -> tuple[float, float]:
    scaled = np.concatenate([rows, -right[:, None]], 1)
    total = np.append(under, 0.0)[None]
    ends = []
    for sign in (1, -1):
        solved = linprog(
            sign * np.append(over, 0.0),
            A_eq=np.concatenate([scaled, total]),
            b_eq=np.append(np.zeros(len(rows)), 1.0),
            method="highs",
            options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
        )
        assert solved.status == 0, solved.message
        ends.append(sign * solved.fun)
    return ends[0], ends[1]
