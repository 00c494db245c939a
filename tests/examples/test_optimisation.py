"""Causal Bayesian optimisation: optima to the digits given, means against draws."""

import numpy as np
import pytest
from scipy.optimize import minimize

from causalppl.examples import complete_graph, psa_health, toy_graph
from causalppl.programs import do

PROBLEMS = [toy_graph, complete_graph, psa_health]
OPTIMA = {
    toy_graph: {("X",): -1.4638, ("Z",): -2.1718},
    complete_graph: {
        ("B",): -1.2281,
        ("D",): 0.0688,
        ("E",): 1.5983,
        ("B", "D"): -3.4831,
        ("B", "E"): 1.5657,
        ("D", "E"): -0.6384,
    },
    psa_health: {("aspirin", "statin"): 5.1553},
}


def least_mean(problem, names):
    """The least mean over a box, from a grid of starts."""
    bounds = [problem.ranges[name] for name in names]
    starts = np.stack(np.meshgrid(*(np.linspace(low, high, 25) for low, high in bounds)), -1)
    starts = starts.reshape(-1, len(names))
    values = problem.mean(dict(zip(names, starts.T, strict=True)))
    best = min(
        minimize(
            lambda x: float(problem.mean(dict(zip(names, x, strict=True)))),
            starts[k],
            bounds=bounds,
        ).fun
        for k in np.argsort(values)[:5]
    )
    return min(best, values.min())


@pytest.mark.parametrize("problem", PROBLEMS, ids=[p.__name__ for p in PROBLEMS])
def test_each_set_reaches_its_known_optimum(problem):
    found = problem()
    for names, value in OPTIMA[problem].items():
        assert least_mean(found, names) == pytest.approx(value, abs=5.1e-5)
    assert min(OPTIMA[problem].values()) == found.best
    assert float(found.mean(found.best_action)) == pytest.approx(found.best, abs=5.1e-5)
    assert set(OPTIMA[problem]) <= set(found.sets)


def points(problem):
    """A point of each set, and no intervention."""
    shares = (0.3, 0.6)
    for names in ((), *problem.sets):
        yield {
            name: low + share * (high - low)
            for name, share in zip(names, shares, strict=False)
            for low, high in [problem.ranges[name]]
        }


@pytest.mark.parametrize("problem", PROBLEMS, ids=[p.__name__ for p in PROBLEMS])
def test_means_are_those_of_draws(problem):
    found = problem()
    for point in points(found):
        model = do(found.scm, point) if point else found.scm
        y = model.sample(100_000, seed=1)[found.outcome]
        error = float(y.std()) / np.sqrt(100_000)
        assert float(y.mean()) == pytest.approx(float(found.mean(point)), abs=4.5 * error)


@pytest.mark.parametrize("problem", PROBLEMS, ids=[p.__name__ for p in PROBLEMS])
def test_many_points_at_once_have_the_means_of_each(problem):
    found = problem()
    for point in points(found):
        if point:
            batch = {name: np.array([value, value]) for name, value in point.items()}
            assert found.mean(batch) == pytest.approx([float(found.mean(point))] * 2, abs=1e-12)


def test_actions_leave_values_open():
    assert toy_graph().actions() == ({"X": (-5.0, 5.0)}, {"Z": (-5.0, 20.0)})
