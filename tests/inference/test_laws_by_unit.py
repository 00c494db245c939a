"""Tables with values missing here and there are answered as exactly as their rows one by one."""

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch

import causalppl as cp
from causalppl.inference.laws import FiniteLaw, NormalLaw, PointLaw
from causalppl.inference.laws_by_unit import laws_of_all


def gaussian():
    z = pyro.sample("Z", dist.Normal(0.0, 1.0))
    x = pyro.sample("X", dist.Normal(0.5 * z, 1.0))
    pyro.sample("Y", dist.Normal(2.0 * x + z, 0.5))


def finite():
    z = pyro.sample("Z", dist.Bernoulli(torch.tensor(0.4)))
    x = pyro.sample("X", dist.Bernoulli(0.2 + 0.5 * z))
    pyro.sample("Y", dist.Bernoulli(0.1 + 0.3 * z + 0.4 * x))


def with_gaps(program, units):
    rng = np.random.default_rng(5)
    table = pd.DataFrame({k: v.numpy() for k, v in cp.SCM(program).sample(units, seed=1).items()})
    return table.astype(float).mask(rng.random(table.shape) < 0.3)


@pytest.mark.parametrize("program", [gaussian, finite])
def test_each_row_has_the_law_that_it_has_alone(program):
    scm, table = cp.SCM(program), with_gaps(program, 20)
    whole = cp.infer(scm, "P(Y_{X=0})", evidence=table, seed=0).law("Y")
    alone = [
        cp.infer(scm, "P(Y_{X=0})", evidence=row.dropna().to_dict(), seed=0).law("Y")
        for _, row in table.iterrows()
    ]
    assert len(set(map(tuple, table.isna().to_numpy()))) > 3  # several patterns
    assert whole.mean().tolist() == pytest.approx([law.mean().item() for law in alone], abs=1e-6)
    assert whole.sd().tolist() == pytest.approx([law.sd().item() for law in alone], abs=1e-6)


def test_the_kinds_that_stand_side_by_side():
    first, second = torch.tensor([1]), torch.tensor([0])
    known = PointLaw(torch.tensor([1.0]))
    table = FiniteLaw((0, 1), torch.tensor([[0.25, 0.75]]), labels=("no", "yes"))
    both = laws_of_all([(first, known), (second, table)], 2)
    assert both.probabilities.tolist() == [[0.25, 0.75], [0.0, 1.0]]
    assert both.labels == ("no", "yes")
    assert laws_of_all(
        [(first, known), (second, PointLaw(torch.tensor([3])))], 2
    ).mean().tolist() == [3, 1]
    wide = NormalLaw(torch.tensor([0.0]), 2.0)
    assert laws_of_all([(first, wide), (second, known)], 2).sd().tolist() == [0.0, 2.0]


def test_kinds_that_no_law_holds_are_left_to_the_draws():
    first, second = torch.tensor([1]), torch.tensor([0])
    table = FiniteLaw((0, 1), torch.tensor([[0.25, 0.75]]))
    elsewhere = PointLaw(torch.tensor([7.0]))
    other = FiniteLaw((0, 1, 2), torch.tensor([[0.25, 0.5, 0.25]]))
    assert laws_of_all([(first, elsewhere), (second, table)], 2) is None
    assert laws_of_all([(first, other), (second, table)], 2) is None
    assert laws_of_all([(first, NormalLaw(torch.tensor([0.0]), 1.0)), (second, table)], 2) is None


def with_a_parameter(n):
    effect = pyro.sample("effect", dist.Normal(0.0, 1.0))
    with pyro.plate("units", n):
        z = pyro.sample("Z", dist.Normal(0.0, 1.0))
        x = pyro.sample("X", dist.Bernoulli(logits=z))
        pyro.sample("Y", dist.Normal(2.0 * z + effect * x, 1.0))


@pytest.mark.parametrize("average", [False, True])
def test_engines_that_weigh_and_engines_that_do_not_meet_in_one_table(average):
    draws = torch.linspace(-1.0, 1.0, 50)
    scm = cp.SCM(with_a_parameter).with_parameters({"effect": draws})
    table = pd.DataFrame({"Z": [0.1, None, 0.3], "X": [1, 1, 0], "Y": [5.0, 6.0, 7.0]})
    found = cp.infer(
        scm, "E[Y_{X=0}]", evidence=table, average=average, seed=0, update_parameters=False
    )
    truth = torch.stack([5 - draws, 6 - draws, 7 + 0 * draws])  # whatever Z is, by subtraction
    truth = truth.mean(0, keepdim=True) if average else truth
    assert np.ravel(found.mean()["Y"]) == pytest.approx(truth.mean(1).numpy(), abs=1e-4)
    assert np.ravel(found.sd()["Y"]) == pytest.approx(
        truth.std(1, correction=0).numpy(), rel=0.02, abs=1e-4
    )
