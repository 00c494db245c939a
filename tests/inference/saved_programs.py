"""Programs whose fits are saved in one process and read in another."""

import json
import sys
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch

import causalppl as cp
from causalppl.programs.finite import FiniteModel


def line(n):
    slope = pyro.sample("slope", dist.Normal(0.0, 5.0))
    with pyro.plate("units", n):
        x = pyro.sample("X", dist.Normal(0.0, 1.0))
        return pyro.sample("Y", dist.Normal(slope * x, 1.0))


def confounded(n):
    effect = pyro.sample("effect", dist.Normal(0.0, 5.0))
    with pyro.plate("units", n):
        u = pyro.sample("U", dist.Normal(0.0, 1.0))
        x = pyro.sample("X", dist.Normal(u, 1.0))
        m = pyro.deterministic("M", 2 * x)
        return pyro.sample("Y", dist.Normal(effect * m + u, 0.5))


def choice(n):
    shares = pyro.sample("shares", dist.Dirichlet(torch.ones(2, 3)).to_event(1))
    with pyro.plate("units", n):
        t = pyro.sample("T", dist.Bernoulli(0.5))
        return pyro.sample("C", dist.Categorical(shares[t.long()]))


def network():
    """A program with a neural mechanism; a fresh one each time, with weights drawn anew."""
    net = torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))

    def program(n):
        mechanism = pyro.module("mechanism", net)
        scale = pyro.param("scale", torch.tensor(1.0), constraint=dist.constraints.positive)
        with pyro.plate("units", n):
            x = pyro.sample("X", dist.Normal(0.0, 1.0))
            mean = mechanism(x.unsqueeze(-1)).squeeze(-1)
            return pyro.sample("Y", dist.Normal(mean, scale))

    return program


PROGRAMS = {
    "line": (line, ["E[Y_{X=2} | X=1, Y=3]", "P(Y | do(X=1))", "ATE(X -> Y)"]),
    "chains": (line, ["E[Y | do(X=1)]"]),
    "confounded": (confounded, ["E[Y_{X=0} | X=1, Y=3]", "E[Y | X=1]"]),
    "choice": (choice, ["P(C_{T=1}='bus' | T=0, C='car')", "P(C | do(T=1))"]),
    "network": (network(), ["E[Y | do(X=1)]", "E[Y_{X=2} | X=1, Y=0.5]"]),
}
TABLES = ["P(Y_{X=0}=1 | X=1, Y=1)", "P(Y=1 | do(X=1))"]


def answers(model, queries):
    """Everything that `infer` says, to the last digit."""
    found = []
    for query in queries:
        answer = cp.infer(model, query, seed=3)
        numbers = [answer.mean(), answer.sd(), answer.quantile(0.9)]
        plain = [{k: torch.as_tensor(v).tolist() for k, v in each.items()} for each in numbers]
        found.append([plain, list(answer.assumptions), answer.engine])
    return json.loads(json.dumps(found))


def known_unit(model):
    """What is said of a row that the model was fitted to, and of another one."""
    rows = [cp.infer(model, "P(Y_{X=0})", evidence={"X": x, "Y": y}, seed=0) for x, y in ROWS]
    return [[float(torch.as_tensor(a.mean()["Y"])), list(a.notes)] for a in rows]


ROWS = [(1.0, 2.5), (0.3, 0.2)]


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    found = {}
    for name, (program, queries) in PROGRAMS.items():
        model = cp.SCM.load(folder / f"{name}.pt", program)
        found[name] = answers(model, queries)
        if name == "line":
            found["known unit"] = known_unit(model)
    tables = FiniteModel.load(folder / "finite.npz")
    found["finite"] = [tables.probability(query) for query in TABLES]
    print(json.dumps(found))
