"""Instruments against their definition path by path, and against two-stage least squares."""

import numpy as np
import pytest

from causalppl.exceptions import GraphError
from causalppl.graphs import ADMG
from causalppl.identification.instrumental_sets import generic_rank, is_instrumental_set
from causalppl.identification.instruments import Instrument, find_instruments, is_instrument

from .paths import (
    covariance,
    is_causal,
    joint_effects,
    linear_model,
    open_between,
    paths,
    random_diagrams,
    subsets,
)


def instrument_by_paths(graph, z, x, y, given, direct):
    """The definition, with the effect cut by leaving out paths."""
    causal = [path for path in paths(graph, x, {y}) if is_causal(path)]
    carriers = {y} | {node for nodes, _ in causal for node in nodes[1:] if not direct}
    if ({z} | given) & graph.descendants(carriers):
        return False

    def uncut(path):
        nodes, arrows = path
        return not any(
            (a == x and arrow == "->" and b in carriers)
            or (b == x and arrow == "<-" and a in carriers)
            for a, arrow, b in zip(nodes, arrows, nodes[1:], strict=False)
        )

    # descendants of what the cut edges lead to are never conditioned on, so the colliders
    # that are open are the same with and without the cut
    return not open_between(graph, {z}, {y}, given, uncut) and open_between(
        graph, {z}, {x}, given, uncut
    )


def problems(count, seed, directed=0.4, bidirected=0.2):
    rng = np.random.default_rng(seed)
    for graph in random_diagrams(count, seed, directed=directed, bidirected=bidirected):
        x, y = rng.choice(sorted(graph.directed_edges)).tolist() if graph.directed_edges else (
            graph.nodes[:2]
        )  # fmt: skip
        yield graph, x, y, rng


@pytest.mark.parametrize("direct", [False, True])
def test_verdicts_are_those_of_the_paths(direct):
    verdicts = []
    for graph, x, y, _ in problems(150, seed=1, directed=0.35):
        if direct and (x, y) not in graph.directed_edges:
            continue
        for z in set(graph) - {x, y}:
            for given in subsets(set(graph) - {x, y, z}):
                verdict = is_instrument(graph, z, x, y, given, direct=direct)
                assert verdict == instrument_by_paths(graph, z, x, y, given, direct)
                verdicts.append(verdict)
    assert sum(verdicts) > 100


@pytest.mark.parametrize("direct", [False, True])
def test_ancestral_instruments_are_all_found_and_some_whenever_there_is_any(direct):
    listed = missed = 0
    for graph, x, y, rng in problems(700, seed=2, directed=0.35):
        if direct and (x, y) not in graph.directed_edges:
            continue
        within = {v for v in graph if rng.random() < 0.85}
        found = find_instruments(graph, x, y, within=within, direct=direct)
        assert [f.node for f in found] == list(graph.in_order({f.node for f in found}))
        for instrument in found:
            assert {instrument.node, *instrument.given} <= within
            assert is_instrument(graph, instrument.node, x, y, instrument.given, direct=direct)
        holds, ancestral = set(), set()
        for z in within - {x, y}:
            for given in subsets(within - {x, y, z}):
                if is_instrument(graph, z, x, y, given, direct=direct):
                    holds.add(z)
                    if given <= graph.ancestors({z, y}):
                        ancestral.add(z)
        assert ancestral <= {f.node for f in found} <= holds, (graph, x, y, within)
        assert bool(found) == bool(holds), (graph, x, y, within)
        listed += len(found)
        missed += len(holds) - len(found)
    assert listed > 100
    assert missed < listed / 5


def test_the_ratio_of_covariances_is_the_effect():
    rng = np.random.default_rng(3)
    checked = 0
    for graph, x, y, _ in problems(500, seed=3, directed=0.35):
        at = {v: i for i, v in enumerate(graph.nodes)}
        model = linear_model(graph, rng)
        sigma = covariance(*model)
        for direct in (False, True):
            if direct and (x, y) not in graph.directed_edges:
                continue
            truth = (
                model[0][at[y], at[x]]
                if direct
                else joint_effects(model[0], [at[x]], [at[y]])[0, 0]
            )
            for found in find_instruments(graph, x, y, direct=direct):
                with_y, with_x = (
                    conditional(sigma, [at[found.node]], [at[v]], [at[w] for w in found.given])
                    for v in (y, x)
                )
                assert with_y[0, 0] / with_x[0, 0] == pytest.approx(truth, abs=1e-6)
                checked += 1
    assert checked > 100


def conditional(sigma, rows, columns, given):
    """The covariance of two sets of variables given a third."""
    if not given:
        return sigma[np.ix_(rows, columns)]
    inner = np.linalg.solve(sigma[np.ix_(given, given)], sigma[np.ix_(given, columns)])
    return sigma[np.ix_(rows, columns)] - sigma[np.ix_(rows, given)] @ inner


def test_rank_is_that_of_random_coefficients():
    rng = np.random.default_rng(4)
    for graph in random_diagrams(300, seed=4, directed=0.4, bidirected=0.15):
        rows = [i for i in range(len(graph)) if rng.random() < 0.5]
        columns = [i for i in range(len(graph)) if rng.random() < 0.5]
        sigma = covariance(*linear_model(graph, rng))
        rank = np.linalg.matrix_rank(sigma[np.ix_(rows, columns)], tol=1e-9) if rows else 0
        masks = sum(1 << i for i in rows), sum(1 << i for i in columns)
        assert generic_rank(graph, *masks) == (rank if columns else 0)


def test_a_set_of_one_is_an_instrument():
    for graph, x, y, _ in problems(150, seed=5):
        for z in set(graph) - {x, y}:
            for given in subsets(set(graph) - {x, y, z}):
                assert is_instrumental_set(graph, z, x, y, given) == is_instrument(
                    graph, z, x, y, given
                )


def test_two_stage_least_squares_gives_the_joint_effect():
    rng = np.random.default_rng(6)
    checked = 0
    for graph in random_diagrams(900, seed=6, sizes=(5, 6), directed=0.4, bidirected=0.1):
        at = {v: i for i, v in enumerate(graph.nodes)}
        y, *others = rng.permutation(list(graph.nodes)).tolist()
        X, Z, given = others[:2], others[2:4], others[4:5]
        if not is_instrumental_set(graph, Z, X, y, given):
            continue
        model = linear_model(graph, rng)
        sigma = covariance(*model)
        z, x, w = ([at[v] for v in part] for part in (Z, X, given))
        first = conditional(sigma, z, x, w)
        second = conditional(sigma, z, [at[y]], w)
        truth = joint_effects(model[0], x, [at[y]])
        np.testing.assert_allclose(np.linalg.solve(first, second).T, truth, atol=1e-6)
        checked += np.abs(truth).max() > 0.01
    assert checked > 20


def test_textbook_cases():
    graph = ADMG.parse("Z -> X -> Y; X <-> Y")
    assert find_instruments(graph, "X", "Y") == (Instrument("Z"),)
    mediated = ADMG.parse("Z -> X -> M -> Y; X <-> Y; X -> Y")
    assert find_instruments(mediated, "X", "Y") == (Instrument("Z"),)
    assert not is_instrument(mediated, "M", "X", "Y")
    # the way through M is open without M, and M opens X <-> Y
    assert find_instruments(mediated, "X", "Y", direct=True) == ()
    assert find_instruments(ADMG.parse("Z -> {X, Y}; X -> Y; X <-> Y"), "X", "Y") == ()


def test_wrong_sets_are_refused():
    graph = ADMG.parse("Z -> X -> M -> Y")
    with pytest.raises(GraphError, match="X and z share X"):
        is_instrument(graph, "X", "X", "Y")
    with pytest.raises(GraphError, match="z and given share Z"):
        is_instrument(graph, "Z", "X", "Y", "Z")
    with pytest.raises(GraphError, match="X and Y share X"):
        find_instruments(graph, "X", "X")
    with pytest.raises(GraphError, match="unknown node 'W'"):
        find_instruments(graph, "X", "W")
    with pytest.raises(GraphError, match="no edge X -> Y"):
        find_instruments(graph, "X", "Y", direct=True)
    with pytest.raises(GraphError, match="no edge X -> Y"):
        is_instrumental_set(graph, "Z", "X", "Y", direct=True)
    with pytest.raises(GraphError, match="Z is empty"):
        is_instrumental_set(graph, (), "X", "Y")
    with pytest.raises(GraphError, match="Z and given share Z"):
        is_instrumental_set(graph, "Z", "X", "Y", "Z")
