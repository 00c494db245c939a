"""Bounds from confounded logs hold the truth, also where logged actions are none of the arms.

Random programs of two stages, by enumeration: U is hidden and moves both actions, the outcome and,
if asked, what is seen between; actions take three values, of which the arms set only some, or none.
"""

from itertools import product

import numpy as np
import pytest

from causalppl.agents import DOVI, DTRModel, backdoor_policy
from causalppl.agents.log_tables import LogTables
from causalppl.agents.log_uses import log_uses, told_arms
from causalppl.agents.uc_dtr import UCDTR
from causalppl.envs import Stage
from causalppl.exceptions import AssumptionError, HeuristicWarning
from causalppl.graphs import ADMG

NAMES = ("S1", "X1", "S2", "X2", "Y")
SIZES = (2, 3, 2, 3, 2)
SEEN = (["S1"], ["X1", "S2"])
ARROWS = [(a, b) for place, b in enumerate(NAMES) for a in NAMES[:place]]
FREE = ADMG(NAMES, ARROWS, [("X2", "Y")])
SHOWN = ADMG(NAMES, ARROWS, [("X1", "X2"), ("X1", "Y"), ("X2", "Y")])
HIDDEN = ADMG(NAMES, ARROWS, [(a, b) for a, b in ARROWS if a != "S1"])
ARMS = {
    "some values": ([{"X1": 0}, {"X1": 1}], [{"X2": 0}, {"X2": 2}]),
    "one value": ([{"X1": 1}], [{"X2": 2}]),
    "letting be later": ([{"X1": 0}, {"X1": 2}], [{}, {"X2": 1}]),
    "letting be first": ([{}, {"X1": 1}], [{"X2": 0}, {"X2": 1}]),
    "letting be": ([{}, {"X1": 1}], [{"X2": 2}, {}]),
}
every_arms = pytest.mark.parametrize("arms", ARMS)
every_seed = pytest.mark.parametrize("seed", range(6))


class World:
    """Mechanisms with strong confounding, axes (U, S1, X1, S2, X2, Y) as far as they are there."""

    def __init__(self, seed, *, is_s2_confounded):
        rng = np.random.default_rng(seed)

        def mechanism(size, *shape):
            return 0.85 * rng.dirichlet([0.4] * size, shape) + 0.15 / size

        self.u, self.s1 = rng.dirichlet([2, 2, 2]), np.array([0.4, 0.6])
        self.x1 = mechanism(3, 3, 2)
        self.s2 = mechanism(2, 3, 2, 3)
        if not is_s2_confounded:
            self.s2 = np.broadcast_to(self.s2[:1], self.s2.shape)
        self.x2 = mechanism(3, 3, 2, 3, 2)
        self.y = mechanism(2, 3, 2, 3, 2, 3)

    def law(self, first=None, second=None):
        """The joint law of all that is seen if two arms are played; None lets nature decide."""
        x1 = self.set(self.x1, first, "X1")
        x2 = self.set(self.x2, second, "X2")
        return np.einsum(
            "u,s,usx,usxt,usxtz,usxtzy->sxtzy", self.u, self.s1, x1, self.s2, x2, self.y
        )

    @staticmethod
    def set(mechanism, arm, name):
        if not arm:
            return mechanism
        return np.broadcast_to(np.eye(3)[arm[name]], mechanism.shape)

    def trial(self, do):
        """The joint law where each of some actions was set to one of its values, by lot."""
        firsts = [{"X1": x} for x in range(3)] if "X1" in do else [None]
        seconds = [{"X2": x} for x in range(3)] if "X2" in do else [None]
        return np.mean([self.law(*each) for each in product(firsts, seconds)], axis=0)

    def expected_log(self, do=(), rows=2**18):
        """A log whose shares are those of the natural law or of a trial, up to rounding."""
        counts = np.round(self.trial(do) * rows).astype(int).ravel()
        places = np.unravel_index(np.repeat(np.arange(counts.size), counts), SIZES)
        return dict(zip(NAMES, places, strict=True))

    def log(self, rows, seed):
        found = np.random.default_rng(seed).choice(np.prod(SIZES), rows, p=self.law().ravel())
        return dict(zip(NAMES, np.unravel_index(found, SIZES), strict=True))


def model_of(arms, graph, **options):
    stages = [Stage(own, seen) for own, seen in zip(ARMS[arms], SEEN, strict=True)]
    levels = {"S1": [0, 1], "X1": [0, 1, 2], "S2": [0, 1]}
    return DTRModel(stages, levels, outcome="Y", graph=graph, **options)


def first_truths(world, model):
    """State, arm and outcome of the first stage, and the outcome's true chance."""
    for number, arm in enumerate(model.stages[0].arms):
        moves = world.law(arm).sum((3, 4))
        moves = moves / moves.sum((1, 2), keepdims=True)
        for s1, x1, s2 in product(range(2), range(3), range(2)):
            if arm and x1 != arm["X1"]:
                continue
            chance = moves[s1, x1, s2]
            yield s1, number, int(model.outcome(0, {"X1": x1, "S2": s2})), chance


def second_truths(world, model):
    """State and arm of the second stage, and the true mean, however the state was reached."""
    for first in model.stages[0].arms:
        for number, arm in enumerate(model.stages[1].arms):
            law = world.law(first, arm).sum(3)
            for s1, x1, s2 in product(range(2), range(3), range(2)):
                reached = law[s1, x1, s2].sum()
                if reached > 0:
                    state = int(model.state(1, {"S1": s1, "X1": x1, "S2": s2}))
                    yield state, number, law[s1, x1, s2, 1] / reached


@every_seed
@every_arms
@pytest.mark.parametrize("graph", [None, SHOWN, HIDDEN], ids=["no diagram", "shown", "hidden"])
def test_bounds_of_all_laws_hold_the_truth(graph, arms, seed):
    world, model = World(seed, is_s2_confounded=graph is not SHOWN), model_of(arms, graph)
    tables, uses = LogTables(model, world.expected_log()), log_uses(model)
    first, second = tables.bounds(uses, 0.0)
    slack = 3e-3
    for state, arm, outcome, chance in first_truths(world, model):
        if uses[0][0] == "counts":
            share = tables.outcomes[0][0, state, arm, outcome] / tables.pulls[0][0, state, arm]
            assert share == pytest.approx(chance, abs=slack)
        low, high = (bound[0, state, arm, outcome] for bound in first.outcomes)
        assert low - slack <= chance <= high + slack
    for state, arm, mean in second_truths(world, model):
        low, high = (bound[0, state, arm] for bound in second.rewards)
        assert low - slack <= mean <= high + slack


def test_bounds_are_as_wide_as_those_who_went_another_way_are_many():
    world, model = World(0, is_s2_confounded=False), model_of("some values", SHOWN)
    bounds = LogTables(model, world.expected_log()).bounds(log_uses(model), 0.0)[1].rewards
    law = world.law().sum(4)
    chosen = law.sum((2, 3)) / law.sum((1, 2, 3))[:, None]  # P(X1 | S1)
    followed = law / law.sum(3, keepdims=True)  # P(X2 | S1, X1, S2)
    for s1, x1, s2, (arm, x2) in product(range(2), range(2), range(2), enumerate((0, 2))):
        state = int(model.state(1, {"S1": s1, "X1": x1, "S2": s2}))
        expected = 1 - chosen[s1, x1] * followed[s1, x1, s2, x2]
        assert (bounds[1] - bounds[0])[0, state, arm] == pytest.approx(expected, abs=3e-3)


def values(world, model):
    """What arms are worth at both stages, where states tell all that matters."""
    later = np.zeros((model.num_states[1], 2))
    for state, arm, mean in second_truths(world, model):
        later[state, arm] = mean
    now = np.zeros((model.num_states[0], 2))
    for state, arm, outcome, chance in first_truths(world, model):
        now[state, arm] += chance * later[model.following[0][state, arm, outcome]].max()
    return now, later


@every_seed
@pytest.mark.parametrize("arms", ["some values", "letting be later"])
def test_certified_values_are_never_below_the_truth(arms, seed):
    """Four logs for each of six programs and two sets of arms; each may fail with chance .05."""
    world, model = World(100 + seed, is_s2_confounded=False), model_of(arms, SHOWN)
    agent = DOVI(model).start(4, seed=0)
    logs = [world.log(3000, seed=number) for number in range(4)]
    agent.observe({name: np.stack([log[name] for log in logs]) for name in NAMES})
    assert agent.is_certified
    failed = np.zeros(4, dtype=bool)
    for truth, found in zip(values(world, model), agent.optimistic_q, strict=True):
        failed |= (found < truth - 1e-9).any((1, 2))
    assert failed.sum() <= 1  # more have a chance below .02


@pytest.mark.parametrize("arms", ["letting be first", "letting be"])
def test_what_a_state_does_not_tell_is_not_certified(arms):
    """Who took X1 = 1 by nature differs from who was made to, though the state is the same."""
    with pytest.raises(AssumptionError, match="set or left to nature"):
        DOVI(model_of(arms, SHOWN), transition_assumption="unconfounded")
    assert DOVI(model_of(arms, FREE)).is_certified


def test_an_arm_that_lets_be_is_told_by_natural_rows():
    model = DTRModel([Stage([{}, {"X": 1}])], {}, outcome="Y")
    agent = UCDTR(model).start(seed=0)
    rng = np.random.default_rng(0)
    u = rng.random(20_000) < 0.8
    agent.observe(
        {"X": rng.random(20_000) < 0.2 + 0.6 * u, "Y": rng.random(20_000) < 0.1 + 0.8 * u}
    )
    low, high = (bound[0] for bound in agent.bounds[0].rewards)
    assert low[0] <= 0.74 <= high[0]
    assert high[0] - low[0] < 0.05
    assert high[1] - low[1] > 0.2


def test_arms_that_are_the_same_share_their_rows():
    model = DTRModel([Stage([{"X": 0}, {"X": 0}])], {}, outcome="Y")
    agent = UCDTR(model).start(seed=0)
    agent.observe({"X": [0, 0, 1], "Y": [1, 0, 1]}, do=["X"])
    assert agent.pulls[0].tolist() == [[2.0]]


def test_a_trial_does_not_tell_of_letting_be():
    model = DTRModel([Stage([{}, {"X": 1}])], {}, outcome="Y")
    assert log_uses(model, ["X"]) == [("counts", "nothing")]
    with pytest.raises(AssumptionError, match="W was set in the log, but is no action"):
        log_uses(model, ["W"])


UNCONFOUNDED = ADMG(NAMES, ARROWS)


@pytest.mark.parametrize("do", [["X1"], ["X2"], ["X1", "X2"]], ids="+".join)
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("arms", ["letting be later", "letting be first", "letting be"])
@pytest.mark.parametrize("graph", [SHOWN, UNCONFOUNDED, HIDDEN], ids=["shown", "free", "hidden"])
def test_what_a_trial_is_said_to_tell_is_true(graph, arms, seed, do):
    world, model = World(seed, is_s2_confounded=graph is HIDDEN), model_of(arms, graph)
    if graph is UNCONFOUNDED:
        world.u = np.eye(3)[0]  # what is hidden does not vary
    tables, told = LogTables(model, world.expected_log(do)), told_arms(model, do)
    slack = 1e-2
    for state, arm, outcome, chance in first_truths(world, model):
        if told[0][0][arm]:
            share = tables.outcomes[0][0, state, arm, outcome] / tables.pulls[0][0, state, arm]
            assert share == pytest.approx(chance, abs=slack)
    for state, arm, mean in second_truths(world, model):
        if told[1][1][arm]:
            found = tables.gains[1][0, state, arm] / tables.pulls[1][0, state, arm]
            assert found == pytest.approx(mean, abs=3 * slack)


def test_a_trial_tells_of_the_arms_that_set_what_it_set():
    hidden = told_arms(model_of("letting be later", HIDDEN), ["X1", "X2"])
    assert [found.tolist() for found in hidden[0]] == [[True, True], [True, True]]
    assert hidden[1][1].tolist() == [False, True]  # {} and {"X2": 1}
    free = told_arms(model_of("letting be first", UNCONFOUNDED), ["X1", "X2"])
    assert free[0][0].tolist() == [False, True]  # how nature sets X1 is an outcome, and not seen
    assert free[1][1].tolist() == [True, True]
    shown = told_arms(model_of("letting be first", SHOWN), ["X1", "X2"])
    assert shown[1][1].tolist() == [False, False]  # it matters who set X1


def test_a_trial_is_used_for_the_arms_that_it_tells_of():
    model = model_of("letting be later", HIDDEN)
    world = World(0, is_s2_confounded=True)
    agent = UCDTR(model).start(seed=0)
    agent.observe(world.expected_log(["X1", "X2"], 4_000), do=["X1", "X2"])
    pulls = agent.pulls[1][:, model.reward_cells[1]][0]
    assert pulls[:, 0].sum() == 0
    assert pulls[:, 1].sum() > 1_000


def test_a_trial_that_tells_nothing_of_a_stage_is_named():
    model = model_of("letting be first", SHOWN)
    world = World(0, is_s2_confounded=False)
    agent = UCDTR(model).start(seed=0)
    with pytest.warns(HeuristicWarning, match="in which X1, X2 was set, tells nothing of stage 1"):
        agent.observe(world.expected_log(["X1", "X2"], 1_000), do=["X1", "X2"])
    assert agent.pulls[1].sum() == 0
    assert agent.outcomes[0].sum() > 0


def test_adjustment_counts_those_who_were_treated_otherwise():
    """U = 1 takes X = 2, which no arm sets: leaving these out would make U = 1 rare."""
    rng = np.random.default_rng(0)
    u = (rng.random(50_000) < 0.8).astype(int)
    x = np.where(rng.random(50_000) < 0.9 * u, 2, rng.integers(0, 2, 50_000))
    y = rng.random(50_000) < np.where(x == 0, 0.55, 0.9 * u)
    model = DTRModel([Stage([{"X": 0}, {"X": 1}])], {}, outcome="Y")
    regime = backdoor_policy(model, {"U": u, "X": x, "Y": y.astype(float)}, ["U"])
    assert regime.arms[0].tolist() == [1]  # .72 for .55
