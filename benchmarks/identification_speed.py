"""How fast is a diagram turned into a formula, and how long is the formula?"""

import statistics
from collections.abc import Iterator
from itertools import islice, pairwise

import numpy as np
from _harness import Measured, Row, Target, benchmark, compare

from causalppl import ADMG, identify
from causalppl.exceptions import NotIdentifiableError
from causalppl.graphs import is_separated, random_admg
from causalppl.identification import adjustment_sets

Parts = tuple[list[str], list[tuple[str, str]], list[tuple[str, str]]]
CASES = 100
MILLI = 1e-3


def sparse(nodes: int, rng: np.random.Generator) -> tuple[Parts, str]:
    """Draw a diagram with two parents a node and n/4 bidirected edges, and a cause of one node."""
    names = [f"V{i}" for i in range(nodes)]
    while True:
        directed = [
            (names[i], names[j])
            for j in range(nodes)
            for i in sorted(rng.permutation(j)[: rng.integers(0, 3)])
        ]
        pairs = (sorted(rng.permutation(nodes)[:2]) for _ in range(nodes // 4))
        parts = names, directed, [(names[a], names[b]) for a, b in pairs]
        outcome = names[int(rng.integers(nodes // 2, nodes))]
        causes = sorted(ADMG(*parts).ancestors(outcome) - {outcome})
        if causes:
            return parts, f"P({outcome} | do({rng.choice(causes)}))"


def answer(parts: Parts, query: str) -> str | None:
    """Build the diagram and identify; None where there is no formula."""
    try:
        return str(identify(ADMG(*parts), query))
    except NotIdentifiableError:
        return None


def verdict(parts: Parts, query: str) -> None:
    """Build the diagram and identify, without writing the formula."""
    try:
        identify(ADMG(*parts), query)
    except NotIdentifiableError:
        pass


def questions(nodes: int) -> Iterator[tuple[Parts, str]]:
    rng = np.random.default_rng(nodes)
    while True:
        yield sparse(nodes, rng)


def once(way: object, *args: object) -> Measured:
    """Time one call."""
    times = compare({"here": lambda: way(*args)}, budget=1.0, most=15)  # type: ignore[operator]
    return times.seconds("here")


def main() -> None:
    with benchmark("identification_speed") as run:
        targets = {5: 0.3, 20: 0.7, 40: 1.5, 80: 4.0, 160: 15.0}
        for nodes, target in targets.items():
            asked = list(islice(questions(nodes), CASES))
            seconds = [
                compare({"here": lambda q=q: verdict(*q)}, budget=0.02, most=5).medians["here"]
                for q in asked
            ]
            low, high = np.quantile(seconds, [0.025, 0.975])
            setting = f"{nodes} nodes, {nodes // 4} bidirected edges, {CASES} diagrams"
            middle = Measured(statistics.median(seconds), float(low), float(high), "s")
            run.add(
                Row(
                    "verdict and formula, median",
                    setting,
                    middle,
                    Target("at most", target * MILLI),
                )
            )
            worst = Measured.exactly(max(seconds), "s")
            run.add(Row("the same, maximum", setting, worst, Target("at most", 10 * MILLI)))
            if nodes == 40:
                lengths = [len(text) for q in asked if (text := answer(*q)) is not None]
                length = Measured.exactly(statistics.median(lengths))
                run.add(
                    Row(
                        "characters of the formula, median", setting, length, Target("at most", 150)
                    )
                )
        for nodes, target in ((101, 0.02), (201, 0.05), (401, 0.2)):
            names = [f"V{i}" for i in range(nodes)]
            chain = names, list(pairwise(names)), []
            query = f"P({names[-1]} | do({names[nodes // 2]}), {names[1]})"
            run.add(
                Row(
                    "chain",
                    f"{nodes} nodes",
                    once(verdict, chain, query),
                    Target("at most", target),
                )
            )
        big = random_admg(640, directed=0.005, bidirected=0.001, seed=0)
        pairs = [(f"V{i}", f"V{i + 300}", f"V{i + 150}") for i in range(50)]
        separations = once(lambda: [is_separated(big, *pair) for pair in pairs])
        run.add(Row("50 m-separations", "640 nodes", separations, Target("at most", 0.03)))
        chains = "; ".join(f"X <- A{i} -> B{i} -> Y" for i in range(29))
        wide = ADMG.parse(f"X -> Y; {chains}")
        found = once(lambda: list(islice(adjustment_sets(wide, "X", "Y"), 1000)))
        run.add(Row("1,000 minimal adjustment sets", "60 nodes", found, Target("at most", 1.0)))


if __name__ == "__main__":
    main()
