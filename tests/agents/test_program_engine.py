"""A program's posterior: against a conjugate one, with rows in which variables were set."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from causalppl import SCM
from causalppl.agents import ThompsonSampling, Transition
from causalppl.agents.choice import Choice
from causalppl.agents.program_engine import ProgramPosterior
from causalppl.exceptions import AssumptionError, QueryError
from causalppl.graphs import ADMG
from causalppl.inference.svi_fit import SVIFit

ARMS = ({"X": 0.0}, {"X": 1.0}, {"X": -1.0}, {})


def program(n):
    one = torch.ones((), dtype=torch.float64)
    level = pyro.sample("level", dist.Normal(0 * one, 2 * one))
    effect = pyro.sample("effect", dist.Normal(0 * one, 2 * one))
    with pyro.plate("units", n):
        x = pyro.sample("X", dist.Normal(level, one))
        pyro.sample("Y", dist.Normal(effect * x, one))


def begun(runs=1, **options):
    engine = ProgramPosterior(SCM(program), **{"method": SVIFit(num_steps=150), **options})
    choice = Choice(SCM(program).graph, ARMS, "Y", (), {})
    return engine.begin(choice, [np.random.default_rng(0)], runs)


def rows(count, seed, x=None):
    rng = np.random.default_rng(seed)
    values = 1 + rng.normal(size=count) if x is None else np.full(count, x)
    return {"X": values[None], "Y": (1.5 * values + rng.normal(size=count))[None]}


def conjugate(values, given):
    """Mean and standard deviation of a coefficient with prior N(0, 4) and unit noise."""
    precision = 1 / 4 + (values**2).sum()
    return (values * given).sum() / precision, precision**-0.5


def test_posterior_is_the_conjugate_one():
    belief = begun()
    natural, done = rows(30, 1), rows(20, 2, x=3.0)
    belief.read(natural, frozenset())
    belief.read(done, frozenset({"X"}))
    x = np.concatenate([natural["X"][0], done["X"][0]])
    y = np.concatenate([natural["Y"][0], done["Y"][0]])
    # the level is learned from natural rows only
    level = conjugate(np.ones(30), natural["X"][0])
    effect = conjugate(x, y)
    for name, (mean, sd) in {"level": level, "effect": effect}.items():
        drawn = belief.draws[0][name].numpy()
        assert drawn.mean() == pytest.approx(mean, abs=0.1 * sd)
        assert drawn.std() == pytest.approx(sd, rel=0.1)
    assert belief.diagnostics[0]["khat"] < 0.7
    assert belief.diagnostics[0]["rows"] == 50
    assert np.isfinite(belief.diagnostics[0]["elbo"])


def test_arms_are_worth_what_draws_say():
    belief = begun(num_units=4_000)
    belief.read(rows(60, 1), frozenset())
    level, effect = (belief.draws[0][name].mean().item() for name in ("level", "effect"))
    found = belief.average()[0, 0]
    assert found == pytest.approx([0, effect, -effect, level * effect], abs=0.08)


def test_rows_of_arms_are_masked_like_those_of_logs():
    one, other = begun(), begun()
    done = rows(4, 2, x=1.0)
    for k in range(4):
        one.learn({name: value[:, k] for name, value in done.items()}, np.array([1]))
    other.read(done, frozenset({"X"}))
    assert one.was_set.tolist() == other.was_set.tolist()
    for name in ("level", "effect"):
        close = other.draws[0][name].std().item() * 0.2
        assert one.draws[0][name].mean().item() == pytest.approx(
            other.draws[0][name].mean().item(), abs=close
        )


def test_refits_follow_the_schedule():
    geometric, every = (
        begun(method=SVIFit(num_steps=20)),
        begun(method=SVIFit(num_steps=20), every=3),
    )
    seen = {id(geometric): [], id(every): []}
    done = rows(6, 2, x=1.0)
    for k in range(6):
        for belief in (geometric, every):
            belief.learn({name: value[:, k] for name, value in done.items()}, np.array([1]))
            seen[id(belief)].append(belief.diagnostics[0].get("rows"))
    assert seen[id(geometric)] == [1, 2, 2, 4, 4, 4]
    assert seen[id(every)] == [None, None, 3, 3, 3, 6]


def test_a_saved_agent_goes_on_as_it_would_have():
    engine = ProgramPosterior(SCM(program), SVIFit(num_steps=20), num_units=20)
    arms = ({"X": 0}, {"X": 1})
    agent = ThompsonSampling(SCM(program).graph, arms, "Y", engine=engine).start(2, seed=0)

    def play(player, steps):
        found = []
        for step in range(steps):
            action = player.act()
            x = np.array([arms[a]["X"] for a in action], float)
            player.update(Transition(action, x * step, {"X": x, "Y": x * step}))
            found.append(action.tolist())
        return found

    play(agent, 3)
    again = agent.load_state_dict(agent.state_dict())
    assert play(agent, 3) == play(again, 3)


def test_what_cannot_be_done_is_refused():
    with_context = Choice(ADMG.parse("X -> Y; C -> Y"), ARMS, "Y", ("C",), {})
    with pytest.raises(AssumptionError, match="C is seen before acting"):
        ProgramPosterior(SCM(program)).begin(with_context, [np.random.default_rng(0)], 1)
    other = Choice(ADMG.parse("X -> M -> Y"), ARMS, "Y", (), {})
    with pytest.raises(QueryError, match="M is in the diagram, but not observed"):
        ProgramPosterior(SCM(program)).begin(other, [np.random.default_rng(0)], 1)

    def fixed():
        x = pyro.sample("X", dist.Normal(0.0, 1.0))
        pyro.sample("Y", dist.Normal(x, 1.0))

    choice = Choice(ADMG.parse("X -> Y"), ARMS, "Y", (), {})
    with pytest.raises(AssumptionError, match="no parameter to learn"):
        ProgramPosterior(SCM(fixed)).begin(choice, [np.random.default_rng(0)], 1)
