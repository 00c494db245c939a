"""Many linear programs at once, against HiGHS one by one."""

import numpy as np
import pytest
from scipy.optimize import linprog

from causalppl.bounds.many_programs import ManyPrograms, complete_basis, tilted
from causalppl.bounds.response_program import ResponseProgram


def solved_alone(matrix, right, cost):
    return linprog(cost, A_eq=matrix, b_eq=right, bounds=(0, None), method="highs")


def basis_of(matrix, right, cost):
    start = tilted(cost)
    found = solved_alone(matrix, right, start)
    basis = complete_basis(matrix, found.x, start - found.eqlin.marginals @ matrix)
    return ManyPrograms(matrix).solve(right[None], start[None], basis, start).basis[0]


def random_programs(seed, rows=5, columns=14, batch=8):
    """Programs of laws: a first row of ones, the others zeros and ones; some do not fit."""
    rng = np.random.default_rng(seed)
    matrix = rng.integers(0, 2, (rows, columns)).astype(float)
    matrix[0] = 1.0
    laws = rng.dirichlet(np.full(columns, 0.3), batch)
    right = laws @ matrix.T
    right[-2:, 1:] += rng.normal(scale=0.5, size=(2, rows - 1))
    return rng, matrix, right


@pytest.mark.parametrize("same", [True, False], ids=["one cost", "own costs"])
def test_they_are_those_of_programs_solved_alone(same):
    infeasible = 0
    for seed in range(100):
        rng, matrix, right = random_programs(seed)
        if np.linalg.matrix_rank(matrix) < len(matrix):
            continue
        whole = rng.integers(-1, 2, (1, matrix.shape[1])).astype(float)
        cost = whole if same else whole + rng.normal(size=(len(right), matrix.shape[1]))
        basis = basis_of(matrix, right[0], cost[0])
        found = ManyPrograms(matrix).solve(right, cost, basis)
        for number, each in enumerate(right):
            alone = solved_alone(matrix, each, cost[0 if same else number])
            assert bool(found.is_infeasible[number]) == (alone.status == 2)
            assert bool(found.is_solved[number]) == (alone.status == 0)
            if alone.status == 0:
                assert found.values[number] == pytest.approx(alone.fun, abs=1e-9)
                full = np.zeros(matrix.shape[1])
                full[found.basis[number]] = found.law[number]
                assert matrix @ full == pytest.approx(each, abs=1e-9)
                assert full.min() > -1e-9
            infeasible += alone.status == 2
    assert infeasible > 50


def test_a_start_that_is_not_optimal_is_mended():
    matrix = np.array([[1.0, 1.0, 1.0], [0.0, 1.0, 2.0]])
    right, cost = np.array([[1.0, 1.0], [1.0, 1.5]]), np.array([[0.0, 3.0, 1.0]])
    found = ManyPrograms(matrix).solve(right, cost, np.array([1, 2]))
    assert found.is_solved.all()
    assert found.values == pytest.approx([0.5, 0.75])


def test_columns_that_a_solution_uses_are_completed_to_a_basis():
    matrix = np.array([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0]])
    basis = complete_basis(matrix, np.array([0.0, 1.0, 0.0, 0.0]), np.array([1.0, 0.0, 2.0, 3.0]))
    assert basis.tolist() == [1, 2]
    assert complete_basis(matrix[:, :2], np.ones(2), np.zeros(2)) is None


def test_the_nearest_laws_are_as_near_as_those_found_one_by_one():
    rng = np.random.default_rng(0)
    cells = np.stack([np.zeros(16, int), *(rng.integers(1, 4, (1, 16)))], 1)
    cells = np.concatenate([cells, rng.integers(4, 7, (16, 1)), rng.integers(7, 10, (16, 1))], 1)
    program = ResponseProgram(cells, 10)
    weights = np.concatenate([[1.0], rng.uniform(0.5, 2, 9)])
    rights = np.concatenate([np.ones((12, 1)), *rng.dirichlet(np.full(3, 0.3), (3, 12))], 1)
    found, is_found = program.nearest_many(rights, weights)
    assert is_found.all()
    for right, near in zip(rights, found, strict=True):
        alone, _, distance = program.nearest(right, weights)
        assert np.abs(near - right) @ weights == pytest.approx(distance, abs=1e-8)
        assert np.abs(alone - right) @ weights == pytest.approx(distance, abs=1e-8)
