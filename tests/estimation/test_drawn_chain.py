"""Laws drawn along a chain: as those of the whole law, and only where they are looked at."""

import numpy as np
import pytest
import torch

from causalppl.data import Table
from causalppl.estimation.contingency import Contingency
from causalppl.estimation.dirichlet_laws import leaf_table, plan_scopes
from causalppl.estimation.drawn_chain import Chain
from causalppl.estimation.estimator import Problem
from causalppl.graphs import ADMG
from causalppl.identification import Estimand, identify
from causalppl.identification.expression import Probability, walk

DIAGRAMS = {
    "back door": ("Z -> X -> Y; Z -> Y", "P(Y=1 | do(X=1))"),
    "front door": ("X -> Z -> Y; X <-> Y", "P(Y=1 | do(X=0))"),
    "napkin": ("W -> Z -> X -> Y; W <-> X; W <-> Y", "P(Y | do(X=1))"),
    "an open treatment": ("Z -> X -> Y; Z -> Y", "P(Y | do(X))"),
    "two worlds": ("Z -> X -> Y; Z -> Y", "ATE(X -> Y)"),
}


def chain_of(graph: str, query: str) -> tuple[Chain, list[Probability], Estimand]:
    """The one chain of a formula, on 60 rows of three-valued data."""
    estimand = identify(ADMG.parse(graph), query)
    rng = np.random.default_rng(0)
    table = Table.from_any({name: rng.integers(0, 3, 60) for name in estimand.graph.nodes})
    data = Contingency.of(Problem(estimand, table))
    (scope,) = set(plan_scopes(estimand, data).values())
    leaves = [node for node in walk(estimand.body) if isinstance(node, Probability)]
    return Chain(scope, data, 1.0), leaves, estimand


@pytest.mark.parametrize("name", DIAGRAMS)
def test_leaves_have_the_law_that_they_have_in_the_whole(name: str) -> None:
    """8,000 draws; moments differ by at most 5.5 standard errors: a false alarm in 10,000 runs."""
    chain, leaves, _ = chain_of(*DIAGRAMS[name])
    some = chain.draw_leaves(leaves, 8_000, np.random.default_rng(1))
    joint = chain.draw_joint(8_000, np.random.default_rng(2))
    for leaf in dict.fromkeys(leaves):
        drawn, whole = some[leaf], leaf_table(leaf, joint)
        for label in drawn.names:
            places = torch.tensor([whole.states[label].index(v) for v in drawn.states[label]])
            whole = type(whole)(
                whole.names,
                whole.values.index_select(1 + whole.names.index(label), places),
                {**whole.states, label: drawn.states[label]},
            )
        for power in (1, 2):
            first, second = (law.values.numpy() ** power for law in (drawn, whole))
            error = np.sqrt((first.var(0) + second.var(0)) / 8_000)
            assert (abs(first.mean(0) - second.mean(0)) <= 5.5 * error + 1e-9).all()


def test_leaves_of_one_draw_belong_to_one_law() -> None:
    chain, _, _ = chain_of("Z -> X -> Y; Z -> Y", "P(Y=1 | do(X=1))")
    nodes = walk(identify(ADMG.parse("Z -> X"), "P(X | Z)").body)
    given = next(node for node in nodes if isinstance(node, Probability))
    nodes = walk(identify(ADMG.parse("Z -> X"), "P(X, Z)").body)
    both = [node for node in nodes if isinstance(node, Probability)]
    laws = chain.draw_leaves([given, *both], 50, np.random.default_rng(0))
    (x_and_z,) = (law for leaf, law in laws.items() if len(leaf.outcomes) == 2)
    x_and_z = x_and_z.align(["X", "Z"])
    shares = x_and_z.values / x_and_z.values.sum(1, keepdim=True)
    assert torch.allclose(shares, laws[given].align(["X", "Z"]).values)


def test_no_more_is_drawn_than_is_looked_at() -> None:
    chain, leaves, _ = chain_of("Z -> X -> Y; Z -> Y", "P(Y=1 | do(X=1))")
    laws = chain.draw_leaves(leaves, 2, np.random.default_rng(0))
    found = {leaf.outcomes[0].variable: law for leaf, law in laws.items()}
    assert found["Y"].states["X"] == (1,)
    assert found["Y"].values.shape == (2, 3, 1, 3) or found["Y"].values.shape == (2, 3, 3, 1)
