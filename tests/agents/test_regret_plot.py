"""Records of agents that are alike can be told apart."""

import matplotlib as mpl
import pytest

from causalppl.agents import BetaThompson, run
from causalppl.envs import SCMEnv
from causalppl.examples import scm_mab_task_2
from causalppl.exceptions import DataError
from causalppl.plots import regret

mpl.use("Agg")


def records(*names):
    problem = scm_mab_task_2()
    env = SCMEnv(problem.scm, problem.arms("all"), "Y")
    for name, which in zip(names, ("all", "POMIS"), strict=True):
        agent = BetaThompson(problem.arms(which))
        yield run(agent if name is None else agent.named(name), env, 30, runs=4, seed=0)


def labels(axes):
    return [line.get_label().rsplit(" (", 1)[0] for line in axes.lines]


def test_records_of_one_name_are_numbered():
    name = BetaThompson.name
    assert labels(regret(list(records(None, None)))) == [f"{name}, 1", f"{name}, 2"]


def test_agents_may_be_named():
    found = list(records("all arms", None))
    assert found[0].name == "all arms"
    assert labels(regret(found)) == ["all arms", BetaThompson.name]


def test_nothing_cannot_be_drawn():
    with pytest.raises(DataError, match="no record"):
        regret([])
