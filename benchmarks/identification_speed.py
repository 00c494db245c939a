"""How fast is a diagram turned into a formula, and how long is the formula?

Each library runs in a process of its own, on one thread, and is asked the same in turn; the
diagram is built within the clock, and the text of a formula is written outside of it. Peers may
live in other environments::

    PEERS_PYTHON=/path/one/bin/python:/path/two/bin/python python benchmarks/identification_speed.py

A peer that is not installed, or has no function for a task, is left out.
"""

import json
import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from operator import ne
from typing import Any

import numpy as np
from _diagrams import DIALECTS, Answer, Diagram, Library
from _harness import RESULTS, Benchmark, Measured, Row, Target, benchmark, median
from report import write_report

from causalppl import ADMG

NAME = "identification_speed"
CASES = {5: 100, 20: 60, 40: 40, 80: 10, 160: 10}
NEAR = 4  # how far back parents are in the second kind of diagram
MOST_EDGES = 0.5  # of the pairs; 5 nodes would have nearly all
MEDIAN = {5: 0.3e-3, 20: 0.7e-3, 40: 1.5e-3, 80: 4e-3, 160: 15e-3}
CHAINS = {101: 0.02, 201: 0.05, 401: 0.2}
MAXIMUM = Target("at most", 10e-3)  # for 5 to 40 nodes
LIMIT, PATIENCE = 4.0, 10.0  # seconds for one diagram; for all of one kind and size
LONG_LIMIT, LONG_ROUNDS = 10.0, 3  # for one large task
NAPKIN: Diagram = (
    ["W", "R", "X", "Y"],
    [("W", "R"), ("R", "X"), ("X", "Y")],
    [("W", "X"), ("W", "Y")],
)
REMARKS = (
    f"*Or more*: the process was ended after {LIMIT:g} s with one random diagram, "
    f"{LONG_LIMIT:g} s with a large task. A library that has spent {PATIENCE:g} s on one size is "
    "asked no further there; its figures are over what it was asked, and the row *answered* says "
    "how many that were.",
    "Random diagrams: n/4 bidirected edges and about 2n directed ones (with 5 nodes, half of the "
    f"pairs), between any two nodes or only to the {NEAR} before (longer chains, more to do); the "
    "cause is among the first quarter of the ancestors of the last node. Many such queries need no "
    "recursion. Here and in pyAgrum short criteria come first (such as back-door sets); the others "
    "always run ID. That is much of the difference in time and length.",
    "The same holds of the plain chain, which rule 2 answers. The chain whose ends share a latent "
    "cause needs more.",
    "Ladder of 2k + 1 nodes: `A_i -> B_i`, `B_i -> A_j, B_j` for j < i, `B_0 -> Y`, all of A "
    "and Y joined by `<->`, `A_i <-> B_j` for j < i; the query is `P(Y | do(B_0))`. Each step of "
    "the recursion sums out one A and divides, so a formula written as a tree grows by a factor "
    "with each rung.",
    "Verdicts are compared, not formulas, and a short formula need not be a right one: for the "
    "napkin y0 gives `P(Y | X)`, where a ratio of two sums is needed.",
    "DoWhy's ID takes latent causes as observed nodes: it refuses nothing, and its verdicts unlike "
    "those here are effects that are not identifiable. In some diagrams its search for ancestors "
    "waits for ever on a full queue, at any size.",
    "Text is as each library writes it: LaTeX in pyAgrum, fixing operators in ananke (which name "
    "no conditional laws), nested joint laws in causalrl.",
)


def sparse(nodes: int, reach: int, rng: np.random.Generator) -> tuple[Diagram, str, str]:
    """Draw about 2n directed and n/4 bidirected edges; an early cause of the last node."""
    names = [f"V{i}" for i in range(nodes)]
    while True:
        pairs = [(i, j) for j in range(nodes) for i in range(max(0, j - reach), j)]
        chance = min(MOST_EDGES, 2 * nodes / len(pairs))
        directed = [(names[i], names[j]) for i, j in pairs if rng.random() < chance]
        arcs = {tuple(sorted(rng.permutation(nodes)[:2])) for _ in range(nodes // 4)}
        diagram = names, directed, [(names[i], names[j]) for i, j in sorted(arcs)]
        causes = sorted(ADMG(*diagram).ancestors(names[-1]) - {names[-1]}, key=names.index)
        if causes:
            return diagram, causes[int(rng.integers(len(causes) // 4 + 1))], names[-1]


def questions(nodes: int, reach: int) -> Iterator[tuple[Diagram, str, str]]:
    """Draw without end, the same on each run."""
    rng = np.random.default_rng(nodes)
    while True:
        yield sparse(nodes, reach, rng)


def chain(nodes: int, *, has_latent: bool) -> tuple[Diagram, str, str]:
    """``V0 -> V1 -> ...``, and perhaps a latent cause of both ends."""
    names = [f"V{i}" for i in range(nodes)]
    ends = names[0], names[-1]
    return (names, list(pairwise(names)), [ends] if has_latent else []), *ends


def ladder(rungs: int) -> tuple[Diagram, str, str]:
    """A napkin within a napkin, and so on: what the recursion makes of each is nested in the next.

    Without ``B[i]``, ``A[i]`` is no ancestor of ``Y``; without ``A[i]``, ``B[i - 1]`` is no longer
    in the district of ``Y``.
    """
    a, b = ([f"{side}{i}" for i in range(rungs)] for side in "AB")
    lower = [(i, j) for i in range(rungs) for j in range(i)]
    directed = [("B0", "Y"), *zip(a, b, strict=True)]
    directed += [(b[i], end) for i, j in lower for end in (a[j], b[j])]
    bidirected = [(node, "Y") for node in a]
    bidirected += [(a[i], end) for i, j in lower for end in (a[j], b[j])]
    return (["Y", *a, *b], directed, bidirected), "B0", "Y"


def separations(nodes: int, count: int) -> tuple[Diagram, list[tuple[str, str, list[str]]]]:
    """Ask a sparse diagram about pairs, each given five others."""
    rng = np.random.default_rng(nodes)
    diagram, _, _ = sparse(nodes, nodes, rng)
    picks = (list(rng.choice(diagram[0], 7, replace=False)) for _ in range(count))
    return diagram, [(str(x), str(y), [str(z) for z in given]) for x, y, *given in picks]


def wide(paths: int) -> tuple[Diagram, str, str]:
    """``X -> Y`` with back-door paths ``X <- A -> B -> Y``: 2 to the power ``paths`` sets."""
    a, b = ([f"{side}{i}" for i in range(paths)] for side in "AB")
    directed = [("X", "Y"), *zip(a, b, strict=True)]
    directed += [(node, "X") for node in a] + [(node, "Y") for node in b]
    return (["X", "Y", *a, *b], directed, []), "X", "Y"


Answers = dict[str, list[Answer]]


class Panel:
    """The libraries that are there."""

    def __init__(self) -> None:
        self.libraries = [one for name in DIALECTS if (one := Library(name)).version is not None]
        self.ask("identify", [(NAPKIN, "X", "Y")], limit=60, patience=60)  # imports, paid once

    def ask(
        self, task: str, asked: Iterable[tuple[Any, ...]], *, limit: float, patience: float
    ) -> Answers:
        """Ask all in turn, in alternating order, each until its patience is spent."""
        answers: Answers = {library.name: [] for library in self.libraries}
        for turn, question in enumerate(asked):
            for library in self.libraries[:: 1 if turn % 2 == 0 else -1]:
                known = answers[library.name]
                if sum(answer.seconds for answer in known) >= patience:
                    continue
                answer = library.ask(task, *question, limit=limit)
                if answer is not None:
                    known.append(answer)
                    if answer.failure is not None:
                        print(f"  ({library.name}, {task}: {answer.failure[:200]})")
        return answers

    def ask_again(self, run: Benchmark, task: str, *question: Any) -> Answers:
        """Ask one large question some times."""
        limit = run.budget(LONG_LIMIT)
        return self.ask(task, [question] * LONG_ROUNDS, limit=limit, patience=limit)

    def end(self) -> None:
        """End all processes."""
        for library in self.libraries:
            library.end()


def add(run: Benchmark, question: str, setting: str, cells: dict[str, Measured], **to: Any) -> None:
    """Add a row of one cell for each library; without an answer in time, ours is nan."""
    peers = {name: cell for name, cell in cells.items() if name != "here"}
    here = cells.get("here", Measured.exactly(math.nan))
    run.add(Row(question, setting, here, peers=peers, **to))


def middle(answers: Answers) -> dict[str, Measured]:
    """Median seconds."""
    return {
        name: _seconds(known, statistics.median(answer.seconds for answer in known))
        for name, known in _answered(answers)
    }


def worst(answers: Answers) -> dict[str, Measured]:
    """Most seconds."""
    return {
        name: _seconds(known, max(answer.seconds for answer in known), is_exact=True)
        for name, known in _answered(answers)
    }


def lengths(answers: Answers) -> dict[str, list[int]]:
    """Characters of the formulas that there are."""
    found = {
        name: [answer.value for answer in known if answer.value is not None]
        for name, known in _answered(answers)
    }
    return {name: known for name, known in found.items() if known}


def _answered(answers: Answers) -> Iterator[tuple[str, list[Answer]]]:
    for name, known in answers.items():
        in_order = [answer for answer in known if answer.failure is None]
        if in_order:
            yield name, in_order


def _seconds(known: Sequence[Answer], value: float, *, is_exact: bool = False) -> Measured:
    if any(answer.is_late and answer.seconds <= value for answer in known):
        return Measured.exactly(value, " s or more")
    if is_exact:
        return Measured.exactly(value, "s")
    return median([answer.seconds for answer in known], "s")


def random_diagrams(run: Benchmark, panel: Panel) -> None:
    """Verdict and formula by size, and how the verdicts compare."""
    verdicts: dict[str, list[tuple[bool, bool]]] = {one.name: [] for one in panel.libraries}
    for nodes, reach in [(n, n) for n in CASES] + [(n, NEAR) for n in CASES if n > 5]:
        cases = CASES[nodes] // 10 if run.quick else CASES[nodes]
        asked = list(islice(questions(nodes, reach), cases))
        limits = {"limit": run.budget(LIMIT), "patience": run.budget(PATIENCE)}
        answers = panel.ask("write", asked, **limits)
        parents = "parents near" if reach < nodes else "parents anywhere"
        setting = f"{nodes} nodes, {parents}, {cases} diagrams"
        target = Target("at most", MEDIAN[nodes])
        add(run, "verdict and formula, median", setting, middle(answers), target=target)
        most = MAXIMUM if nodes <= 40 else None
        add(run, "the same, maximum", setting, worst(answers), target=most)
        in_time = {name: [a for a in known if not a.is_late] for name, known in _answered(answers)}
        if any(len(known) < cases for known in in_time.values()):
            unit = f" of {cases}"
            counts = {name: Measured.exactly(len(known), unit) for name, known in in_time.items()}
            add(run, "the same, answered", setting, counts)
        if nodes == 40:
            medians = {
                name: Measured.exactly(statistics.median(known))
                for name, known in lengths(answers).items()
            }
            target = Target("at most", 150)
            add(run, "characters of the formula, median", setting, medians, target=target)
        for name, known in answers.items():
            for ours, theirs in zip(answers["here"], known, strict=False):
                if not theirs.is_late and theirs.failure is None:
                    verdicts[name].append((ours.value is not None, theirs.value is not None))
    for question, is_counted in (
        ("queries said not to be identifiable", lambda pair: not pair[1]),
        ("verdicts unlike those here", lambda pair: pair[0] != pair[1]),
    ):
        counts = {
            name: Measured.exactly(sum(map(is_counted, known)), f" of {len(known)}")
            for name, known in verdicts.items()
        }
        add(run, question, "all of the above that were answered", counts)


def large_diagrams(run: Benchmark, panel: Panel) -> None:
    """Chains and ladders."""
    for nodes, seconds in CHAINS.items():
        answers = panel.ask_again(run, "identify", *chain(nodes, has_latent=False))
        target = Target("at most", seconds)
        add(run, "verdict and formula", f"chain of {nodes} nodes", middle(answers), target=target)
    for nodes in (101, 201):
        answers = panel.ask_again(run, "identify", *chain(nodes, has_latent=True))
        setting = f"chain of {nodes} nodes, its ends with a latent cause"
        add(run, "verdict and formula", setting, middle(answers))
    for rungs in (4, 6):
        answers = panel.ask_again(run, "write", *ladder(rungs))
        setting = f"ladder of {2 * rungs + 1} nodes"
        add(run, "verdict and formula", setting, middle(answers))
        cells = {name: Measured.exactly(known[0]) for name, known in lengths(answers).items()}
        target = Target("at most", 20_000)
        add(run, "characters of the formula", setting, cells, target=target)


def separation(run: Benchmark, panel: Panel) -> None:
    """Separation, and whether all agree."""
    answers = panel.ask_again(run, "separations", *separations(640, 50))
    target = Target("at most", 0.03)
    add(run, "50 m-separations", "640 nodes", middle(answers), target=target)
    found = {name: known[0].value for name, known in _answered(answers) if known[0].value}
    unlike = {
        name: Measured.exactly(sum(map(ne, known, found["here"])), " of 50")
        for name, known in found.items()
    }
    add(run, "answers unlike those here", "640 nodes", unlike)


def adjustment(run: Benchmark, panel: Panel) -> None:
    """The first thousand of very many sets."""
    answers = panel.ask_again(run, "adjustment_sets", *wide(29), 1_000)
    assert all(answer.value == 1_000 for answer in answers["here"])
    target = Target("at most", 1.0)
    add(run, "1,000 minimal adjustment sets", "60 nodes", middle(answers), target=target)


def annotate(panel: Panel) -> None:
    """Add the peers' versions and the remarks to the results, for the report."""
    path = RESULTS / f"{NAME}.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["peers"] = {one.name: one.version for one in panel.libraries if one.name != "here"}
    record["versions"] |= record["peers"]
    record["remarks"] = REMARKS
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    write_report()


def main() -> None:
    panel = Panel()
    with benchmark(NAME) as run:
        random_diagrams(run, panel)
        large_diagrams(run, panel)
        separation(run, panel)
        adjustment(run, panel)
    if not run.quick:
        annotate(panel)
    panel.end()


if __name__ == "__main__":
    main()
