"""Tables read out of programs, against the tables that the programs were written with."""

import math
import sys

import pyro
import pyro.distributions as dist
import pytest
import torch

from causalppl.exceptions import ProgramError
from causalppl.inference.tables import Block, ProgramTables, finite_support, log_law
from causalppl.inference.value_sets import distinct, find_codes, grouped, is_same
from causalppl.programs import SCM

F64 = torch.float64


@pytest.mark.parametrize(
    ("fn", "values"),
    [
        (dist.Bernoulli(torch.tensor([0.2, 0.7])), [0.0, 1.0]),
        (dist.Bernoulli(logits=torch.tensor([0.2, -40.0])), [0.0, 1.0]),
        (dist.Categorical(torch.tensor([[0.2, 0.8, 0.0]])), [0, 1, 2]),
        (dist.Binomial(3, torch.tensor([0.3, 0.9])), [0.0, 1.0, 2.0, 3.0]),
        (dist.OrderedLogistic(torch.tensor([0.1]), torch.tensor([-1.0, 1.0])), [0, 1, 2]),
        (dist.BetaBinomial(2.0, 3.0, 4), [0.0, 1.0, 2.0, 3.0, 4.0]),
        (dist.Bernoulli(torch.tensor(0.2)).expand([4]).mask(False), [0.0, 1.0]),
    ],
    ids=lambda each: type(each).__name__,
)
def test_log_laws_are_those_of_the_family(fn, values):
    support = finite_support(fn)
    assert support.tolist() == values
    found = log_law(fn, support)
    assert found.dtype == F64
    base = fn.base_dist if isinstance(fn, dist.MaskedDistribution) else fn
    for k, value in enumerate(support):
        expected = base.log_prob(value.expand(base.batch_shape)).double().exp()
        assert torch.allclose(found[..., k].exp(), expected, atol=2e-6)
    assert torch.allclose(found.exp().sum(-1), torch.ones((), dtype=F64), atol=1e-12)


def test_one_hot_vectors_are_values():
    fn = dist.OneHotCategorical(torch.tensor([0.2, 0.3, 0.5]))
    support = finite_support(fn)
    assert torch.equal(support, torch.eye(3))
    assert log_law(fn, support).exp().tolist() == pytest.approx([0.2, 0.3, 0.5], abs=1e-7)


def test_exact_zeros_and_tiny_probabilities_stay():
    law = log_law(dist.Categorical(torch.tensor([0.0, 1.0])), torch.arange(2))
    assert law.tolist() == [-math.inf, 0.0]
    tiny = log_law(dist.Bernoulli(torch.tensor(1e-300, dtype=F64)), torch.tensor([0.0, 1.0]))
    assert tiny[1].item() == pytest.approx(math.log(1e-300))


@pytest.mark.parametrize(
    ("fn", "reason"),
    [
        (dist.Normal(0.0, 1.0), "not discrete"),
        (dist.Poisson(torch.tensor(1.0)), "infinitely many"),
        (dist.Bernoulli(torch.full((3,), 0.5)).to_event(1), "to_event"),
        (dist.Binomial(torch.tensor([2.0, 3.0]), torch.tensor(0.5)), "cannot be listed"),
    ],
)
def test_other_families_are_refused_with_a_reason(fn, reason):
    assert reason in finite_support(fn)


# -- sets of values -----------------------------------------------------------------------------


def test_values_that_differ_by_rounding_are_one():
    third = torch.tensor([1 / 3, 1 - 2 / 3, 0.5])
    assert len(distinct(third)) == 2
    # whole numbers are exact, however large
    assert len(distinct(torch.tensor([1e6, 1e6 + 1, 1e6]))) == 2
    pairs = torch.tensor([[0.1, 1.0], [0.1 + 1e-9, 1.0], [0.1, 2.0]])
    assert len(distinct(pairs)) == 2


def test_codes_of_scalars_and_vectors():
    domain = torch.tensor([3.0, 1.0, 2.0])
    assert find_codes(torch.tensor([2, 3, 7]), domain).tolist() == [2, 0, -1]
    assert find_codes(torch.tensor([0.1], dtype=F64), torch.tensor([0.1])).tolist() == [0]
    rows = torch.tensor([[0, 1], [1, 0], [1, 1]])
    assert find_codes(torch.tensor([[1, 0], [0, 0], [1, 1]]), rows).tolist() == [1, -1, 2]
    assert find_codes(torch.tensor([True, False]), torch.tensor([False, True])).tolist() == [1, 0]


def test_grouping_finds_a_first_row_of_each_kind():
    values = torch.tensor([0.5, 0.2, 0.5, 0.1])
    first, kinds = grouped(values)
    assert torch.equal(values[first][kinds], values)
    assert first.tolist() == [3, 1, 0]


def test_comparison_is_up_to_the_coarser_precision():
    one, other = torch.tensor([0.1]), torch.tensor([0.1], dtype=F64)
    assert bool(is_same(one, other))
    assert not bool(is_same(other, other + 1e-9))


# -- runs -----------------------------------------------------------------------------------------

TABLE = torch.tensor([[0.1, 0.9], [0.4, 0.6], [0.8, 0.2]])


def program():
    a = pyro.sample("A", dist.Categorical(torch.tensor([0.2, 0.3, 0.5])))
    b = pyro.deterministic("B", 2 - a, event_dim=0)
    c = pyro.sample("C", dist.Categorical(TABLE[b]))
    pyro.sample("Y", dist.Normal(a + 10.0 * c, 1.0))


def test_blocks_of_several_sites_share_a_run():
    sizes = []

    def counted(n):
        sizes.append(n)
        with pyro.plate("units", n):
            program()

    tables = ProgramTables(SCM(counted, check=False))
    sizes.clear()
    values, law, density = tables.read(
        [
            Block("B", 3, {"A": torch.arange(3)}, reads_law=False),
            # the deterministic parent is set against its own formula
            Block("C", 2, {"B": torch.tensor([2, 0])}),
            Block(
                "Y",
                2,
                {"A": torch.tensor([0, 1]), "C": torch.tensor([1, 1])},
                torch.tensor([10.0, 10.0]),
            ),
        ],
        {"A": torch.tensor(0), "C": torch.tensor(0)},
    )
    # the last block sets A, so it comes after the first; C's block shares units with it
    assert sizes == [5]
    assert values.tolist() == [[2, 1, 0]]
    assert torch.allclose(law[0].exp(), TABLE[[2, 0]].double(), atol=1e-7)
    normal = -0.5 * math.log(2 * math.pi)
    assert density[0].tolist() == pytest.approx([normal, normal - 0.5], abs=1e-6)


def test_values_outside_the_support_have_no_density():
    def positive():
        pyro.sample("T", dist.Exponential(torch.tensor(1.0)))

    block = Block("T", 2, {}, torch.tensor([-1.0, 1.0]))
    (density,) = ProgramTables(SCM(positive)).read([block], {})
    assert density[0].tolist() == pytest.approx([-math.inf, -1.0])


def test_large_blocks_are_cut_into_runs(monkeypatch):
    monkeypatch.setattr(sys.modules[ProgramTables.__module__], "_UNITS_PER_RUN", 4)
    b = torch.tensor([0, 1, 2, 2, 1, 0, 1, 1, 2])
    tables = ProgramTables(SCM(program, check=False))
    first, second = tables.read([Block("C", 9, {"B": b}), Block("C", 1, {"B": b[:1]})], {})
    assert torch.allclose(first[0].exp(), TABLE[b].double(), atol=1e-7)
    assert torch.allclose(second[0].exp(), TABLE[b[:1]].double(), atol=1e-7)


def test_nested_plates_leave_unit_sites_alone():
    def nested(n):
        with pyro.plate("units", n, dim=-2):
            z = pyro.sample("Z", dist.Bernoulli(torch.tensor(0.5)))
            with pyro.plate("items", 3, dim=-1):
                pyro.sample("R", dist.Normal(z, 1.0))
            pyro.sample("Y", dist.Bernoulli(0.2 + 0.5 * z))

    tables = ProgramTables(SCM(nested, check=False))
    (law,) = tables.read([Block("Y", 2, {"Z": torch.tensor([0.0, 1.0])})], {})
    assert law[0, :, 1].exp().tolist() == pytest.approx([0.2, 0.7], abs=1e-6)


@pytest.mark.parametrize("is_batched", [True, False])
def test_parameter_draws_make_the_first_axis(is_batched):
    rates = torch.tensor([[0.1, 0.9], [0.3, 0.5], [0.2, 0.6]])

    def fitted(n):
        if is_batched:
            low = pyro.sample("low", dist.Beta(1.0, 1.0))
            high = pyro.sample("high", dist.Beta(1.0, 1.0))
            with pyro.plate("units", n):
                z = pyro.sample("Z", dist.Bernoulli(torch.tensor(0.5)))
                pyro.sample("Y", dist.Bernoulli(low + (high - low) * z))
        else:
            rate = pyro.sample("rate", dist.Beta(1.0, 1.0).expand([2]).to_event(1))
            with pyro.plate("units", n):
                z = pyro.sample("Z", dist.Bernoulli(torch.tensor(0.5)))
                pyro.sample("Y", dist.Bernoulli(rate[z.long()]))

    draws = {"low": rates[:, 0], "high": rates[:, 1]} if is_batched else {"rate": rates}
    tables = ProgramTables(SCM(fitted, check=False).with_parameters(draws))
    (law,) = tables.read([Block("Y", 2, {"Z": torch.tensor([0.0, 1.0])})], {})
    assert torch.allclose(law[..., 1].exp(), rates.double(), atol=1e-6)


def test_computed_values_that_are_not_numbers_are_named():
    def divided():
        a = pyro.sample("A", dist.Bernoulli(torch.tensor(0.5)))
        pyro.deterministic("B", torch.log(a - 0.5), event_dim=0)

    tables = ProgramTables(SCM(divided, check=False))
    with pytest.raises(ProgramError, match=r"'B' is not a number at A = 0\.0"):
        tables.read([Block("B", 2, {"A": torch.tensor([0.0, 1.0])}, reads_law=False)], {})
