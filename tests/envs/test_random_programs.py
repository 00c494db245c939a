"""Random diagrams with random finite programs: environments against the laws of the models."""

import itertools

import numpy as np
import pytest

from causalppl.envs import SCMEnv
from causalppl.graphs import random_admg
from causalppl.programs.finite import random_finite_model

SEEDS = range(5)


def problem(seed):
    """A program over four variables with three states, and an arm for each set and value."""
    graph = random_admg(["A", "B", "C", "Y"], directed=0.6, bidirected=0.4, seed=seed)
    model = random_finite_model(graph, states={"A": 3, "B": 2, "C": 2, "Y": 3}, seed=seed)
    sizes = {"A": 3, "B": 2, "C": 2}
    arms = [
        dict(zip(names, values, strict=True))
        for count in range(4)
        for names in itertools.combinations(sizes, count)
        for values in itertools.product(*(range(sizes[name]) for name in names))
    ]
    return model, arms


def mean_of_y(model, arm):
    law = model.law(arm)
    return float(sum(y * law.probability({"Y": y}) for y in range(3)))


@pytest.mark.parametrize("seed", SEEDS)
def test_means_of_all_arms(seed):
    model, arms = problem(seed)
    oracle = SCMEnv(model.scm(), arms, "Y", reward_range=(0, 2)).oracle
    assert oracle.means == pytest.approx([mean_of_y(model, arm) for arm in arms], abs=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("tabulate", [None, False])
def test_neighbours_with_different_arms_follow_their_own_laws(seed, tabulate):
    model, arms = problem(seed)
    each = 3_000
    batch = SCMEnv(model.scm(), arms, "Y", reward_range=(0, 2), tabulate=tabulate).vector(
        each * len(arms)
    )
    batch.reset(seed=seed)
    actions = np.arange(batch.num_envs) % len(arms)
    _, rewards, _, _, info = batch.step(actions)
    for number, arm in enumerate(arms):
        mine = rewards[actions == number]
        truth = mean_of_y(model, arm)
        assert mine.mean() == pytest.approx(truth, abs=5 * mine.std() / np.sqrt(each))
        assert all((info["values"][n][actions == number] == v).all() for n, v in arm.items())
