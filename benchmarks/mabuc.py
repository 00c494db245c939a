"""What is lost in casinos where players' intents and machines have a hidden common cause?

The intent is seen before each play, and each agent first sees 200 plays that nobody chose for it,
unless a row says otherwise. Regret is in mean reward, summed over plays; the bracket is the mean
plus or minus 1.96 standard errors over runs. Published figures: Bareinboim, Forney and Pearl
(2015), as their code gives them; the four-arm casino is that of Forney, Pearl and Bareinboim
(2017), without published figures, so the target is a per-intent Thompson sampler of ours.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from _harness import Benchmark, Measured, Row, Target, benchmark

from causalppl.agents import Agent, ThompsonSampling, Transition, run
from causalppl.agents.intent_fusion import IntentFusion
from causalppl.agents.per_arm import BetaThompson
from causalppl.envs import SCMEnv, make_env

LOGGED = 200
TRIED = 200  # plays of each machine by anyone, where a row says so
RUNS, SLOW_RUNS = 1_000, 200
CASINOS = {
    "GreedyCasino": ("Greedy Casino", 1_000, 1.4, 0.94),
    "ParadoxicalSwitching": ("paradoxical switching", 1_000, 5.0, 4.71),
    "FourArmCasino": ("four-arm casino", 3_000, 65.5, None),
}
Maker = Callable[[SCMEnv], Agent]


def blind(env: SCMEnv) -> Agent:
    return BetaThompson(env.arms)  # of what is seen it keeps nothing


def beta(env: SCMEnv) -> Agent:
    return BetaThompson.for_env(env)


def optimistic(env: SCMEnv) -> Agent:
    return BetaThompson.for_env(env, is_optimistic=True)


def regret(agent: Agent, env: SCMEnv, steps: int, runs: int, rows: int) -> Measured:
    """Mean regret, with its interval."""
    record = run(agent, env, steps, runs, seed=0, natural_rows=rows, progress=False)
    return interval(record.regret.values)


def interval(values: Any) -> Measured:
    """The mean, plus and minus 1.96 standard errors."""
    error = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    return Measured(values.mean(), values.mean() - error, values.mean() + error, "")


def fused_regret(env: SCMEnv, steps: int, runs: int) -> Measured:
    """Mean regret of fusion, after natural plays and experiments without intents."""
    player = IntentFusion.for_env(env).start(runs, seed=0)
    natural = env.see(runs * LOGGED, seed=0)
    player.observe({name: natural[name].numpy().reshape(runs, -1) for name in ("X", "Y")})
    for number, arm in enumerate(env.arms):
        tried = env.do(arm, runs * TRIED, seed=1 + number)
        log = {name: tried[name].numpy().reshape(runs, -1) for name in ("X", "Y")}
        player.observe(log, do=["X"])
    envs = env.vector(runs)
    observation, _ = envs.reset(seed=list(range(runs)))
    total = np.zeros(runs)
    for _ in range(steps):
        action = player.act(observation)
        total += env.oracle.regret(observation, action)
        following, reward, _, _, info = envs.step(action)
        player.update(Transition(action, reward, info["values"], observation))
        observation = following
    return interval(total)


def play(casino: str, bench: Benchmark) -> None:
    """Add the rows of one casino."""
    title, steps, goal, published = CASINOS[casino]
    runs = 100 if bench.quick else RUNS
    slow_runs = 32 if bench.quick else SLOW_RUNS
    env = make_env(casino)
    rows: list[tuple[str, Maker, int, int]] = [
        ("Thompson sampling, intent not looked at", blind, runs, 0),
        ("the same by intent, no log", beta, runs, 0),
        ("the same by intent, its diagonal from the log", beta, runs, LOGGED),
        ("SCM posterior, intent and log", ThompsonSampling.for_env, slow_runs, LOGGED),
        ("optimistic, by intent, its diagonal from the log", optimistic, runs, LOGGED),
    ]
    for question, make, count, logged in rows:
        setting = f"{title}, {steps:,} plays, {count:,} runs"
        here = regret(make(env), env, steps, count, logged)
        is_best = make is optimistic
        target = Target("at most", goal) if is_best else None
        known = is_best and published is not None
        peers = {"published": Measured.exactly(published)} if known else {}
        bench.add(Row(f"regret: {question}", setting, here, target, peers))
    setting = f"{title}, {steps:,} plays, {slow_runs:,} runs"
    question = f"regret: fusion with the log and {TRIED} plays of each machine by anyone"
    bench.add(Row(question, setting, fused_regret(env, steps, slow_runs)))


def main() -> None:
    with benchmark("mabuc") as bench:
        for casino in CASINOS:
            play(casino, bench)


if __name__ == "__main__":
    main()
