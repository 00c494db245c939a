"""How long do bounds take, and how sharp are they?

Intervals and tipping points under the marginal sensitivity model, with standard errors here and
without at the peer, on the same rows in the same run; and bounds through an instrument, over all
finite models, of an exact law and of rows with sampling error. The peer may live in another
environment::

    PEERS_PYTHON=/path/bin/python python benchmarks/bounds_speed.py
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

ROWS = 1_000_000
ODDS_RATIO = 2.0
REFERENCE = 0.0
PEER_ROUNDS = 7
MOST_SECONDS = 0.082  # the peer's on the machine where the target was set
FASTER = 10.0
SAMPLE = 300  # rows of an instrument


def rows(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draw outcomes, propensities of the actions taken, and two policies that share rows."""
    rng = np.random.default_rng(0)
    y = 0.3 + rng.normal(size=count)
    return y, rng.uniform(0.05, 0.95, count), rng.random(count), rng.random(count)


def peer(count: int, rounds: int) -> None:
    """Time causalrl, and print its seconds and answers; run by the interpreter that has it."""
    from importlib import metadata

    from causalrl.identification.bounds import tipping_gamma
    from causalrl.ope.bounds import ipw_sensitivity_bounds, msm_contribution_bounds

    y, e, on, off = rows(count)

    def interval(ratio: float) -> Any:
        return ipw_sensitivity_bounds(y, e, gamma=ratio, return_certificate=False)

    tasks: dict[str, Callable[[], Any]] = {
        "mean": lambda: interval(ODDS_RATIO),
        "tipping": lambda: tipping_gamma(interval, reference=REFERENCE),
        "contribution": lambda: msm_contribution_bounds(y, e, on, off, gamma=ODDS_RATIO),
    }
    told: dict[str, Any] = {"version": metadata.version("causalrl"), "seconds": {}, "answers": {}}
    for name, task in tasks.items():
        seconds = []
        for _ in range(rounds if name != "tipping" else max(rounds // 2, 1)):
            start = time.process_time()
            found = task()
            seconds.append(time.process_time() - start)
        told["seconds"][name] = seconds
        ends = (found, found) if isinstance(found, float) else (found.lower, found.upper)
        told["answers"][name] = [float(end) for end in ends]
    print(json.dumps(told))


def ask_peer(count: int, rounds: int) -> dict[str, Any] | None:
    """Have causalrl answer, in the first environment that has it."""
    others = [path for path in os.environ.get("PEERS_PYTHON", "").split(os.pathsep) if path]
    for python in (sys.executable, *others):
        if subprocess.run([python, "-c", "import causalrl"], capture_output=True).returncode == 0:
            command = [python, __file__, "--peer", json.dumps([count, rounds])]
            single = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=single)
            return dict(json.loads(done.stdout.splitlines()[-1]))
    print("  (skipped: causalrl is not installed in any of PEERS_PYTHON)")
    return None


def main() -> None:
    from _harness import Measured, Row, Target, benchmark, compare, median

    from causalppl.bounds.certify_decision import certify_decision
    from causalppl.bounds.marginal_sensitivity import msm_contribution, msm_mean
    from causalppl.bounds.quantile_balancing import sharp_effect
    from causalppl.bounds.tipping import msm_tipping_point

    with benchmark("bounds_speed") as bench:
        count = ROWS // 10 if bench.quick else ROWS
        y, e, on, off = rows(count)
        arm, cell = (on > 0.5) * 1, (off * 10).astype(int)
        ways = {
            "mean": lambda: msm_mean(y, e, ODDS_RATIO),
            "tipping": lambda: msm_tipping_point(y, e, REFERENCE),
            "contribution": lambda: msm_contribution(y, e, on, off, ODDS_RATIO),
            "sharp": lambda: sharp_effect(y, arm, cell, ODDS_RATIO),
            "certificate": lambda: certify_decision(y, arm, strata=cell, outcome_range=(-9, 9)),
        }
        times = compare(ways, budget=bench.budget(60), least=5, most=30)
        told = ask_peer(count, 2 if bench.quick else PEER_ROUNDS)
        name = "" if told is None else f"causalrl {told['version']}"

        def peers(task: str) -> dict[str, Measured]:
            return {} if told is None else {name: median(told["seconds"][task], "s")}

        setting = f"{count:,} rows"
        target = Target("at most", MOST_SECONDS)
        here = times.seconds("mean")
        bench.add(
            Row("interval of a mean, with standard errors", setting, here, target, peers("mean"))
        )
        here = times.seconds("tipping")
        bench.add(Row("tipping point of a mean", setting, here, None, peers("tipping")))
        if told is not None:
            seconds = median(told["seconds"]["tipping"], "s")
            ratio = Measured(
                seconds.value / here.value, seconds.low / here.high, seconds.high / here.low, "x"
            )
            target = Target("at least", FASTER)
            bench.add(
                Row("tipping point: how many times as fast as the peer", setting, ratio, target)
            )
            bench.add(Row("tipping point here less the peer's", setting, _gap(told, y, e)))
        here = times.seconds("contribution")
        question = "contrast of two policies that share all rows"
        bench.add(Row(question, setting, here, None, peers("contribution")))
        width = float(msm_contribution(y, e, on, off, ODDS_RATIO).width)
        wide = {}
        if told is not None:
            low, high = told["answers"]["contribution"]
            wide[name] = Measured.exactly(high - low)
        question = "width of its interval"
        bench.add(Row(question, setting, Measured.exactly(width), None, wide))
        here = times.seconds("sharp")
        setting = f"{count:,} rows, 10 cells of covariates"
        bench.add(Row("sharp interval of an effect", setting, here))
        here = times.seconds("certificate")
        setting = f"{count:,} rows, 10 strata, tipping point included"
        bench.add(Row("certificate of a decision", setting, here))
        for states, most in ((3, 0.2), (4, 5.0)):
            times = compare({"here": canonical(states)}, budget=bench.budget(20), least=3)
            types = f"{states ** (2 * states):,} types"
            setting = f"{states} x {states} x {states} states, exact law, {types}"
            here = times.seconds("here")
            bench.add(Row("bounds by an instrument", setting, here, Target("at most", most)))
        for states in (2, 3):
            times = compare({"here": sampled(states)}, budget=bench.budget(20), least=3)
            setting = f"{states} x {states} x {states} states, {SAMPLE} rows, 200 draws"
            question = "bounds by an instrument, with sampling error"
            bench.add(Row(question, setting, times.seconds("here"), Target("at most", 0.2)))


def sampled(states: int) -> Callable[[], Any]:
    """Bound an effect through an instrument, given rows, with the sampling error of its ends."""
    from causalppl.bounds import bound
    from causalppl.graphs import ADMG
    from causalppl.programs.finite import random_finite_model

    graph = ADMG.parse("Z -> X -> Y; X <-> Y")
    law = random_finite_model(graph, seed=0, states=states).law().values.numpy()
    cells = np.random.default_rng(0).choice(law.size, size=SAMPLE, p=law.ravel() / law.sum())
    found = dict(zip("ZXY", np.unravel_index(cells, law.shape), strict=True))
    return lambda: bound(graph, "ATE(X -> Y)", found, outcome_range="states", seed=0)


def canonical(states: int) -> Callable[[], Any]:
    """Bound an effect through an instrument, given the exact law of a random program."""
    from causalppl.bounds import BoundProblem, Canonical
    from causalppl.graphs import ADMG
    from causalppl.programs.finite import random_finite_model
    from causalppl.queries import Query

    graph = ADMG.parse("Z -> X -> Y; X <-> Y")
    model = random_finite_model(graph, seed=0, states=states)
    query = Query.parse("P(Y=1 | do(X=1))")
    problem = BoundProblem(graph, query, laws={(None, frozenset()): model.law()})
    return lambda: Canonical().solve(problem, seed=0)


def _gap(told: dict[str, Any], y: np.ndarray, e: np.ndarray) -> Any:
    """By how much the tipping points differ; the peer's is found to within .001."""
    from _harness import Measured

    from causalppl.bounds.tipping import msm_tipping_point

    here = float(msm_tipping_point(y, e, REFERENCE))
    return Measured.exactly(here - told["answers"]["tipping"][0])


if __name__ == "__main__":
    if "--peer" in sys.argv:
        peer(*json.loads(sys.argv[-1]))
    else:
        main()
