import itertools
import time

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from causalppl.data import Factor, contract
from causalppl.exceptions import DataError, ImpossibleEvidenceError

SIZES = {"a": 2, "b": 3, "c": 2, "d": 4, "e": 2}


def random_factor(rng, names, batch=()):
    return Factor(names, torch.from_numpy(rng.random((*batch, *(SIZES[n] for n in names)))))


def brute_force(factors, keep):
    """The sum of products by numpy over the full joint, without batch."""
    names = sorted({name for factor in factors for name in factor.names})
    joint = np.ones([SIZES[name] for name in names])
    for factor in factors:
        order = [name for name in names if name in factor.names]
        values = np.transpose(factor.values.numpy(), [factor.names.index(name) for name in order])
        values = values * np.exp(factor.log_scale.numpy())
        joint = joint * values.reshape([SIZES[n] if n in order else 1 for n in names])
    summed = joint.sum(axis=tuple(i for i, name in enumerate(names) if name not in keep))
    kept = [name for name in names if name in keep]
    return np.transpose(summed, [kept.index(name) for name in keep])


def actual(factor):
    scale = factor.log_scale.exp()
    return (factor.values * scale.reshape((*scale.shape, *[1] * len(factor.names)))).numpy()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(sorted(SIZES)), min_size=0, max_size=3, unique=True),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, 2**31),
    st.data(),
)
def test_contraction_agrees_with_brute_force(scopes, seed, data):
    rng = np.random.default_rng(seed)
    factors = [random_factor(rng, tuple(scope)) for scope in scopes]
    present = sorted({name for scope in scopes for name in scope})
    keep = data.draw(st.permutations(present)) if present else []
    keep = keep[: data.draw(st.integers(0, len(keep)))]
    result = contract(factors, keep)
    assert result.names == tuple(keep)
    np.testing.assert_allclose(actual(result), brute_force(factors, keep), rtol=1e-10)
    total = brute_force(factors, [])
    np.testing.assert_allclose(result.log_total, np.log(total), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("batches", [[(), (5,), ()], [(5,), (5,), (5,)], [(3, 1), (), (1, 4)]])
def test_batches_broadcast(batches):
    rng = np.random.default_rng(1)
    scopes = [("a", "b"), ("b", "c"), ("c", "d")]
    factors = [random_factor(rng, s, b) for s, b in zip(scopes, batches, strict=True)]
    result = contract(factors, ["d", "a"])
    batch = np.broadcast_shapes(*batches)
    assert result.batch_shape == result.log_scale.shape == batch
    values = actual(result)
    for index in np.ndindex(*batch):
        single = [
            Factor(f.names, torch.broadcast_to(f.values, (*batch, *f.values.shape[-2:]))[index])
            for f in factors
        ]
        np.testing.assert_allclose(values[index], brute_force(single, ["d", "a"]), rtol=1e-10)


def test_chain_of_300_is_quick_and_right():
    rng = np.random.default_rng(0)
    steps = rng.dirichlet([1, 1], size=(300, 2))
    factors = [Factor(("s0",), [0.3, 0.7])]
    factors += [Factor((f"s{i}", f"s{i + 1}"), step) for i, step in enumerate(steps)]
    contract(factors[:3])  # imports and caches
    start = time.perf_counter()
    result = contract(factors, ["s300"])
    assert time.perf_counter() - start < 1.0
    expected = np.array([0.3, 0.7])
    for step in steps:
        expected = expected @ step
    np.testing.assert_allclose(actual(result), expected, rtol=1e-10)


def test_thousands_of_factors_do_not_underflow():
    # each of 3000 observations has probability 1e-3 in both states: the total is 1e-9000
    step = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64)
    factors = [Factor(("s0",), [0.5, 0.5])]
    for i in range(3000):
        factors += [Factor((f"s{i}", f"s{i + 1}"), step), Factor((f"s{i}",), [1e-3, 1e-3])]
    result = contract(factors, ["s3000"])
    assert float(result.log_total) == pytest.approx(3000 * np.log(1e-3), rel=1e-12)
    np.testing.assert_allclose(result.normalise().values, [2 / 3, 1 / 3], rtol=1e-10)
    assert (
        float(result.probability({"s3000": 0})) == 0.0
    )  # below the smallest float; values keep it


def test_evidence_per_unit_with_missing_values():
    rng = np.random.default_rng(2)
    prior, link = random_factor(rng, ("a",)), random_factor(rng, ("a", "d"))
    codes = torch.tensor([0, 3, -1])
    seen = Factor.observed("d", codes, range(4))
    posterior = contract([prior, link, seen], ["a"]).normalise()
    assert posterior.batch_shape == (3,)
    joint = prior.values[:, None] * link.values
    for unit, column in enumerate([joint[:, 0], joint[:, 3], joint.sum(1)]):
        np.testing.assert_allclose(posterior.values[unit], column / column.sum())
    cut = prior.multiply(link).condition({"d": codes[:2]}).normalise()
    np.testing.assert_allclose(cut.values, posterior.values[:2])


def test_operations_agree_with_numpy():
    rng = np.random.default_rng(3)
    f, g = random_factor(rng, ("a", "b")), random_factor(rng, ("c", "b"))
    product = f * g
    assert product.names == ("a", "b", "c")
    expected = np.einsum("ab,cb->abc", f.values, g.values)
    np.testing.assert_allclose(product.values, expected)
    np.testing.assert_allclose(product.marginalise(["b"]).values, expected.sum(1))
    np.testing.assert_allclose(product.condition({"b": 2}).values, expected[:, 2])
    np.testing.assert_allclose(product.condition({"b": 2, "a": 1}).values, expected[1, 2])
    np.testing.assert_allclose(product.normalise().values, expected / expected.sum())
    given = product.normalise(["a"])
    np.testing.assert_allclose(given.values, expected / expected.sum(0, keepdims=True))
    np.testing.assert_allclose(product.align("cab").values, expected.transpose(2, 0, 1))
    assert float(product.probability({"a": 1})) == pytest.approx(expected[1].sum())
    assert float(product.log_total) == pytest.approx(np.log(expected.sum()))
    assert product.marginalise([]) is product


def test_batched_operations_agree_with_numpy():
    rng = np.random.default_rng(4)
    f, g = random_factor(rng, ("a", "b"), (5,)), random_factor(rng, ("b", "c"))
    expected = np.einsum("uab,bc->uabc", f.values, g.values)
    np.testing.assert_allclose((f * g).values, expected)
    np.testing.assert_allclose((g * f).align("abc").values, expected)
    np.testing.assert_allclose((f * g).probability({"c": 1}), expected[..., 1].sum((1, 2)))
    codes = torch.tensor([0, 1, 2, 1, 0])
    cut = (f * g).condition({"b": codes})
    assert cut.names == ("a", "c")
    np.testing.assert_allclose(cut.values, expected[np.arange(5), :, codes])


def test_log_scale_is_carried():
    scaled = Factor(("a",), [1.0, 3.0], log_scale=torch.tensor(-1000.0))
    assert float(scaled.log_total) == pytest.approx(np.log(4) - 1000)
    squared = scaled * scaled
    assert float(squared.log_scale) == -2000
    np.testing.assert_allclose(squared.normalise().values, [0.1, 0.9])
    assert float(contract([scaled, scaled]).log_total) == pytest.approx(np.log(10) - 2000)


def test_states_have_names():
    rain = Factor(("rain",), [0.8, 0.2], {"rain": ("no", "yes")})
    assert float(rain.probability({"rain": "yes"})) == pytest.approx(0.2)
    frame = (rain * Factor(("n",), [0.5, 0.5])).to_frame()
    pd.testing.assert_frame_equal(
        frame,
        pd.DataFrame(
            {
                "rain": ["no", "no", "yes", "yes"],
                "n": [0, 1, 0, 1],
                "probability": [0.4, 0.4, 0.1, 0.1],
            }
        ),
    )
    with pytest.raises(DataError, match="rain has no state 'maybe'; expected one of 'no', 'yes'"):
        rain.condition({"rain": "maybe"})


def test_gradients_pass_through():
    table = torch.tensor([0.2, 0.8], dtype=torch.float64, requires_grad=True)
    link = Factor(("a", "c"), [[0.9, 0.1], [0.3, 0.7]])
    contract([Factor(("a",), table), link.condition({"c": 1})]).log_total.backward()
    # d/dp log(sum_a p_a l_a) = l_a / sum
    np.testing.assert_allclose(table.grad, np.array([0.1, 0.7]) / 0.58)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Factor(("a", "a"), np.ones((2, 2))), "each once"),
        (lambda: Factor(("a", "b"), [1.0, 2.0]), "one axis for each name"),
        (lambda: Factor(("a",), [1.0, 2.0], {"a": ("x",)}), "one state"),
        (lambda: Factor(("a",), [1.0, 2.0], {"a": ("x", "x")}), "different from the others"),
        (lambda: Factor(("a",), [1.0, -2.0]), "negative"),
        (lambda: Factor(("a",), [1.0, np.nan]), "missing"),
        (lambda: Factor(("a",), [1.0, np.inf]), "infinite"),
        (lambda: Factor.observed("a", torch.tensor([2]), (0, 1)), "expected integers below 2"),
        (lambda: Factor(("a",), [1.0, 2.0]).marginalise(["b"]), "no variable 'b'"),
        (lambda: Factor(("a",), [1.0, 2.0]).align(["b"]), "the same names"),
        (
            lambda: Factor(("a",), [1.0, 2.0]).condition({"a": torch.tensor([2])}),
            "leave 0 to 1",
        ),
        (lambda: Factor(("a",), np.ones((3, 2))).to_frame(), "has a batch"),
        (
            lambda: Factor(("a",), [1.0, 2.0]) * Factor(("a",), [1.0, 2.0], {"a": (1, 0)}),
            r"a has the states \(0, 1\) in one factor and \(1, 0\)",
        ),
        (
            lambda: contract([Factor(("a",), [1.0, 2.0]), Factor(("a",), [1.0, 2.0, 3.0])]),
            "a has the states",
        ),
        (lambda: contract([Factor(("a",), [1.0, 2.0])], ["b"]), "different names out of a"),
        (lambda: contract([Factor(("a",), [1.0, 2.0])], ["a", "a"]), "different names"),
        (
            lambda: contract([Factor(("a",), np.ones((2, 2))), Factor(("a",), np.ones((3, 2)))]),
            "batches",
        ),
        (
            lambda: contract(
                [Factor((f"v{i}",), [1.0, 1.0]) for i in range(40)], [f"v{i}" for i in range(40)]
            ),
            "needs a table of",
        ),
    ],
)
def test_bad_factors_are_refused(build, message):
    with pytest.raises(DataError, match=message):
        build()


def test_impossible_evidence_is_named():
    joint = Factor(("a", "b"), [[0.0, 0.5], [0.0, 0.5]])
    with pytest.raises(ImpossibleEvidenceError, match="zero in 1 of 1 cases"):
        joint.condition({"b": 0}).normalise()
    with pytest.raises(ImpossibleEvidenceError, match="zero in 1 of 2 cases"):
        joint.normalise(["a"])
    assert float(contract([joint.condition({"b": 0})]).log_total) == -np.inf


def test_nothing_to_contract_is_one():
    assert float(contract([]).log_total) == 0.0
    assert list(itertools.chain(contract([]).names)) == []


def test_grid_needs_no_full_joint():
    # 2 x 40 grid of binary variables: joint 2^80 cells; the answer by a transfer matrix
    rng = np.random.default_rng(5)
    rungs = rng.random((40, 2, 2))
    rails = rng.random((39, 2, 2, 2))
    factors = [Factor((f"t{i}", f"b{i}"), rung) for i, rung in enumerate(rungs)]
    for i, (top, bottom) in enumerate(rails):
        factors.append(Factor((f"t{i}", f"t{i + 1}"), top))
        factors.append(Factor((f"b{i}", f"b{i + 1}"), bottom))
    state = rungs[0]
    for (top, bottom), rung in zip(rails, rungs[1:], strict=True):
        state = np.einsum("tb,tu,bv,uv->uv", state, top, bottom, rung)
    result = contract(factors, ["t39", "b39"])
    np.testing.assert_allclose(actual(result), state, rtol=1e-10)


@pytest.mark.gpu
def test_factors_live_on_a_device():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    rng = np.random.default_rng(6)
    factors = [random_factor(rng, s, (4,)) for s in (("a", "b"), ("b", "c"))]
    moved = [Factor(f.names, f.values.cuda(), f.states) for f in factors]
    result = contract(moved, ["c"])
    assert result.values.device.type == "cuda"
    np.testing.assert_allclose(result.values.cpu(), contract(factors, ["c"]).values, rtol=1e-10)
    assert result.normalise().probability({"c": 1}).device.type == "cuda"


def test_factors_over_no_variable_multiply() -> None:
    assert (Factor((), 2.0) * Factor((), 3.0)).values.item() == 6
