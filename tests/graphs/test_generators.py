"""Random diagrams and named ones."""

import numpy as np
import pytest
import torch

from causalppl import graphs
from causalppl.exceptions import DataError, GraphError
from causalppl.graphs import ADMG, random_admg


def test_a_seed_repeats_and_another_differs():
    assert random_admg(12, seed=5) == random_admg(12, seed=5)
    assert random_admg(12, seed=5) != random_admg(12, seed=6)
    assert random_admg(12) != random_admg(12)


def test_the_global_state_is_left_alone():
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    random_admg(5, seed=1)
    random_admg(5)
    assert (np.random.get_state()[1] == numpy_state).all()
    assert (torch.get_rng_state() == torch_state).all()


def test_probabilities_of_zero_and_one_are_exact():
    empty = random_admg(6, directed=0, bidirected=0, seed=0)
    assert not empty.directed_edges
    assert not empty.bidirected_edges
    full = random_admg(6, directed=1, bidirected=1, seed=0)
    assert len(full.directed_edges) == len(full.bidirected_edges) == 15


def test_edges_come_at_the_rate_asked_for():
    # 19900 coins each: five standard deviations, a false alarm in 1e6 seeds; the seed is fixed
    graph = random_admg(200, directed=0.3, bidirected=0.1, seed=0)
    for edges, rate in ((graph.directed_edges, 0.3), (graph.bidirected_edges, 0.1)):
        assert abs(len(edges) / 19900 - rate) < 5 * (rate * (1 - rate) / 19900) ** 0.5


def test_the_order_of_nodes_says_nothing_about_the_causal_order():
    graphs_drawn = [random_admg(["A", "B"], directed=1, seed=seed) for seed in range(40)]
    forward = sum(graph.directed_edges == (("A", "B"),) for graph in graphs_drawn)
    assert 5 < forward < 35  # fair coin: outside with probability 3e-6; the seeds are fixed


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"directed": 1.5}, GraphError, "directed is 1.5; expected a probability"),
        ({"bidirected": -0.1}, GraphError, "bidirected is -0.1"),
        ({"nodes": -1}, GraphError, "nodes is -1"),
        ({"seed": -1}, DataError, "seed is -1"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        random_admg(**{"nodes": 3, **arguments})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("bow", "X -> Y; X <-> Y"),
        ("back_door", "Z -> {X, Y}; X -> Y"),
        ("front_door", "X -> Z -> Y; X <-> Y"),
        ("instrument", "Z -> X -> Y; X <-> Y"),
        ("m_bias", "X -> Y; Z <-> {X, Y}"),
        ("napkin", "W -> Z -> X -> Y; W <-> {X, Y}"),
        ("verma", "A -> B -> C -> D; B <-> D"),
    ],
)
def test_named_diagrams(name, text):
    assert getattr(graphs, name)() == ADMG.parse(text)
