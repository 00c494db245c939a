"""The enumeration engine against sums over all values of the noise, closed forms and figures."""

import itertools
import math
from dataclasses import dataclass

import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from causalppl.exceptions import ImpossibleEvidenceError, ProgramError
from causalppl.inference.engine import Condition, Problem
from causalppl.inference.enumeration import Enumeration
from causalppl.inference.laws import FiniteLaw, PointLaw
from causalppl.programs import SCM, GumbelMax, Quantile, Shift, World
from causalppl.programs.learned import Learned
from causalppl.seeding import forked_rng

F64 = torch.float64


def solve(scm, evidence=None, targets=(), worlds=None, events=(), num_units=1, num_draws=200):
    evidence = {key: torch.as_tensor(value) for key, value in (evidence or {}).items()}
    evidence = {key: value if value.dim() else value.reshape(1) for key, value in evidence.items()}
    problem = Problem(
        scm, num_units, worlds or {}, evidence, tuple(targets), tuple(events), num_draws
    )
    engine = Enumeration()
    assert engine.refusal(problem) is None
    return engine.solve(problem, seed=0)


def refusal(scm, evidence=None, targets=(), worlds=None, events=(), num_units=1):
    evidence = {key: torch.as_tensor([value]) for key, value in (evidence or {}).items()}
    problem = Problem(scm, num_units, worlds or {}, evidence, tuple(targets), tuple(events))
    return Enumeration().refusal(problem)


# -- the truth: sum over all cells of the noise --------------------------------------------------


@dataclass(frozen=True)
class Net:
    """A random discrete program: for each site its parents and a table, or None for a XOR."""

    sites: dict[str, tuple[tuple[str, ...], torch.Tensor | None]]

    def program(self):
        values = {}
        for name, (parents, table) in self.sites.items():
            if table is None:
                total = sum(values[p] for p in parents) % 2
                values[name] = pyro.deterministic(name, total, event_dim=0)
            else:
                probs = table[tuple(values[p] for p in parents)] if parents else table
                values[name] = pyro.sample(name, dist.Categorical(probs))

    def size(self, name):
        table = self.sites[name][1]
        return 2 if table is None else table.shape[-1]

    def scm(self, coupling):
        couplings = {n: coupling for n, (_, table) in self.sites.items() if table is not None}
        return SCM(self.program, couplings=couplings, check=False)

    def cells(self):
        """Noise cells of each site under the quantile coupling: midpoints and widths."""
        found = {}
        for name, (_, table) in self.sites.items():
            if table is not None:
                ends = torch.cat([table.cumsum(-1).reshape(-1), torch.tensor([0.0, 1.0])])
                ends = ends.double().clamp(max=1).unique()
                found[name] = ((ends[1:] + ends[:-1]) / 2, ends[1:] - ends[:-1])
        return found

    def worlds(self, worlds):
        """Values of all worlds in every cell of the joint noise, and the cells' probabilities."""
        cells = self.cells()
        grids = torch.meshgrid(*(mid for mid, _ in cells.values()), indexing="ij")
        noise = {name: grid.reshape(-1) for name, grid in zip(cells, grids, strict=True)}
        widths = torch.meshgrid(*(width for _, width in cells.values()), indexing="ij")
        weight = math.prod(width.reshape(-1) for width in widths)
        found = {}
        for world, changes in {"": {}, **worlds}.items():
            values = {}
            for name, (parents, table) in self.sites.items():
                if name in changes:
                    values[name] = torch.full_like(weight, changes[name]).long()
                elif table is None:
                    values[name] = sum(values[p] for p in parents) % 2
                else:
                    probs = table[tuple(values[p] for p in parents)] if parents else table
                    cumulated = probs.double().cumsum(-1)[..., :-1]
                    values[name] = (noise[name].unsqueeze(-1) > cumulated).sum(-1)
                found[f"{name}@{world}" if world else name] = values[name]
        return found, weight


@st.composite
def nets(draw, most=4):
    seed = draw(st.integers(0, 10**6))
    generator = torch.Generator().manual_seed(seed)
    count = draw(st.integers(2, most))
    sites = {}
    for i in range(count):
        parents = tuple(name for name in sites if torch.rand((), generator=generator) < 0.6)[-2:]
        kind = draw(st.sampled_from([2, 2, 2, 3, "xor"]))
        if kind == "xor" and parents:
            sites[f"S{i}"] = (parents, None)
            continue
        states = kind if isinstance(kind, int) else 2
        sizes = [2 if sites[p][1] is None else sites[p][1].shape[-1] for p in parents]
        table = torch.rand(*sizes, states, generator=generator) ** 2 + 0.01
        table = table / table.sum(-1, keepdim=True)
        sites[f"S{i}"] = (parents, table)
    return Net(sites)


def choose(data, net, names, label):
    picked = data.draw(st.lists(st.sampled_from(names), unique=True, max_size=2), label=label)
    return {n: data.draw(st.integers(0, net.size(n.split("@")[0]) - 1)) for n in picked}


@settings(max_examples=40)
@given(net=nets(), data=st.data())
def test_counterfactuals_agree_with_a_sum_over_the_noise(net, data):
    names = list(net.sites)
    worlds = {
        world: {n: float(v) for n, v in choose(data, net, names, world).items()}
        for world in ("a", "b")
    }
    worlds = {world: changes for world, changes in worlds.items() if changes}
    keys = names + [f"{n}@{w}" for w in worlds for n in names]
    evidence = choose(data, net, keys, "evidence")
    truth, weight = net.worlds(worlds)
    for key, value in evidence.items():
        weight = weight * (truth[key] == value)
    if weight.sum() == 0:
        return
    weight = weight / weight.sum()
    events = tuple(
        Condition(key, op, 1.0)
        for key, op in zip(keys[-2:], data.draw(st.permutations([">=", "<", "="])), strict=False)
    )
    answer = solve(net.scm(Quantile()), evidence, keys, worlds, events, num_draws=1)
    for key in keys:
        expected = (weight * truth[key]).sum()
        assert answer.means[key][0, 0] == pytest.approx(float(expected), abs=1e-6), key
    holds = torch.stack([event.holds(truth[event.key]) for event in events]).all(0)
    assert answer.probability[0, 0] == pytest.approx(float(weight[holds].sum()), abs=1e-6)


@settings(max_examples=15)
@given(net=nets(3), data=st.data())
def test_draws_have_the_joint_law(net, data):
    names = list(net.sites)
    worlds = {"a": {names[0]: 1.0}}
    keys = [*names, *(f"{n}@a" for n in names)]
    evidence = choose(data, net, keys, "evidence")
    truth, weight = net.worlds(worlds)
    for key, value in evidence.items():
        weight = weight * (truth[key] == value)
    if weight.sum() == 0:
        return
    weight = weight / weight.sum()
    answer = solve(net.scm(Quantile()), evidence, keys, worlds, num_draws=20_000)
    pairs = list(itertools.combinations(keys, 2))
    for one, other in data.draw(st.lists(st.sampled_from(pairs), max_size=3)):
        expected = (weight * truth[one] * truth[other]).sum()
        found = (answer.draws[one].double() * answer.draws[other].double()).mean()
        # five standard errors of a product that is at most 4
        assert found == pytest.approx(float(expected), abs=5 * 2 / math.sqrt(20_000))


# -- Gumbel-max -----------------------------------------------------------------------------------


def gumbel_truth(net, changes, evidence, target):
    """Law of a target by summing over all values in the factual and one other world."""
    names = list(net.sites)
    total = torch.zeros(net.size(target.split("@")[0]), dtype=F64)
    sizes = [range(net.size(n)) for n in names]
    for here in itertools.product(*sizes):
        for there in itertools.product(*sizes):
            values = dict(zip(names, here, strict=True))
            others = dict(zip(names, there, strict=True))
            both = {**values, **{f"{n}@a": v for n, v in others.items()}}
            if any(both[key] != value for key, value in evidence.items()):
                continue
            weight = 1.0
            for name, (parents, table) in net.sites.items():
                weight *= _gumbel_factor(name, parents, table, values, others, changes)
                if weight == 0:
                    break
            total[both[target]] += weight
    return total / total.sum() if total.sum() > 0 else None


def _gumbel_factor(name, parents, table, values, others, changes):
    if table is None:
        factor = float(values[name] == sum(values[p] for p in parents) % 2)
        if name in changes:
            return factor * (others[name] == changes[name])
        return factor * (others[name] == sum(others[p] for p in parents) % 2)
    p = table[tuple(values[x] for x in parents)].double()
    factor = float(p[values[name]])
    if name in changes:
        return factor * (others[name] == changes[name])
    q = table[tuple(others[x] for x in parents)].double()
    law = GumbelMax().conditional_law(
        torch.tensor(values[name]), dist.Categorical(p), dist.Categorical(q)
    )
    return factor * float(law.probs[others[name]])


@settings(max_examples=15)
@given(net=nets(3), data=st.data())
def test_gumbel_max_agrees_with_a_sum_over_values(net, data):
    names = list(net.sites)
    changes = {names[0]: 1}
    keys = [*names, *(f"{n}@a" for n in names)]
    evidence = choose(data, net, keys, "evidence")
    targets = data.draw(st.lists(st.sampled_from(keys), min_size=1, max_size=2, unique=True))
    truth = {target: gumbel_truth(net, changes, evidence, target) for target in targets}
    if truth[targets[0]] is None:
        return
    answer = solve(net.scm(GumbelMax()), evidence, targets, {"a": changes}, num_draws=1)
    for target in targets:
        expected = float(truth[target] @ torch.arange(len(truth[target]), dtype=F64))
        assert answer.means[target][0, 0] == pytest.approx(expected, abs=1e-6), target


def gumbel_program():
    x = pyro.sample("X", dist.Categorical(torch.tensor([0.5, 0.5])))
    table = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5]])
    pyro.sample("Y", dist.Categorical(table[x]))


def test_gumbel_max_agrees_with_simulated_gumbels():
    answer = solve(SCM(gumbel_program), {"X": 0, "Y": 0}, ["Y@a"], {"a": {"X": 1}}, num_draws=1)
    with forked_rng(3):
        noise = -torch.log(-torch.log(torch.rand(400_000, 3, dtype=F64)))
    factual = (torch.tensor([0.6, 0.3, 0.1]).double().log() + noise).argmax(-1)
    other = (torch.tensor([0.2, 0.3, 0.5]).double().log() + noise).argmax(-1)[factual == 0]
    shares = torch.bincount(other, minlength=3) / len(other)
    # five standard errors of a share among at least 200,000
    assert torch.allclose(answer.laws["Y@a"].probabilities[0], shares.double(), atol=5e-3)


def test_gumbel_max_in_two_other_worlds_is_drawn_with_a_reason():
    worlds = {"a": {"X": 1}, "b": {"X": 0}}
    events = (Condition("Y@a", "=", 2.0), Condition("Y@b", "=", 0.0))
    program = SCM(gumbel_program)
    marginal = solve(program, {"Y": 0}, ["Y@a", "Y@b"], worlds)
    assert set(marginal.means) == {"Y@a", "Y@b"}
    joint = solve(program, {"Y": 0}, (), worlds, events, num_draws=50_000)
    assert joint.probability is None
    assert "Quantile()" in joint.notes[0]
    both = (joint.draws["Y@a"] == 2) & (joint.draws["Y@b"] == 0)
    with forked_rng(3):
        noise = -torch.log(-torch.log(torch.rand(400_000, 3)))
        x = torch.rand(400_000) < 0.5
    logits = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5]]).log()
    y = (logits[x.long()] + noise).argmax(-1)
    a, b = (logits[1] + noise).argmax(-1), (logits[0] + noise).argmax(-1)
    truth = ((a == 2) & (b == 0))[y == 0].float().mean()
    assert both.float().mean() == pytest.approx(float(truth), abs=0.015)
    reason = refusal(program, {"Y@a": 0, "Y@b": 0}, ["Y"], worlds)
    assert "Quantile()" in reason


# -- programs with known answers ------------------------------------------------------------------


def chain(length):
    flips = torch.linspace(0.1, 0.4, length)

    def program():
        x = pyro.sample("X0", dist.Bernoulli(torch.tensor(0.3))).long()
        for i in range(1, length):
            u = pyro.sample(f"U{i}", dist.Bernoulli(flips[i])).long()
            x = pyro.deterministic(f"X{i}", x ^ u, event_dim=0)

    return program, flips


def test_a_chain_of_a_hundred_sites_is_summed_exactly():
    program, flips = chain(100)
    scm = SCM(program, check=False)
    answer = solve(scm, {"X99": 1}, ["X0", "U50", "X99@a", "X60"], {"a": {"X40": 0}}, num_draws=10)
    # E[(-1)^(sum of flips)] is a product; parity of X99 - X0
    factors = [1 - 2 * float(flips[i]) for i in range(1, 100)]

    def odd(start, stop):
        return (1 - math.prod(factors[start - 1 : stop - 1])) / 2

    stays = 1 - odd(1, 100)
    p_one = 0.3 * stays + 0.7 * (1 - stays)
    assert answer.means["X0"].item() == pytest.approx(0.3 * stays / p_one, abs=1e-6)
    p60 = 0.3 * (1 - odd(1, 61)) + 0.7 * odd(1, 61)
    expected = p60 * (1 - odd(61, 100)) / p_one
    assert answer.means["X60"].item() == pytest.approx(expected, abs=1e-6)
    # X99@a is the parity of U41..U99, X99 = 1 is that of X40 and these
    p40 = 0.3 * (1 - odd(1, 41)) + 0.7 * odd(1, 41)
    rest = odd(41, 100)
    expected = rest * (1 - p40) / p_one
    assert answer.means["X99@a"].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("rare", [1e-5, 1e-30, 1e-300])
def test_rare_evidence_is_as_good_as_any(rare):
    tiny = torch.tensor(rare, dtype=F64)

    def program():
        u = pyro.sample("U", dist.Bernoulli(torch.tensor(0.25)))
        y = pyro.sample("Y", dist.Bernoulli(tiny * (1 + u.double())))
        pyro.sample("Z", dist.Bernoulli(0.2 + 0.5 * y + 0.1 * u))

    answer = solve(SCM(program), {"Y": 1.0}, ["U", "Z@a"], {"a": {"U": 1.0}})
    assert answer.means["U"].item() == pytest.approx(0.25 * 2 / 1.25, rel=1e-6)
    # Y@a is 1 too, for more probability only helps
    assert answer.means["Z@a"].item() == pytest.approx(0.8, rel=1e-6)


def pearl_program():
    """The two-man firing squad of Pearl (2009), section 7.1.2."""
    court = pyro.sample("U", dist.Bernoulli(torch.tensor(0.7)))
    nervous = pyro.sample("W", dist.Bernoulli(torch.tensor(0.2)))
    captain = pyro.deterministic("C", court, event_dim=0)
    a = pyro.deterministic("A", torch.maximum(captain, nervous), event_dim=0)
    b = pyro.deterministic("B", captain + 0.0, event_dim=0)
    pyro.deterministic("D", torch.maximum(a, b), event_dim=0)


def test_the_firing_squad_of_pearl():
    # P(not D_{not A} | D) = q(1 - p) / (1 - (1 - q)(1 - p))
    answer = solve(SCM(pearl_program), {"D": 1.0}, ["D@spared"], {"spared": {"A": 0.0}})
    expected = 0.2 * 0.3 / (1 - 0.8 * 0.3)
    assert 1 - answer.means["D@spared"].item() == pytest.approx(expected, abs=1e-6)


def effect_program():
    x = pyro.sample("X", dist.Bernoulli(torch.tensor(0.5)))
    pyro.sample("Y", dist.Bernoulli(0.2 + 0.5 * x))


def test_probabilities_of_causation_under_monotonicity():
    # Pearl (2009), section 9.2.3: without confounding and with a monotone effect PNS is the risk
    # difference 0.5, PN the excess risk ratio 0.5 / 0.7, PS is 0.5 / 0.8
    scm, worlds = SCM(effect_program), {"x0": {"X": 0.0}, "x1": {"X": 1.0}}
    both = (Condition("Y@x1", "=", 1.0), Condition("Y@x0", "=", 0.0))
    assert solve(scm, {}, (), worlds, both).probability.item() == pytest.approx(0.5, abs=1e-6)
    pn = solve(scm, {"X": 1.0, "Y": 1.0}, (), worlds, both[1:]).probability.item()
    ps = solve(scm, {"X": 0.0, "Y": 0.0}, (), worlds, both[:1]).probability.item()
    assert pn == pytest.approx(0.5 / 0.7, abs=1e-6)
    assert ps == pytest.approx(0.5 / 0.8, abs=1e-6)


def mediation_program():
    x = pyro.sample("X", dist.Bernoulli(torch.tensor(0.5)))
    m = pyro.sample("M", dist.Bernoulli(0.3 + 0.4 * x))
    pyro.sample("Y", dist.Bernoulli(0.1 + 0.3 * x + 0.4 * m * (1 - 0.5 * x)))


def test_a_value_from_another_world_gives_the_natural_direct_effect():
    worlds = {"x0": {"X": 0.0}, "nde": {"X": 1.0, "M": World("x0")}}
    answer = solve(SCM(mediation_program), {}, ["Y@x0", "Y@nde"], worlds)
    found = answer.means["Y@nde"] - answer.means["Y@x0"]
    assert found.item() == pytest.approx((0.4 + 0.3 * 0.2) - (0.1 + 0.3 * 0.4), abs=1e-6)


# -- interventions -------------------------------------------------------------------------------


def dose_program():
    z = pyro.sample("Z", dist.Bernoulli(torch.tensor(0.4)))
    x = pyro.sample("X", dist.Binomial(2, 0.2 + 0.5 * z))
    pyro.sample("Y", dist.Bernoulli(torch.sigmoid(x - 1 + z)))


def y_given(x, z):
    return 1 / (1 + math.exp(-(x - 1 + z)))


def x_given(x, z):
    return math.comb(2, x) * (0.2 + 0.5 * z) ** x * (0.8 - 0.5 * z) ** (2 - x)


CASES = [(x, z, x_given(x, z) * (0.4 if z else 0.6)) for x in range(3) for z in range(2)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (1.5, lambda x, z: y_given(1.5, z)),
        (Shift(-0.5), lambda x, z: y_given(x - 0.5, z)),
        (lambda natural, Z: natural * (1 - Z), lambda x, z: y_given(x * (1 - z), z)),
        (
            dist.Bernoulli(torch.tensor(0.25)),
            lambda x, z: 0.75 * y_given(0, z) + 0.25 * y_given(1, z),
        ),
        (
            lambda Z: dist.Bernoulli(0.1 + 0.8 * Z),
            lambda x, z: sum(
                y_given(k, z) * ((0.1 + 0.8 * z) if k else (0.9 - 0.8 * z)) for k in (0, 1)
            ),
        ),
    ],
    ids=["constant", "shift", "policy", "distribution", "stochastic policy"],
)
def test_every_kind_of_intervention(change, expected):
    answer = solve(SCM(dose_program), {}, ["Y@a"], {"a": {"X": change}})
    truth = sum(weight * expected(x, z) for x, z, weight in CASES)
    assert answer.means["Y@a"].item() == pytest.approx(truth, abs=1e-6)
    assert answer.draws["Y@a"].shape == (1, 200, 1)


def test_units_may_be_set_to_different_values():
    worlds = {"a": {"X": torch.tensor([0.0, 2.0, 0.0, 0.5])}}
    answer = solve(
        SCM(dose_program), {"Z": torch.tensor([0.0, 0.0, 1.0, 1.0])}, ["Y@a"], worlds, num_units=4
    )
    truth = [y_given(0, 0), y_given(2, 0), y_given(0, 1), y_given(0.5, 1)]
    assert answer.means["Y@a"][0].tolist() == pytest.approx(truth, abs=1e-6)


def test_a_distribution_may_differ_between_units():
    worlds = {"a": {"X": dist.Bernoulli(torch.tensor([0.0, 1.0, 0.5]))}}
    answer = solve(SCM(dose_program), {"Z": torch.zeros(3)}, ["X@a", "Y@a"], worlds, num_units=3)
    assert answer.means["X@a"][0].tolist() == [0.0, 1.0, 0.5]
    half = (y_given(0, 0) + y_given(1, 0)) / 2
    truth = [y_given(0, 0), y_given(1, 0), half]
    assert answer.means["Y@a"][0].tolist() == pytest.approx(truth, abs=1e-6)


def test_evidence_and_query_on_the_set_value():
    worlds = {"a": {"X": lambda natural: natural.clamp(max=1)}}
    # X@a = 0 says that the natural X is 0
    answer = solve(SCM(dose_program), {"X@a": 0.0}, ["X", "Z"], worlds)
    p0, p1 = 0.6 * 0.8**2, 0.4 * 0.3**2
    assert answer.means["X"].item() == pytest.approx(0.0, abs=1e-9)
    assert answer.means["Z"].item() == pytest.approx(p1 / (p0 + p1), abs=1e-6)


# -- continuous sites --------------------------------------------------------------------------


def mixture_program():
    z = pyro.sample("Z", dist.Bernoulli(torch.tensor(0.3)))
    x = pyro.sample("X", dist.Normal(2 * z, 1.0))
    mean = pyro.deterministic("M", x + 3 * z, event_dim=0)
    y = pyro.sample("Y", dist.Normal(mean, 0.5))
    pyro.sample("L", dist.Bernoulli(torch.sigmoid(y)))


def mixture_posterior(x, y):
    def log_joint(z):
        return (
            math.log(0.3 if z else 0.7) - (x - 2 * z) ** 2 / 2 - (y - x - 3 * z) ** 2 / (2 * 0.25)
        )

    return 1 / (1 + math.exp(log_joint(0) - log_joint(1)))


def test_continuous_evidence_of_many_units():
    x = torch.linspace(-2, 3, 50)
    y = torch.linspace(-1, 6, 50)
    answer = solve(SCM(mixture_program), {"X": x, "Y": y}, ["Z"], num_units=50, num_draws=5)
    truth = [mixture_posterior(a, b) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    assert answer.means["Z"][0].tolist() == pytest.approx(truth, abs=1e-5)
    assert answer.draws["Z"].shape == (1, 5, 50)


def test_evidence_that_speaks_loudly_for_both_sides():
    sharp = torch.tensor(0.001, dtype=F64)

    def program():
        z = pyro.sample("Z", dist.Bernoulli(torch.tensor(0.5, dtype=F64)))
        for i in range(4):
            pyro.sample(f"X{i}", dist.Normal(z, sharp))

    # each X is thousands of nats from one of the two; together they leave 0.2 sd^-2 = odds
    values = {"X0": 0.0, "X1": 1.0, "X2": 0.0, "X3": 1.0 + 1e-6}
    values = {key: torch.tensor([v], dtype=F64) for key, v in values.items()}
    answer = solve(SCM(program), values, ["Z"], num_draws=1)
    assert answer.means["Z"].item() == pytest.approx(1 / (1 + math.exp(-1.0)), abs=1e-4)


def test_continuous_targets_are_drawn_from_the_exact_posterior():
    evidence = {"X": torch.tensor([1.0]), "Y": torch.tensor([2.0])}
    worlds = {"a": {"X": 0.0}}
    answer = solve(SCM(mixture_program), evidence, ["Y@a", "Z", "L@a"], worlds, num_draws=4000)
    # the noise of Y is shared: Y@a = Y - 1 whatever Z is
    assert torch.allclose(answer.draws["Y@a"], torch.tensor(1.0), atol=1e-5)
    assert answer.means["Z"].item() == pytest.approx(mixture_posterior(1.0, 2.0), abs=1e-5)
    error = 5 * 0.5 / math.sqrt(4000)
    assert answer.draws["Z"].mean().item() == pytest.approx(mixture_posterior(1.0, 2.0), abs=error)
    assert "Y@a" not in answer.means
    assert answer.notes


def test_continuous_targets_without_evidence_downstream():
    answer = solve(SCM(mixture_program), {"X": [1.0]}, ["Y", "Z"], num_draws=20_000)
    odds = 0.3 * math.exp(-0.5) / (0.7 * math.exp(-0.5))
    p = odds / (1 + odds)
    assert answer.means["Z"].item() == pytest.approx(p, abs=1e-6)
    assert answer.draws["Y"].mean().item() == pytest.approx(1 + 3 * p, abs=0.06)


def test_a_site_may_be_computed_in_one_world_and_set_in_another():
    # D takes another value for every unit, so the program is left to compute it
    def program():
        z = pyro.sample("Z", dist.Bernoulli(torch.tensor(0.3)))
        x = pyro.sample("X", dist.Normal(0.0, 1.0))
        d = pyro.deterministic("D", x + z, event_dim=0)
        pyro.sample("Y", dist.Bernoulli(torch.sigmoid(d)))

    x = torch.linspace(-2, 2, 40)
    y = (torch.arange(40) % 2).float()
    answer = solve(
        SCM(program), {"X": x, "Y": y}, ["Z", "Y@a"], {"a": {"D": 0.5}}, num_units=40, num_draws=3
    )
    rate = torch.sigmoid(torch.stack([x, x + 1]).double())
    weight = torch.tensor([[0.7], [0.3]], dtype=F64) * torch.where(y == 1, rate, 1 - rate)
    z = weight[1] / weight.sum(0)
    assert torch.allclose(answer.means["Z"][0], z, atol=1e-6)
    # Y = 1 when the noise is below the rate
    set_rate = torch.sigmoid(torch.tensor(0.5, dtype=F64))
    above = (set_rate - rate).clamp(min=0) / (1 - rate)
    stays = torch.where(y == 1, (set_rate / rate).clamp(max=1), above)
    expected = (1 - z) * stays[0] + z * stays[1]
    assert torch.allclose(answer.means["Y@a"][0], expected, atol=1e-6)


def test_a_continuous_latent_that_matters_is_refused():
    def program():
        u = pyro.sample("U", dist.Normal(0.0, 1.0))
        z = pyro.sample("Z", dist.Bernoulli(torch.sigmoid(u)))
        pyro.sample("Y", dist.Bernoulli(0.2 + 0.5 * z))

    scm = SCM(program)
    assert "U is unobserved" in refusal(scm, {"Y": 1.0}, ["Z"])
    assert refusal(scm, {"U": 0.3, "Y": 1.0}, ["Z"]) is None
    # given Z, U is cut off from Y
    assert refusal(scm, {"Z": 1.0}, ["Y"]) is None
    answer = solve(scm, {"Z": 1.0}, ["Y"])
    assert answer.means["Y"].item() == pytest.approx(0.7, abs=1e-6)


def test_other_refusals():
    def counts():
        z = pyro.sample("Z", dist.Poisson(torch.tensor(2.0)))
        pyro.sample("Y", dist.Bernoulli(torch.exp(-z)))

    def gaussian():
        x = pyro.sample("X", dist.Normal(0.0, 1.0))
        pyro.sample("Y", dist.Normal(x, 1.0))

    def unfitted(n):
        p = pyro.sample("p", dist.Beta(1.0, 1.0))
        with pyro.plate("units", n):
            z = pyro.sample("Z", dist.Bernoulli(p))
            pyro.sample("Y", dist.Bernoulli(0.1 + 0.5 * z))

    def wide():
        coins = [pyro.sample(f"C{i}", dist.Bernoulli(torch.tensor(0.5))) for i in range(25)]
        pyro.sample("Y", dist.Bernoulli(torch.sigmoid(sum(coins) - 12)))

    assert "infinitely many values" in refusal(SCM(counts), {"Y": 1.0}, ["Z"])
    assert "nothing finite" in refusal(SCM(gaussian), {}, ["Y"])
    assert "parameters p" in refusal(SCM(unfitted), {"Y": 1.0}, ["Z"])
    assert str(2**26) in refusal(SCM(wide, check=False), {"Y": 1.0}, ["C0"])
    assert "p" in refusal(SCM(unfitted), {}, ["p"])


# -- deterministic sites -------------------------------------------------------------------------


def sum_program():
    total = torch.zeros(())
    for i in range(12):
        u = pyro.sample(f"U{i}", dist.Bernoulli(torch.tensor(0.1)))
        total = pyro.deterministic(f"S{i}", total + u, event_dim=0)
    pyro.sample("Y", dist.Bernoulli(torch.sigmoid(total - 6)))


def test_running_sums_reach_values_that_no_sample_shows():
    scm = SCM(sum_program, check=False)
    answer = solve(scm, {"S11": 12.0}, ["U3", "Y"], num_draws=1)
    assert answer.means["U3"].item() == pytest.approx(1.0, abs=1e-9)
    answer = solve(scm, {}, ["S11", "Y"], num_draws=1)
    law = [math.comb(12, k) * 0.1**k * 0.9 ** (12 - k) for k in range(13)]
    assert answer.means["S11"].item() == pytest.approx(1.2, abs=1e-6)
    truth = sum(p / (1 + math.exp(6 - k)) for k, p in enumerate(law))
    assert answer.means["Y"].item() == pytest.approx(truth, abs=1e-6)


def test_impossible_evidence_names_unit_and_values():
    scm = SCM(pearl_program)
    with pytest.raises(ImpossibleEvidenceError, match=r"A = 0\.0, D = 1\.0 of unit 1"):
        solve(
            scm,
            {"A": torch.tensor([1.0, 0.0, 0.0]), "D": torch.tensor([1.0, 1.0, 0.0])},
            ["U"],
            num_units=3,
        )
    with pytest.raises(ImpossibleEvidenceError, match="not a value"):
        solve(scm, {"U": 2.0}, ["D"])
    with pytest.raises(ImpossibleEvidenceError, match="contradicts"):
        solve(scm, {"W": 1.0, "W@a": 0.0}, ["D"], {"a": {"A": 0.0}})


def test_a_law_may_be_void_where_nothing_can_happen():
    def program(guarded):
        a = pyro.sample("A", dist.Bernoulli(torch.tensor(0.5)))
        b = pyro.sample("B", dist.Bernoulli(1 - a if guarded else torch.tensor(0.5)))
        # 0 / 0 where both are zero
        pyro.sample("Y", dist.Bernoulli(0.5 * (a + b) / (a + b)))

    scm = SCM(lambda: program(True), check=False)
    assert solve(scm, {"Y": 1.0}, ["A"]).means["A"].item() == pytest.approx(0.5)
    scm = SCM(lambda: program(False), check=False)
    with pytest.raises(ProgramError, match=r"'Y' has no law at A = 0\.0, B = 0\.0"):
        solve(scm, {"Y": 1.0}, ["A"])
    assert solve(scm, {"Y": 1.0, "A": 1.0}, ["B"]).means["B"].item() == pytest.approx(0.5)


# -- units, parameters, answers -------------------------------------------------------------------


def test_units_with_equal_evidence_share_the_work():
    size = 200_000
    with forked_rng(1):
        x = torch.bernoulli(torch.full((size,), 0.5))
        y = torch.bernoulli(torch.full((size,), 0.5))
    answer = solve(
        SCM(effect_program),
        {"X": x, "Y": y},
        ["Y@a"],
        {"a": {"X": 0.0}},
        num_units=size,
        num_draws=1000,
    )
    truth = torch.where(x == 0, y, torch.where(y == 1, 0.2 / 0.7, 0.0)).double()
    assert torch.allclose(answer.means["Y@a"][0], truth, atol=1e-6)
    assert not answer.draws, "200 million draws were not asked for in earnest"


def test_parameter_draws_make_an_axis():
    def program(n):
        p = pyro.sample("p", dist.Beta(1.0, 1.0))
        rates = pyro.sample("rates", dist.Dirichlet(torch.ones(2)))
        with pyro.plate("units", n):
            z = pyro.sample("Z", dist.Bernoulli(p))
            pyro.sample("Y", dist.Bernoulli(rates[z.long()]))

    draws = {
        "p": torch.tensor([0.2, 0.5, 0.9]),
        "rates": torch.tensor([[0.3, 0.7], [0.6, 0.4], [0.1, 0.9]]),
    }
    scm = SCM(program, check=False).with_parameters(draws)
    answer = solve(scm, {"Y": torch.tensor([1.0, 0.0])}, ["Z"], num_units=2, num_draws=50)
    one = draws["p"] * draws["rates"][:, 1]
    one = one / (one + (1 - draws["p"]) * draws["rates"][:, 0])
    assert torch.allclose(answer.means["Z"][:, 0], one.double(), atol=1e-6)
    assert answer.draws["Z"].shape == (3, 50, 2)
    assert not answer.laws


def test_scalar_parameters_go_through_one_run(monkeypatch):
    calls = []

    def program(n):
        calls.append(n)
        p = pyro.sample("p", dist.Beta(1.0, 1.0))
        with pyro.plate("units", n):
            z = pyro.sample("Z", dist.Bernoulli(p))
            pyro.sample("Y", dist.Bernoulli(0.2 + 0.6 * z * p))

    p = torch.linspace(0.1, 0.9, 500)
    scm = SCM(program, check=False).with_parameters({"p": p})
    calls.clear()
    answer = solve(scm, {"Y": 1.0}, ["Z"], num_draws=1)
    one = p * (0.2 + 0.6 * p)
    assert torch.allclose(answer.means["Z"][:, 0], (one / (one + (1 - p) * 0.2)).double())
    assert len(calls) < 20


def test_laws_categories_and_vectors():
    def program():
        z = pyro.sample("Z", dist.OneHotCategorical(torch.tensor([0.2, 0.3, 0.5])))
        pyro.sample("Y", dist.Categorical(torch.stack([z[..., 0], 1 - z[..., 0]], -1)))

    scm = SCM(program, categories={"Y": ["no", "yes"]})
    answer = solve(scm, {"Y": 1}, ["Z", "Y"])
    assert answer.means["Z"][0, 0].tolist() == pytest.approx([0.0, 0.375, 0.625], abs=1e-6)
    assert isinstance(answer.laws["Y"], PointLaw)
    assert "Z" not in answer.laws
    law = solve(scm, {}, ["Y"]).laws["Y"]
    assert isinstance(law, FiniteLaw)
    assert law.labels == ("no", "yes")
    assert law.probability("yes").item() == pytest.approx(0.8, abs=1e-6)
    draws = solve(scm, {"Y": 1}, ["Z"]).draws["Z"]
    assert draws.shape == (1, 200, 1, 3)
    assert torch.equal(draws.sum(-1), torch.ones(1, 200, 1))


def test_ordered_and_counted_families_keep_their_quantile_coupling():
    cut = torch.tensor([-1.0, 0.5])

    def program():
        x = pyro.sample("X", dist.Bernoulli(torch.tensor(0.5)))
        pyro.sample("Y", dist.OrderedLogistic(1.5 * x, cut))
        pyro.sample("B", dist.Binomial(3, 0.2 + 0.5 * x))

    answer = solve(SCM(program), {"X": 0.0, "Y": 1, "B": 1.0}, ["Y@a", "B@a"], {"a": {"X": 1.0}})

    def cdf(k, x):
        return 1.0 if k == 2 else 0.0 if k < 0 else 1 / (1 + math.exp(1.5 * x - float(cut[k])))

    def overlap(cdf, low, high):
        ends = [cdf(k) for k in range(-1, 4)]
        mass = [max(0.0, min(b, high) - max(a, low)) for a, b in itertools.pairwise(ends)]
        return sum(k * m for k, m in enumerate(mass)) / sum(mass)

    truth = overlap(lambda k: cdf(min(k, 2), 1), cdf(0, 0), cdf(1, 0))
    assert answer.means["Y@a"].item() == pytest.approx(truth, abs=1e-6)

    def binomial(k, p):
        return sum(math.comb(3, j) * p**j * (1 - p) ** (3 - j) for j in range(k + 1))

    truth = overlap(lambda k: binomial(min(k, 3), 0.7), binomial(0, 0.2), binomial(1, 0.2))
    assert answer.means["B@a"].item() == pytest.approx(truth, abs=1e-6)


def test_learned_parameters_are_used():
    def program():
        p = pyro.param("rate", torch.tensor(0.5), constraint=dist.constraints.unit_interval)
        z = pyro.sample("Z", dist.Bernoulli(p))
        pyro.sample("Y", dist.Bernoulli(0.2 + 0.5 * z))

    scm = SCM(program)
    with pyro.get_param_store().scope():
        pyro.param("rate", torch.tensor(0.9), constraint=dist.constraints.unit_interval)
        learned = Learned.capture(["rate"])
    answer = solve(scm.with_parameters({}, learned=learned), {}, ["Z"])
    assert answer.means["Z"].item() == pytest.approx(0.9, abs=1e-6)
    assert solve(scm, {}, ["Z"]).means["Z"].item() == pytest.approx(0.5, abs=1e-6)


def test_many_worlds_cost_one_table_each():
    worlds = {f"w{i}": {"X": float(i) / 10} for i in range(30)}
    answer = solve(
        SCM(dose_program), {"Y": 1.0}, [f"Y@w{i}" for i in range(30)], worlds, num_draws=2
    )
    means = torch.stack([answer.means[f"Y@w{i}"] for i in range(30)]).flatten()
    assert bool((means.diff() >= -1e-9).all()), "a monotone effect"
    assert answer.draws["Y@w7"].shape == (1, 2, 1)


def test_the_same_seed_gives_the_same_draws_and_leaves_the_global_state():
    state = torch.get_rng_state()
    one = solve(SCM(effect_program), {"Y": 1.0}, ["Y@a"], {"a": {"X": 0.0}}).draws["Y@a"]
    two = solve(SCM(effect_program), {"Y": 1.0}, ["Y@a"], {"a": {"X": 0.0}}).draws["Y@a"]
    assert torch.equal(one, two)
    assert torch.equal(state, torch.get_rng_state())
