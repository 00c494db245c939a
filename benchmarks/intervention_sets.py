"""How fast are the sets of variables found that are worth setting?

causalrl is run on the same diagrams by the interpreters in ``PEERS_PYTHON``, where it is installed.
"""

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from _harness import Measured, Row, Target, benchmark, median

from causalppl.graphs import ADMG
from causalppl.identification import minimal_intervention_sets, possibly_optimal_sets

ROUNDS = 15
PEER = """
import json, sys, time
from causalrl.identification.intervention_sets import minimal_intervention_sets, pomis
from causalrl.scm.graph import CausalGraph
find = {"POMIS": pomis, "MIS": minimal_intervention_sets}
for line in sys.stdin:
    asked = json.loads(line)
    graph = CausalGraph(*[[tuple(e) for e in asked[k]] for k in ("directed", "bidirected")])
    start = time.process_time()
    count = len(find[asked["which"]](graph, "Y"))
    print(json.dumps([count, time.process_time() - start]), flush=True)
"""


def dense(seed: int) -> ADMG:
    """A random diagram of 14 nodes."""
    rng = np.random.default_rng(seed)
    names = [*(f"V{i}" for i in range(13)), "Y"]
    edges: tuple[list[Any], list[Any]] = ([], [])
    for chance, found in zip((0.4, 0.15), edges, strict=True):
        for i, cause in enumerate(names):
            found += [(cause, name) for name in names[i + 1 :] if rng.random() < chance]
    return ADMG(names, *edges)


def star(leaves: int) -> ADMG:
    """Causes of the reward that have nothing to do with each other."""
    return ADMG.parse(f"{{{', '.join(f'X{i}' for i in range(leaves))}}} -> Y")


def timed(work: Callable[[], Any]) -> tuple[int, Measured]:
    """How many sets, and the time to list them."""
    seconds, count = [], 0
    for _ in range(ROUNDS):
        start = time.process_time()
        count = len(work())
        seconds.append(time.process_time() - start)
    return count, median(seconds, "s")


def of_causalrl(graph: ADMG, which: str) -> tuple[int, float] | None:
    """The same by causalrl: how many, and the median time of three."""
    asked = {
        "which": which,
        "directed": graph.directed_edges,
        "bidirected": graph.bidirected_edges,
    }
    for python in filter(None, os.environ.get("PEERS_PYTHON", "").split(":")):
        lines = "\n".join([json.dumps(asked)] * 3)
        told = subprocess.run([python, "-c", PEER], input=lines, capture_output=True, text=True)
        if told.returncode == 0:
            found = [json.loads(line) for line in told.stdout.splitlines()]
            return found[0][0], statistics.median(seconds for _, seconds in found)
    return None


def main() -> None:
    ways = {"POMIS": possibly_optimal_sets, "MIS": minimal_intervention_sets}
    with benchmark("intervention_sets") as run:
        for name, graph, which, most in (
            ("14 nodes, dense", dense(14), "POMIS", 0.02),
            ("14 nodes, dense", dense(14), "MIS", None),
            ("star of 10 causes", star(10), "POMIS", None),
            ("star of 12 causes", star(12), "MIS", None),
        ):
            count, seconds = timed(lambda g=graph, w=which: ways[w](g, "Y"))
            peer = of_causalrl(graph, which)
            others = {} if peer is None else {"causalrl": Measured.exactly(peer[1], "s")}
            target = None if most is None else Target("at most", most)
            run.add(Row("time to list all", f"{name}: {count:,} {which}", seconds, target, others))
            if peer is not None:
                assert peer[0] == count
                ratio = Measured(
                    peer[1] / seconds.value, peer[1] / seconds.high, peer[1] / seconds.low, "x"
                )
                run.add(
                    Row(
                        "times as fast as causalrl",
                        f"{name}: {which}",
                        ratio,
                        Target("at least", 20),
                    )
                )


if __name__ == "__main__":
    main()
