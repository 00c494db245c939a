"""How long does it take to read the graph of a large program, with its guard and double-check?"""

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
from _harness import Row, Target, benchmark, compare
from pyro.infer.inspect import get_model_relations

from causalppl import SCM

NUM_SITES = 200


def sites(num_sites: int, parents: int) -> Callable[[], Any]:
    """Each site has up to ``parents`` parents, near and far; every tenth is deterministic."""

    def program() -> None:
        values: list[Any] = []
        for i in range(num_sites):
            chosen = {i - 1, i // 2, i // 3} if parents == 3 else {i - 1}
            loc: Any = sum((0.3 * values[j] for j in sorted(chosen) if 0 <= j < i), 0.0)
            if i % 10 == 9:
                values.append(pyro.deterministic(f"x{i}", loc))
            else:
                values.append(pyro.sample(f"x{i}", dist.Normal(loc, 1.0)))

    return program


def edges_by_pyro(program: Callable[[], Any]) -> set[tuple[str, str]]:
    """Read the edges as Pyro does."""
    relations = get_model_relations(program, include_deterministic=True)["sample_sample"]
    return {(p, name) for name, parents in relations.items() for p in parents if p != name}


def edges_here(program: Callable[[], Any]) -> set[tuple[str, str]]:
    """Read the edges here."""
    return set(SCM(program).diagram.directed_edges)


def main() -> None:
    with benchmark("graph_from_program") as run:
        for parents in (1, 3):
            program = sites(NUM_SITES, parents)
            assert edges_here(program) == edges_by_pyro(program)
            ways = {
                "here": lambda p=program: SCM(p).graph,
                "without the double-check": lambda p=program: SCM(p, check=False).graph,
                "Pyro": lambda p=program: get_model_relations(p, include_deterministic=True),
            }
            times = compare(ways, budget=run.budget(40), most=40)
            setting = f"{NUM_SITES} sites, {parents} parent{'s'[: parents - 1]} each"
            target = Target("at most", 1.0)
            peers = {"Pyro": times.seconds("Pyro")}
            row = Row(
                "graph, guard and double-check",
                setting,
                times.seconds("here"),
                target,
                peers,
                times.medians,
            )
            run.add(row)
            here = times.seconds("without the double-check")
            run.add(Row("graph and guard", setting, here, target, peers))


if __name__ == "__main__":
    main()
