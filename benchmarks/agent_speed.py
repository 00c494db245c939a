"""How many decisions does an agent make in a second of one processor?

On task 3 of Lee and Bareinboim (2018) with its 16 possibly optimal arms. All that a run does is
counted: acting, the environment, learning, exact regret, and keeping the record. The posterior over
models is swept eight times after each of the first 200 rows and once after later ones, so that
short runs are slower: both the length of the task and its first 1,000 steps are timed. A peer plays
one run at a time, as it is made, and is spared the environment: its rewards are plain coins. It may
live in another environment::

    PEERS_PYTHON=/path/bin/python python benchmarks/agent_speed.py
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

TASK = "task 3, POMIS arms"
STEPS, RUNS = 10_000, 1_024
SCM_STEPS, SCM_RUNS = (10_000, 1_000), 256
PEER_STEPS, PEER_ROUNDS = 20_000, 5


def plain_numpy(steps: int, runs: int, means: Any) -> None:
    """Beta Thompson sampling as one writes it: all arms are drawn; rewards are plain coins."""
    rng = np.random.default_rng(0)
    ones, zeros = np.ones((2, runs, len(means)))
    every = np.arange(runs)
    for _ in range(steps):
        arm = rng.beta(ones, zeros).argmax(1)
        reward = rng.random(runs) < means[arm]
        ones[every, arm] += reward
        zeros[every, arm] += ~reward


def peer(means: list[float], names: list[list[str]]) -> None:
    """Time causalrl, and print decisions per second; run by the interpreter that has it."""
    from importlib import metadata

    from causalrl.agents.scbandit import POMISThompsonSampling
    from causalrl.scm.graph import CausalGraph

    directed = [("S", "W"), ("W", "Y"), ("Z", "X"), ("X", "Y"), ("T", "X"), ("T", "Y")]
    graph = CausalGraph(directed, [("W", "X"), ("Z", "Y")])
    arms = [dict.fromkeys(own, 0) for own in names]
    rates = []
    for number in range(PEER_ROUNDS):
        agent = POMISThompsonSampling(graph, "Y", arms, seed=number, manipulable="SWZXT")
        coins = np.random.default_rng(number).random(PEER_STEPS).tolist()
        start = time.process_time()
        for coin in coins:
            arm = agent.act({})
            agent.update({}, arm, float(coin < means[arm]))
        rates.append(PEER_STEPS / (time.process_time() - start))
    print(json.dumps({"version": metadata.version("causalrl"), "rates": rates}))


def ask_peer(means: Any, arms: Any) -> tuple[str, list[float]] | None:
    """Have causalrl answer, in the first environment that has it."""
    others = [path for path in os.environ.get("PEERS_PYTHON", "").split(os.pathsep) if path]
    given = json.dumps([means.tolist(), [list(arm) for arm in arms]])
    for python in (sys.executable, *others):
        if subprocess.run([python, "-c", "import causalrl"], capture_output=True).returncode == 0:
            command = [python, __file__, "--peer", given]
            single = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=single)
            told = json.loads(done.stdout.splitlines()[-1])
            return told["version"], told["rates"]
    print("  (skipped: causalrl is not installed in any of PEERS_PYTHON)")
    return None


def main() -> None:
    from _harness import Row, Target, benchmark, compare, median

    from causalppl.agents import ThompsonSampling, run
    from causalppl.agents.per_arm import BetaThompson
    from causalppl.envs import make_env

    env = make_env("SCMMAB3")
    means = env.oracle.means
    with benchmark("agent_speed") as bench:
        steps = STEPS // 10 if bench.quick else STEPS

        def played(agent: Any, count: int, runs: int) -> Callable[[], Any]:
            return lambda: run(agent, env, count, runs, seed=0, progress=False)

        ways = {
            "here": played(BetaThompson.for_env(env), steps, RUNS),
            "plain numpy": lambda: plain_numpy(steps, RUNS, means),
        }
        times = compare(ways, budget=bench.budget(50), least=3)
        setting = f"{TASK}, {steps:,} steps, {RUNS:,} runs at once"
        told = ask_peer(means, env.arms)
        peers = {"plain numpy": times.seconds("plain numpy").per_second(steps * RUNS)}
        if told is not None:
            peers[f"causalrl {told[0]}"] = median(told[1], "/s")
        here = times.seconds("here").per_second(steps * RUNS)
        target = Target("at least", 1.5e6)
        bench.add(Row("decisions, per-arm Thompson sampling", setting, here, target, peers))

        for length in SCM_STEPS:
            count = length // 10 if bench.quick else length
            posterior = {"here": played(ThompsonSampling.for_env(env), count, SCM_RUNS)}
            times = compare(posterior, budget=bench.budget(20), least=1)
            here = times.seconds("here").per_second(count * SCM_RUNS)
            setting = f"{TASK}, {count:,} steps, {SCM_RUNS} runs at once"
            target = Target("at least", 2e4)
            bench.add(Row("decisions, Thompson sampling over models", setting, here, target))


if __name__ == "__main__":
    if "--peer" in sys.argv:
        peer(*json.loads(sys.argv[-1]))
    else:
        main()
