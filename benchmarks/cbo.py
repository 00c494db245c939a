"""Causal Bayesian optimisation: what is lost by an agent that knows the diagram, and by others.

Each run has 100 natural rows to look at beforehand, and then 60 steps. Regret is computed from true
means. Peers: a Gaussian process for each set of variables, from what was earned by setting it
(Bayesian optimisation that knows no diagram; its draws are averaged like those of the agent), and
values drawn at random. Toy graph, complete graph and health are those of Aglietti, Lu, Paleyes and
González (2020).
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from _harness import Benchmark, Measured, Row, Target, benchmark

from causalppl.agents.agent import Transition
from causalppl.agents.arm_search import best_point
from causalppl.agents.causal_bayesian_optimisation import CausalBayesianOptimisation
from causalppl.agents.gp_mechanism import GPMechanism, GPSettings, Rows
from causalppl.envs import SCMEnv, make_env

STEPS, NATURAL_ROWS, NUM_MODELS = 60, 100, 2
PROBLEMS = {"ToyGraph": (100, 34.0), "PSA": (20, 31.8), "CompleteGraph": (20, None)}
"""Name to number of runs and to the regret to reach."""


@dataclass
class Random:
    """Sets what it sets at random."""

    env: SCMEnv
    rng: Any

    def act(self) -> Any:
        """Draw an action."""
        number = int(self.rng.integers(len(self.env.arms)))
        bounds = {name: (space.low, space.high) for name, space in self.env.choices.open.items()}
        point = {name: self.rng.uniform(low, high) for name, (low, high) in bounds.items()}
        return {"set": number, **point}

    def observe(self, log: Any) -> None:
        """Natural rows are of no use."""

    def update(self, transition: Transition) -> None:
        """Learn nothing."""


@dataclass
class PerSet:
    """A Gaussian process for each set of variables; knows no diagram."""

    env: SCMEnv
    rng: Any
    rows: list[list[dict[str, float]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rows = [[] for _ in self.env.arms]
        bounds = {n: v for arm in self.env.arms for n, v in arm.items()}
        self.models = [
            GPMechanism(self.env.outcome, tuple(arm), {}, bounds, GPSettings())
            for arm in self.env.arms
        ]
        self.known = [model.fresh() for model in self.models]

    def act(self) -> Any:
        """Do what is best by drawn functions."""
        found = [(*self._best(number), number) for number in range(len(self.models))]
        _, point, number = max(found, key=lambda entry: entry[0])
        others = {name: float(space.low) for name, space in self.env.choices.open.items()}
        return {"set": number, **others, **point}

    def observe(self, log: Any) -> None:
        """Natural rows say nothing of what setting a variable does."""

    def update(self, transition: Transition) -> None:
        """Keep what setting the variables earned."""
        number = transition.action["set"]
        row = {name: float(transition.action[name]) for name in self.env.arms[number]}
        self.rows[number].append({**row, self.env.outcome: float(transition.values["Y"])})
        count = len(self.rows[number])
        if count & (count - 1) == 0:
            data = self._data(number)
            self.known[number] = self.models[number].fit(data, self.known[number])

    def _best(self, number: int) -> tuple[float, dict[str, float]]:
        drawn = [
            self.models[number].draw(self._data(number), self.known[number], self.rng)
            for _ in range(NUM_MODELS)
        ]
        sign = self.env.pay.sign
        return best_point(
            self.env.arms[number], lambda done: sign * np.mean([f(done, {}) for f in drawn], 0)
        )

    def _data(self, number: int) -> Rows:
        names = (*self.env.arms[number], self.env.outcome)
        rows = self.rows[number]
        values = {name: np.array([row[name] for row in rows]) for name in names}
        return Rows(values, {name: np.zeros(len(rows), dtype=bool) for name in names})


def regret(env: SCMEnv, agent: Any, seed: int, steps: int) -> float:
    """Play one run; the units depend on its number only."""
    log = env.see(NATURAL_ROWS, seed=seed)
    agent.observe({name: log[name].numpy() for name in log})
    total, observation = 0.0, env.reset(seed=seed)[0]
    for _ in range(steps):
        action = agent.act()
        total += float(env.oracle.regret(observation, action))
        _, reward, _, _, info = env.step(action)
        agent.update(Transition(action, reward, info["values"]))
        observation = env.reset()[0]
    return total


def mean(values: list[float]) -> Measured:
    """Mean and 95 % interval over runs."""
    centre = float(np.mean(values))
    error = 1.96 * float(np.std(values, ddof=1)) / np.sqrt(len(values))
    return Measured(centre, centre - error, centre + error, "")


def measure(run: Benchmark, name: str) -> None:
    """All agents on one problem, on the same units."""
    env = make_env(name)
    runs, target = PROBLEMS[name]
    runs, steps = (4, 20) if run.quick else (runs, STEPS)
    found: dict[str, list[float]] = {"causal": [], "per set": [], "random": []}
    for seed in range(runs):
        causal = CausalBayesianOptimisation.for_env(env, num_models=NUM_MODELS).start(seed=seed)
        agents = {
            "causal": causal,
            "per set": PerSet(env, np.random.default_rng(seed)),
            "random": Random(env, np.random.default_rng(seed)),
        }
        for key, agent in agents.items():
            found[key].append(regret(env, agent, seed, steps))
    peers = {
        "Gaussian processes by set": mean(found["per set"]),
        "random": mean(found["random"]),
    }
    wanted = None if target is None or run.quick else Target("at most", target)
    setting = f"{name}, {steps} steps, mean of {runs} runs"
    run.add(Row("cumulative regret", setting, mean(found["causal"]), wanted, peers))


def main() -> None:
    with benchmark("cbo") as run:
        for name in PROBLEMS:
            measure(run, name)


if __name__ == "__main__":
    main()
