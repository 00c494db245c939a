"""How much does an agent lose until it knows where to intervene?

Thompson sampling over causal models against per-arm Thompson sampling on the same arms, on the
named problems and on fresh random instances. Regret is computed from exact means; a row gives its
mean over runs with two standard errors. Figures of others are those measured with their own code.
"""

from typing import Any

import numpy as np
from _fresh_tasks import Instances, play
from _harness import Benchmark, Measured, Row, Target, benchmark

from causalppl.agents import BetaThompson, ThompsonSampling, run
from causalppl.envs import SCMEnv
from causalppl.examples import (
    BanditProblem,
    confounded_chain_bandit,
    front_door_bandit,
    scm_mab_task_1,
    scm_mab_task_2,
    scm_mab_task_3,
)

RUNS = 304  # a whole number of blocks of 8
NAMED: tuple[tuple[BanditProblem, str, int, int, float], ...] = (
    (scm_mab_task_3(), "POMIS", 10_000, 0, 60.0),
    (scm_mab_task_3(), "all", 10_000, 0, 80.0),
    (scm_mab_task_3(), "POMIS", 10_000, 1000, 1.0),
    (scm_mab_task_2(), "POMIS", 5_000, 0, 18.0),
    (scm_mab_task_1(), "POMIS", 10_000, 0, 4.0),
    (front_door_bandit(), "POMIS", 3_000, 0, 10.0),
    (confounded_chain_bandit(), "POMIS", 8_000, 0, 4.0),
)


def mean(values: Any) -> Measured:
    """The mean with its 95 % interval."""
    found = np.asarray(values, dtype=float)
    reach = 1.96 * found.std(ddof=1) / np.sqrt(len(found))
    return Measured(found.mean(), found.mean() - reach, found.mean() + reach, "")


def on_a_named_problem(
    bench: Benchmark, problem: BanditProblem, which: str, steps: int, rows: int, most: float
) -> None:
    """Play one problem."""
    env = SCMEnv(problem.scm, problem.arms(which), problem.reward, regimes=("see", "do"))
    runs = 16 if bench.quick else 104 if which == "all" else RUNS
    steps = steps // 10 if bench.quick else steps
    record = run(ThompsonSampling.for_env(env), env, steps, runs, seed=0, natural_rows=rows)
    per_arm = run(BetaThompson(env.arms), env, steps, runs, seed=0)
    after = f" after {rows:,} natural rows" if rows else ""
    setting = f"{problem.source}, {which} arms, T = {steps:,}{after}, {runs} runs"
    bench.add(
        Row(
            "cumulative regret",
            setting,
            mean(record.regret),
            Target("at most", most),
            {"per-arm Thompson sampling": mean(per_arm.regret)},
        )
    )


def on_fresh_instances(bench: Benchmark, task: int, *, wide: bool) -> None:
    """Play random instances, and subtract what per-arm Thompson sampling lost on them."""
    problem = scm_mab_task_2() if task == 2 else scm_mab_task_3()
    arms = problem.arms("POMIS")
    runs, steps = (64, 200) if bench.quick else (1024 if task == 2 else 304, 1000)
    instances = Instances.drawn(task, arms, runs, wide=wide, seed=2024)
    model = play(ThompsonSampling(problem.scm, arms, "Y"), instances, steps, seed=1)
    per_arm = play(BetaThompson(arms), instances, steps, seed=1)
    spread = "all chances in [.01, .99]" if wide else "the paper's ranges"
    bench.add(
        Row(
            "regret less that of per-arm Thompson sampling, in standard errors",
            f"fresh instances of task {task}, {spread}, T = {steps:,}, {runs} runs",
            Measured.exactly(
                float((model - per_arm).mean() / ((model - per_arm).std() / np.sqrt(runs)))
            ),
            Target("at most", 1.0 if task == 2 else -2.0),
        )
    )
    bench.add(
        Row(
            "cumulative regret",
            f"fresh instances of task {task}, {spread}, T = {steps:,}, {runs} runs",
            mean(model),
            None,
            {"per-arm Thompson sampling": mean(per_arm)},
        )
    )


def main() -> None:
    with benchmark("pomis_regret") as bench:
        for problem, which, steps, rows, most in NAMED:
            on_a_named_problem(bench, problem, which, steps, rows, most)
        for task in (2, 3):
            for wide in (False, True):
                on_fresh_instances(bench, task, wide=wide)


if __name__ == "__main__":
    main()
