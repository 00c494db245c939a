"""What every bounding method holds: it is valid, nested, repeatable, and says why it refuses."""

import dataclasses
import importlib
import pkgutil

import numpy as np
import pytest

import causalppl.bounds
from causalppl.bounds.bayesian import ResponseFunctionPosterior
from causalppl.bounds.bounds import Bounds
from causalppl.bounds.canonical import Canonical
from causalppl.bounds.manski import NoAssumptions
from causalppl.bounds.method import OBSERVED, BoundMethod, BoundProblem
from causalppl.bounds.monotone import MonotoneResponse
from causalppl.bounds.monotone_instrument import MonotoneInstrument
from causalppl.bounds.monotone_selection import MonotoneSelection
from causalppl.bounds.natural import NaturalBounds
from causalppl.data import Table
from causalppl.exceptions import AssumptionError, DataError
from causalppl.graphs import ADMG
from causalppl.programs.finite import random_finite_model
from causalppl.queries import parse_query

IV = ADMG.parse("Z -> X -> Y; X <-> Y")
BOW = ADMG.parse("X -> Y; X <-> Y")
QUERIES = ("ATE(X -> Y)", "P(Y=1 | do(X=1))", "P(Y | do(X))")
ALWAYS_VALID = {  # they assume nothing that a random model on the diagram may lack
    "no assumptions": NoAssumptions(num_draws=200),
    "natural bounds": NaturalBounds(num_draws=200),
    "response functions": Canonical(num_draws=50),
}
BY_ASSUMPTION = {
    "monotone response": MonotoneResponse(num_draws=200),
    "monotone selection": MonotoneSelection(num_draws=200),
    "both": MonotoneSelection(response=MonotoneResponse(), num_draws=200),
    "monotone instrument": MonotoneInstrument("Z", num_draws=200),
}
POSTERIOR = {"posterior": ResponseFunctionPosterior(num_draws=200, num_chains=20, warmup=20)}
METHODS = ALWAYS_VALID | BY_ASSUMPTION | POSTERIOR


def each(methods, *, slow=()):
    return [
        pytest.param(method, id=name, marks=[pytest.mark.slow] if name in slow else [])
        for name, method in methods.items()
    ]


def sample(model, size, seed):
    law = model.law()
    cells = np.random.default_rng(seed).choice(
        law.values.numel(), size, p=law.values.numpy().ravel()
    )
    codes = np.unravel_index(cells, law.values.shape)
    return Table.from_any(dict(zip(law.names, codes, strict=True)))


def rows_problem(query="ATE(X -> Y)", graph=IV, seed=1):
    model = random_finite_model(graph, seed=seed)
    return BoundProblem(graph, parse_query(query), {OBSERVED: sample(model, 300, seed)})


@pytest.mark.parametrize("method", each(ALWAYS_VALID))
@pytest.mark.parametrize("query", QUERIES)
def test_the_truth_of_random_models_lies_within(method, query):
    for text in ("Z -> X -> Y; X <-> Y", "Z -> X -> Y; X <-> Y; Z -> Y", "X -> Y; X <-> Y"):
        graph = ADMG.parse(text)
        for seed in range(4):
            model = random_finite_model(graph, seed=seed, concentration=0.5)
            problem = BoundProblem(graph, parse_query(query), laws={OBSERVED: model.law()})
            if method.refusal(problem) is not None:
                assert isinstance(method, NaturalBounds)
                continue
            found, truth = method.solve(problem, seed=0), model.answer(query).values
            assert (found.lower <= truth + 1e-9).all()
            assert (truth <= found.upper + 1e-9).all()


@pytest.mark.parametrize("method", each(METHODS, slow=("posterior",)))
def test_it_is_never_wider_than_without_assumptions(method):
    for seed in range(6):
        problem = rows_problem(seed=seed)
        wide = NoAssumptions(100).solve(problem, seed=0)
        try:
            found = method.solve(problem, seed=0)
        except AssumptionError:
            continue  # the data refute the assumption
        assert wide.lower - 1e-6 <= found.lower
        assert found.upper <= wide.upper + 1e-6


@pytest.mark.parametrize("method", each(METHODS))
def test_it_returns_bounds_that_say_what_they_rest_on(method):
    problem = rows_problem("P(Y=1 | do(X=1))")
    assert method.refusal(problem) is None
    found = method.solve(problem, seed=0)
    assert isinstance(found, Bounds)
    assert found.query == problem.query
    assert found.num_rows == 300
    assert found.assumptions
    assert method.name in found.method
    low, high = found.interval()
    assert low <= found.lower <= found.upper <= high
    assert str(problem.query) in found.interpret()


@pytest.mark.parametrize("method", each(METHODS, slow=("posterior",)))
def test_answers_repeat_with_the_seed(method):
    problem = rows_problem()
    first, second = (method.solve(problem, seed=5) for _ in range(2))
    assert (first.lower, first.upper) == (second.lower, second.upper)
    assert np.array_equal(first.draws, second.draws)
    other = method.solve(problem, seed=6)
    assert not np.array_equal(first.draws, other.draws)


@pytest.mark.parametrize("method", each(METHODS))
def test_it_refuses_with_a_reason_and_without_side_effects(method):
    asked = rows_problem()
    nothing = BoundProblem(IV, parse_query("ATE(X -> Y)"))
    lacking = BoundProblem(
        IV, parse_query("ATE(X -> Y)"), {OBSERVED: asked.tables[OBSERVED].select(["Z", "X"])}
    )
    for problem in (nothing, lacking):
        reason = method.refusal(problem)
        assert isinstance(reason, str)
        assert len(reason) > 10
    assert method.refusal(asked) is None
    assert method.refusal(asked) is None


@pytest.mark.parametrize("method", each(METHODS))
def test_settings_are_fields_that_are_checked(method):
    assert dataclasses.is_dataclass(method)
    with pytest.raises(dataclasses.FrozenInstanceError):
        method.num_draws = 7
    with pytest.raises(DataError):
        dataclasses.replace(method, num_draws=-1)


@pytest.mark.parametrize("method", each(METHODS, slow=("posterior",)))
def test_whole_weights_are_rows(method):
    problem = rows_problem()
    table = problem.tables[OBSERVED]
    codes = np.stack([table[name].numpy() for name in table.names], 1)
    kinds, count = np.unique(codes, axis=0, return_counts=True)
    short = Table.from_any(dict(zip(table.names, kinds.T, strict=True)))
    weighted = BoundProblem(IV, problem.query, {OBSERVED: short}, {OBSERVED: count.astype(float)})
    long, brief = method.solve(problem, seed=0), method.solve(weighted, seed=0)
    for end in ("lower", "upper"):
        assert float(getattr(brief, end)) == pytest.approx(float(getattr(long, end)), abs=1e-6)
    for ours, theirs in zip(brief.interval(), long.interval(), strict=True):
        assert float(ours) == pytest.approx(float(theirs), abs=0.06)


def test_all_methods_of_the_folder_are_here():
    modules = pkgutil.iter_modules(causalppl.bounds.__path__, "causalppl.bounds.")
    found = {
        value
        for module in modules
        for value in vars(importlib.import_module(module.name)).values()
        if isinstance(value, type) and issubclass(value, BoundMethod)
    }
    known = {type(method) for method in METHODS.values()}
    final = {value for value in found if not value.__abstractmethods__}
    assert {value.__name__ for value in final - known} <= NOT_FOR_THIS_DIAGRAM


NOT_FOR_THIS_DIAGRAM = {"MarginalSensitivity"}  # it answers about measured confounders
