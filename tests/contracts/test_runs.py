"""What playing keeps to, in environments of every kind: a run is a run, and a record is true."""

import warnings

import gymnasium
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from causalppl import SCM
from causalppl.agents import (
    KLUCB,
    UCDTR,
    BetaThompson,
    DTRModel,
    LinearGaussian,
    PosteriorSamplingDTR,
    Record,
    ThompsonSampling,
    run,
    run_episodes,
)
from causalppl.agents.record import Tally
from causalppl.envs import CausalEnvWrapper, SCMEnv, SequentialSCMEnv, make_env
from causalppl.examples import confounded_dtr
from causalppl.exceptions import DataError

ANY = (-np.inf, np.inf)


def gamma_program():
    """A cause that no stream of uniforms can draw."""

    def program():
        g = pyro.sample("G", dist.Gamma(torch.tensor(2.0).double(), 1.0))
        x = pyro.sample("X", dist.Normal(g, 1.0))
        pyro.sample("Y", dist.Normal(x - g, 1.0))

    arms = [{"X": 0.0}, {"X": 1.0}]
    scm = SCM(program)
    return SCMEnv(scm, arms, "Y", reward_range=ANY, regimes=("see", "do"))


def gamma_coin():
    """The same with a reward of 0 or 1."""

    def program():
        g = pyro.sample("G", dist.Gamma(torch.tensor(2.0).double(), 1.0))
        x = pyro.sample("X", dist.Bernoulli(torch.exp(-g)))
        pyro.sample("Y", dist.Bernoulli(0.3 + 0.4 * x * torch.exp(-g)))

    scm = SCM(program, observed=["X", "Y"])
    return SCMEnv(scm, [{"X": 0}, {"X": 1}], "Y", regimes=("see", "do"))


def treatments(*, with_gamma):
    """Two treatments; a cause without effect takes the streams away, and leaves all laws."""
    found = confounded_dtr()
    if not with_gamma:
        return SequentialSCMEnv(found.scm, found.stages, "Y")

    def program():
        found.scm.source()
        pyro.sample("G", dist.Gamma(torch.tensor(2.0).double(), 1.0))

    env = SequentialSCMEnv(SCM(program, observed=found.scm.observed), found.stages, "Y")
    env.oracle = SequentialSCMEnv(found.scm, found.stages, "Y").oracle
    return env


def gaussian_play(**options):
    env = gamma_program()
    agent = ThompsonSampling(env.graph, env.arms, "Y", engine=LinearGaussian())
    return run(agent, env, 5, seed=3, natural_rows=6, **options)


def linear_play(**options):
    env = make_env("LinearGaussianPopulation")
    agent = ThompsonSampling.for_env(env, engine=LinearGaussian())
    return run(agent, env, 8, seed=3, **options)


def coin_play(**options):
    env = gamma_coin()
    return run(BetaThompson.for_env(env), env, 5, seed=3, **options)


def bound_play(**options):
    env = make_env("SCMMAB2")
    return run(KLUCB.for_env(env), env, 20, seed=3, **options)


def staged_play(**options):
    env = treatments(with_gamma=False)
    return run_episodes(UCDTR(DTRModel.for_env(env)), env, 10, seed=3, natural_rows=20, **options)


def gamma_staged_play(**options):
    env = treatments(with_gamma=True)
    agent = PosteriorSamplingDTR(DTRModel.for_env(env))
    return run_episodes(agent, env, 4, seed=3, natural_rows=20, **options)


PLAYS = {
    "program with streams": linear_play,
    "table": bound_play,
    "program without streams": gaussian_play,
    "program without streams, large blocks": coin_play,
    "stages with streams": staged_play,
    "stages without streams": gamma_staged_play,
}


def kept(record):
    return {name: record.data[name].values for name in ("reward", "regret", "optimal")}


def test_both_kinds_are_played():
    kinds = [make_env("LinearGaussianPopulation"), gamma_program(), gamma_coin()]
    kinds += [treatments(with_gamma=has) for has in (False, True)]
    assert [env.has_streams for env in kinds] == [True, False, False, True, False]


@pytest.mark.parametrize("play", PLAYS.values(), ids=PLAYS)
def test_run_k_is_the_same_in_any_company(play):
    many = kept(play(runs=70))
    for runs in (1, 65):
        few = kept(play(runs=runs))
        for name, values in few.items():
            assert (values == many[name][:runs]).all(), name
    # runs of different blocks have units of their own
    assert len(np.unique(many["reward"][:, -1])) > 2
    assert (many["reward"][:6] != many["reward"][64:]).any()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "runs"),
    [("table", 600), ("program without streams", 130), ("stages without streams", 130)],
)
def test_run_k_is_the_same_on_any_number_of_workers(kind, runs):
    here, there = (kept(PLAYS[kind](runs=runs, num_workers=workers)) for workers in (1, 2))
    for name, values in here.items():
        assert (values == there[name]).all(), name


def test_laws_of_runs_without_streams_are_those_of_the_program():
    env = gamma_program()
    agent = ThompsonSampling(env.graph, [{"X": 1.0}], "Y", engine=LinearGaussian())
    record = run(agent, env, 10, runs=640, seed=0)
    rewards = record.data["reward"].values[:, -1] / 10
    # Y = 1 - G + noise: mean -1, variance 2 + 1; 4.5 standard errors
    assert rewards.mean() == pytest.approx(-1.0, abs=4.5 * np.sqrt(3 / 6_400))
    assert rewards.var() == pytest.approx(0.3, abs=0.1)


# Records.


def test_what_beats_the_optimum_shows():
    tally = Tally(runs=2, steps=2)
    for _ in range(2):
        tally.add(np.array([-4.9, 1e-12]), np.zeros(2))
    record = tally.record(2, name="a", seed=0)
    assert record.regret.values.tolist() == [-9.8, 0.0]
    assert record.data["optimal"].values[:, -1].tolist() == [0.0, 2.0]


@pytest.mark.parametrize("name", ["rec", "rec.npz", "rec.v1"])
def test_a_record_is_saved_where_it_is_told_to(tmp_path, name):
    record = bound_play(runs=3)
    record.save(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert Record.load(tmp_path / name).data.equals(record.data)


# What is refused.


def misplays():
    bandit, staged = make_env("SCMMAB2"), treatments(with_gamma=False)
    beta, planner = BetaThompson.for_env(bandit), UCDTR(DTRModel.for_env(staged))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = gymnasium.make("causalppl/SCMMAB2-v0")
    return {
        "a wrapper": (run, beta, CausalEnvWrapper(bandit), "expected a SCMEnv itself"),
        "gymnasium's wrappers": (run, beta, made, "expected a SCMEnv itself"),
        "a vector": (run, beta, bandit.vector(3), "neither a vector of them"),
        "stages": (run, beta, staged, "run_episodes plays a SequentialSCMEnv"),
        "no stages": (run_episodes, planner, bandit, "run plays an SCMEnv"),
        "swapped": (run, bandit, beta, "expected an Agent"),
        "open values": (run, beta, make_env("ToyGraph"), "expected a mapping with X, Z, set"),
    }


MISPLAYS = misplays()


@pytest.mark.parametrize("case", MISPLAYS)
def test_what_cannot_be_played_is_named(case):
    play, agent, env, message = MISPLAYS[case]
    with pytest.raises(DataError, match=message):
        play(agent, env, 5, 2, seed=0)


@pytest.mark.parametrize("play", [bound_play, staged_play, gaussian_play])
@pytest.mark.parametrize("workers", [0, -1])
def test_at_least_one_process_plays(play, workers):
    with pytest.raises(DataError, match=f"num_workers is {workers}"):
        play(runs=2, num_workers=workers)
