"""How much does an agent lose until it knows a regime of two treatments?

Posterior sampling, UC-DTR and DOVI, with and without a log of somebody who saw what is hidden from
them. Regret is computed from exact means; a row gives its mean over runs with two standard errors.
causalrl's DOVI plays in the same run where it is installed, or lives in another environment::

    PEERS_PYTHON=/path/bin/python python benchmarks/dtr.py
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

NAME = "dtr"
RUNS = 112  # a whole number of blocks of 16
PEER_RUNS = 100
EPISODES, LOG_ROWS = 3_000, 2_000
LIMIT = 3_600  # seconds for a peer
SETTINGS = ("textbook", "confounded")


# In causalrl's environment.


def peer_regrets(task: dict[str, Any]) -> list[float]:
    """Let causalrl's DOVI play; states are numbered 0 and 1, then 2 + 4 S1 + 2 X1 + S2."""
    found = []
    for run, rows in enumerate(task["logs"]):
        found.append(_peer_regret(task, rows, run))
        if run % 10 == 9:
            print(f"  (causalrl: {run + 1} runs)", file=sys.stderr, flush=True)
    return found


def _peer_regret(task: dict[str, Any], rows: Any, run: int) -> float:
    from causalrl.agents.dovi import DOVI
    from causalrl.data.dataset import ConfoundedTrajectoryDataset, Transition

    agent = DOVI(10, 2, 2, seed=run, transition_assumption="unconfounded")
    if rows:
        logged = []
        for s1, x1, s2, x2, y in rows:
            state = 2 + 4 * s1 + 2 * x1 + s2
            logged.append(Transition(s1, x1, 0.0, state, False))
            logged.append(Transition(state, x2, float(y), 0, True))
        agent.ingest_offline(ConfoundedTrajectoryDataset(logged, 10, 2))
    moves, means = np.array(task["moves"]), np.array(task["means"])
    best = means.max(3)
    q = ((1 - moves) * best[..., 0]) + moves * best[..., 1]
    rng, regret = np.random.default_rng(run), 0.0
    for u1, u2, u3 in rng.random((task["episodes"], 3)):
        s1 = int(u1 < task["first"])
        x1 = agent.act({"state": s1, "t": 0})
        s2 = int(u2 < moves[s1, x1])
        state = 2 + 4 * s1 + 2 * x1 + s2
        agent.update({"state": s1}, x1, 0.0)
        agent.observe_transition(s1, x1, state, False)
        x2 = agent.act({"state": state, "t": 1})
        agent.update({"state": state}, x2, float(u3 < means[s1, x1, s2, x2]))
        agent.observe_transition(state, x2, 0, True)
        regret += q[s1].max() - q[s1, x1] + best[s1, x1, s2] - means[s1, x1, s2, x2]
    return float(regret)


def answer(path: str) -> None:
    """Play the task in a file, and print what was lost."""
    from importlib import metadata

    task = json.loads(Path(path).read_text(encoding="utf-8"))
    print(json.dumps({"version": metadata.version("causalrl"), "regrets": peer_regrets(task)}))


def ask_causalrl(task: dict[str, Any]) -> tuple[str, list[float]] | None:
    """Have causalrl play, in the first environment that has it; its version and regrets."""
    others = [path for path in os.environ.get("PEERS_PYTHON", "").split(os.pathsep) if path]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "task.json"
        path.write_text(json.dumps(task), encoding="utf-8")
        for python in (sys.executable, *others):
            there = subprocess.run([python, "-c", "import causalrl"], capture_output=True)
            if there.returncode == 0:
                command = [python, __file__, "--peer", str(path)]
                done = subprocess.run(
                    command, stdout=subprocess.PIPE, text=True, check=True, timeout=LIMIT
                )
                told = json.loads(done.stdout.splitlines()[-1])
                return told["version"], told["regrets"]
    print("  (skipped: causalrl is not installed; `pip install causalrl` to compare)")
    return None


# Here.


def task_of(env: Any, rows: int, runs: int, episodes: int) -> dict[str, Any]:
    """Describe a problem by its tables, and draw a log for each run."""
    from causalppl.estimation.program_law import ProgramLaw

    law = ProgramLaw(env.scm).law(["X1", "X2"]).align(("S1", "X1", "S2", "X2", "Y"))
    values = law.values.numpy()
    reached = values.sum(4)  # P(S1, S2 | do(X1, X2)); the axes of X1, X2 are settings
    names = ("S1", "X1", "S2", "X2", "Y")
    logs = []
    for run in range(runs):
        log = env.logs(rows, seed=run) if rows else None
        logs.append(log and np.stack([log[n].numpy() for n in names], 1).astype(int).tolist())
    return {
        "first": float(reached[1, 0, :, 0].sum()),
        "moves": (reached[:, :, 1, 0] / reached[:, :, :, 0].sum(2)).tolist(),
        "means": (values[..., 1] / reached).tolist(),
        "logs": logs,
        "episodes": episodes,
    }


def on_a_problem(bench: Any, setting: str, rows: int) -> None:
    """Let all agents play one problem."""
    from _harness import Row, Target

    from causalppl.agents.dovi import DOVI
    from causalppl.agents.dtr_model import DTRModel
    from causalppl.agents.episodes import run_episodes
    from causalppl.agents.posterior_sampling_dtr import PosteriorSamplingDTR
    from causalppl.agents.uc_dtr import UCDTR
    from causalppl.envs import make_env

    env = make_env("TwoStageDTR" if setting == "textbook" else "ConfoundedDTR")
    runs, peer_runs = (16, 2) if bench.quick else (RUNS, PEER_RUNS)
    episodes = EPISODES // 10 if bench.quick else EPISODES
    model = DTRModel.for_env(env)
    levels = {name: [0, 1] for name in ("S1", "X1", "S2")}
    blind = DTRModel(env.stages, levels, outcome="Y")
    told = ask_causalrl(task_of(env, rows, peer_runs, episodes))
    peers = {f"causalrl {told[0]} DOVI": mean(told[1])} if told else {}
    theirs = Target("at most", float(np.mean(told[1]))) if told else None
    known = f" after {rows:,} confounded rows" if rows else ""
    where = f"{setting} regime, T = {episodes:,}{known}, {runs} runs"
    agents = (
        ("posterior sampling", PosteriorSamplingDTR(model), Target("at most", MOST[setting])),
        ("posterior sampling without the diagram", PosteriorSamplingDTR(blind), None),
        ("DOVI", DOVI(model), theirs),
        ("UC-DTR", UCDTR(model), None),
    )
    for name, agent, target in agents:
        record = run_episodes(agent, env, episodes, runs, seed=0, natural_rows=rows)
        shown = peers if target is not None else {}
        bench.add(Row(f"cumulative regret, {name}", where, mean(record.regret), target, shown))


MOST = {"textbook": 16.1, "confounded": 55.0}
"""What posterior sampling lost elsewhere: on the textbook's problem, and on one much like ours."""


def offline(bench: Any) -> None:
    """What regimes are worth that were learned from a log alone."""
    from _harness import Measured, Row

    from causalppl.agents.dtr_model import DTRModel
    from causalppl.agents.offline_baselines import backdoor_policy, naive_policy
    from causalppl.envs import make_env

    env = make_env("ConfoundedDTR")
    model = DTRModel.for_env(env)
    log = env.scm.sample(LOG_ROWS, seed=0)
    naive = env.oracle.value(naive_policy(model, log))
    adjusted = env.oracle.value(backdoor_policy(model, log, ["U"]))
    where = f"confounded regime, a log of {LOG_ROWS:,}; the optimum is {env.oracle.best:g}"
    bench.add(Row("value of the naive regime", where, Measured.exactly(naive)))
    bench.add(Row("value, adjusted for what was hidden", where, Measured.exactly(adjusted)))


def mean(values: Any) -> Any:
    """The mean with its 95 % interval."""
    from _harness import Measured

    found = np.asarray(values, dtype=float)
    reach = 1.96 * found.std(ddof=1) / np.sqrt(len(found))
    return Measured(found.mean(), found.mean() - reach, found.mean() + reach, "")


def main() -> None:
    from _harness import benchmark

    with benchmark(NAME) as bench:
        for setting in SETTINGS:
            for rows in (0, LOG_ROWS):
                on_a_problem(bench, setting, rows)
        offline(bench)


if __name__ == "__main__":
    answer(sys.argv[2]) if sys.argv[1:2] == ["--peer"] else main()
