"""A PyroModule is a program like any other: its forward is what is read."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule, PyroSample

import causalppl as cp

X = torch.linspace(-1.0, 2.0, 80)
Y = 2.0 * X + 1.0 + torch.sin(40 * X)


class Line(PyroModule):
    """A line with learned weights; ``forward`` takes the number of units."""

    def __init__(self):
        super().__init__()
        self.line = PyroModule[torch.nn.Linear](1, 1)
        self.offset = PyroSample(dist.Normal(0.0, 1.0))

    def forward(self, n):
        offset = self.offset
        with pyro.plate("units", n):
            x = pyro.sample("X", dist.Normal(0.0, 1.0))
            return pyro.sample("Y", dist.Normal(self.line(x[:, None])[:, 0] + offset, 1.0))


class OneUnit(PyroModule):
    def forward(self):
        x = pyro.sample("X", dist.Normal(0.0, 1.0))
        return pyro.sample("Y", dist.Normal(3.0 * x, 1.0))


def test_a_module_that_opens_the_plate_has_its_graph_and_parameters():
    scm = cp.SCM(Line())
    assert str(scm.graph) == "X -> Y"
    assert scm.structure.parameters == ("offset",)
    assert scm.structure.learnable == ("line.weight", "line.bias")


def test_a_module_of_one_unit_is_run_in_a_plate():
    assert cp.infer(OneUnit(), "E[Y | do(X=2)]").mean()["Y"] == pytest.approx(6.0)


def test_a_module_is_fitted_asked_and_saved(tmp_path):
    torch.manual_seed(0)
    module = Line()
    before = [weight.detach().clone() for weight in module.parameters()]
    method = cp.SVIFit(num_steps=400, learning_rate=0.1, num_draws=50)
    fitted = cp.SCM(module).fit({"X": X, "Y": Y}, method=method, seed=0)
    slope = float(((X - X.mean()) * (Y - Y.mean())).sum() / ((X - X.mean()) ** 2).sum())
    effect = cp.infer(fitted, "ATE(X: 1 vs 0 -> Y)", seed=0).mean()["ATE"]
    assert effect == pytest.approx(slope, abs=0.02)
    for now, then in zip(module.parameters(), before, strict=True):
        torch.testing.assert_close(now, then)
    fitted.save(tmp_path / "line.pt")
    again = cp.SCM.load(tmp_path / "line.pt", Line())  # other weights at first
    assert cp.infer(again, "ATE(X: 1 vs 0 -> Y)", seed=0).mean()["ATE"] == pytest.approx(effect)
