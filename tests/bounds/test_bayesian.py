"""Posteriors over response types: exact cases, importance sampling, sharp ends, the prior."""

import numpy as np
import pyro.poutine as poutine
import pytest
import torch
from scipy.stats import dirichlet, multinomial

from causalppl.bounds.bayesian import ResponseFunctionPosterior
from causalppl.bounds.canonical import Canonical
from causalppl.bounds.method import OBSERVED, BoundProblem
from causalppl.bounds.question import Question
from causalppl.bounds.type_model import TypeModel
from causalppl.bounds.type_sampler import draw_laws
from causalppl.data import Table
from causalppl.exceptions import DataError
from causalppl.graphs import ADMG
from causalppl.programs.finite import random_finite_model
from causalppl.queries import parse_query

approx = pytest.approx
BOW = ADMG.parse("X -> Y; X <-> Y")
IV = ADMG.parse("Z -> X -> Y; X <-> Y")
LEAN = ResponseFunctionPosterior(num_draws=1_000)


def counted(graph, query, counts):
    """A problem whose rows are the cells of a table, weighed by counts."""
    cells = np.indices(counts.shape).reshape(counts.ndim, -1)
    kept = counts.reshape(-1) > 0
    table = Table.from_any(
        {n: c[kept].astype(float) for n, c in zip(graph.nodes, cells, strict=True)}
    )
    weights = {OBSERVED: counts.reshape(-1)[kept].astype(float)}
    return BoundProblem(graph, parse_query(query), {OBSERVED: table}, weights)


def drawn(graph, query, size, seed):
    law = random_finite_model(graph, seed=seed).law().values.numpy()
    counts = np.random.default_rng(seed).multinomial(size, law.reshape(-1)).reshape(law.shape)
    return counted(graph, query, counts)


def test_the_posterior_of_a_confounded_pair_is_known():
    # 8 types, two for each cell: cells are Dirichlet(2 + counts), their halves Dirichlet(1, 1)
    counts = np.array([[30, 10], [20, 40]])
    problem = counted(BOW, "P(Y=1 | do(X=1))", counts)
    found = ResponseFunctionPosterior(num_draws=20_000).solve(problem, seed=0)
    posterior = found.diagnostics["posterior"]
    shares = (counts + 2) / (counts.sum() + 8)
    assert posterior.mean() == approx(shares[1, 1] + shares[0].sum() / 2, abs=0.005)
    assert (float(found.lower), float(found.upper)) == approx((0.4, 0.8))
    assert found.has_spread


@pytest.mark.slow
def test_chains_agree_with_importance_sampling_from_the_prior():
    counts = np.array([[[4, 1], [1, 0]], [[1, 2], [0, 5]]])
    problem = counted(IV, "ATE(X -> Y)", counts)
    found = ResponseFunctionPosterior(num_draws=8_000).solve(problem, seed=0)
    posterior = found.diagnostics["posterior"]
    model = TypeModel.of(IV, {name: (0, 1) for name in IV.nodes})
    district = next(each for each in model.districts if each.members == ("X", "Y"))
    rng = np.random.default_rng(1)
    laws = rng.dirichlet(np.ones(16), 400_000)
    likelihood = np.zeros(len(laws))
    for cell, count in zip(district.cells, counts.reshape(2, 4), strict=True):
        likelihood += np.log(laws @ cell.T + 1e-300) @ count
    weights = np.exp(likelihood - likelihood.max())
    weights /= weights.sum()
    (_, parts), = Question.of(problem).cells()  # fmt: skip
    others = {e.name: np.full((len(laws), e.cells.shape[-1]), 0.5) for e in model.districts}
    effect = model.effect(parts, {**others, district.name: laws})
    mean = weights @ effect
    spread = np.sqrt(weights @ (effect - mean) ** 2)
    assert posterior.mean() == approx(mean, abs=0.02)
    assert posterior.std() == approx(spread, rel=0.06)


@pytest.mark.slow
@pytest.mark.parametrize("concentration", [0.5, 3.0])
def test_other_priors_are_sampled_too(concentration):
    cells = TypeModel.of(IV, {name: (0, 1) for name in IV.nodes}).districts
    district = next(each for each in cells if each.members == ("X", "Y"))
    rng = np.random.default_rng(0)
    # without data the posterior is the prior
    found = draw_laws(
        district.cells, np.zeros((2, 4)), concentration,
        num_chains=20, draws_per_chain=200, warmup=20, rng=rng,
    ).reshape(-1, 16)  # fmt: skip
    total = 16 * concentration
    assert found.mean(0) == approx(np.full(16, 1 / 16), abs=0.01)
    assert found.var(0).mean() == approx(15 / 256 / (total + 1), rel=0.1)


@pytest.mark.parametrize(
    "text", ["X -> Y; X <-> Y", pytest.param("Z -> X -> Y; X <-> Y", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("query", ["ATE(X -> Y)", "PNS(X -> Y)", "ETT(X -> Y)"])
def test_with_many_rows_draws_fill_the_sharp_interval_and_stay_in_it(text, query):
    graph = ADMG.parse(text)
    problem = drawn(graph, query, 2_000_000, seed=3)
    found = LEAN.solve(problem, seed=0)
    posterior = found.diagnostics["posterior"]
    assert found.diagnostics["rhat"] < 1.05
    assert found.lower - 0.01 <= posterior.min()
    assert posterior.max() <= found.upper + 0.01
    assert np.ptp(posterior) > 0.5 * found.width
    sharp = Canonical().solve(problem, seed=0)
    assert (found.lower, found.upper) == (sharp.lower, sharp.upper)
    assert found.is_sharp


def test_more_data_do_not_narrow_the_posterior_inside_and_other_priors_move_it():
    wide = [
        LEAN.solve(drawn(BOW, "ATE(X -> Y)", size, seed=1), seed=0) for size in (2_000, 2_000_000)
    ]
    few, many = (found.diagnostics["posterior"].std() for found in wide)
    assert many == approx(few, rel=0.2)
    spreads = [
        np.ptp([low, high]) for _, low, high in wide[1].diagnostics["prior_sensitivity"].values()
    ]
    assert spreads[0] > spreads[1] > spreads[2]  # a stronger prior is narrower
    assert "the posterior is the prior" in wide[1].interpret()


@pytest.mark.slow
def test_what_is_identified_has_a_posterior_that_narrows():
    graph = ADMG.parse("Z -> X -> Y; Z -> Y")
    problem = drawn(graph, "ATE(X -> Y)", 100_000, seed=0)
    found = LEAN.solve(problem, seed=0)
    posterior = found.diagnostics["posterior"]
    assert posterior.std() < 0.01
    assert posterior.mean() == approx(float(found.lower), abs=0.01)
    assert "posterior is the prior" not in found.interpret()


def test_open_values_and_seeds():
    problem = drawn(BOW, "P(Y | do(X))", 500, seed=0)
    found = LEAN.solve(problem, seed=0)
    assert found.diagnostics["posterior"].shape == (1_000, 2, 2)
    assert found.diagnostics["posterior"].sum(1) == approx(np.ones((1_000, 2)))
    again = LEAN.solve(problem, seed=0)
    assert np.array_equal(found.diagnostics["posterior"], again.diagnostics["posterior"])


def test_the_program_has_the_density_of_the_model():
    counts = np.array([[[4, 1], [1, 0]], [[1, 2], [0, 5]]])
    problem = counted(IV, "ATE(X -> Y)", counts)
    trace = poutine.trace(LEAN.program(problem)).get_trace()
    trace.compute_log_prob()
    laws = {name: trace.nodes[name]["value"].numpy() for name in ("types_Z", "types_X_Y")}
    model = TypeModel.of(IV, {name: (0, 1) for name in IV.nodes})
    expected = 0.0
    for district in model.districts:
        law = laws[district.name]
        expected += dirichlet.logpdf(law / law.sum(), np.ones(len(law)))
        seen = counts.reshape(2, 4) if len(district.members) == 2 else counts.sum((1, 2))[None]
        for cell, count in zip(district.cells, seen, strict=True):
            expected += multinomial.logpmf(count, count.sum(), cell @ law)
    assert float(trace.log_prob_sum()) == approx(expected, rel=1e-6)
    (_, parts), = Question.of(problem).cells()  # fmt: skip
    effect = model.effect(parts, {name: law[None] for name, law in laws.items()})
    assert float(trace.nodes["effect"]["value"]) == approx(float(effect[0]))
    assert trace.nodes["effect"]["value"].dtype == torch.float64


def test_refusals_say_why():
    rows = Table.from_any({"X": [0, 1], "Y": [0, 1], "Z": [0.1, 0.2]})

    def refusal(text, query="ATE(X -> Y)", method=LEAN, table=rows):
        problem = BoundProblem(ADMG.parse(text), parse_query(query), {OBSERVED: table})
        return method.refusal(problem)

    assert refusal("X -> Y; X <-> Y") is None
    assert "only through others" in refusal("X -> Y; X <-> Z; Z <-> Y; Z -> Y")
    few = ResponseFunctionPosterior(max_types=7)
    assert "more than 7 response types" in refusal("X -> Y; X <-> Y", method=few)
    exact = BoundProblem(
        BOW, parse_query("ATE(X -> Y)"), laws={OBSERVED: random_finite_model(BOW, seed=0).law()}
    )
    assert "rows of observed data" in LEAN.refusal(exact)
    with pytest.raises(DataError, match="leaves Y, X open"):
        LEAN.program(drawn(BOW, "P(Y | do(X))", 50, seed=0))
    for wrong in ({"concentration": 0}, {"num_draws": 1}, {"num_chains": 1}):
        with pytest.raises(DataError):
            ResponseFunctionPosterior(**wrong)
