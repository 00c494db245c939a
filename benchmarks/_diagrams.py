"""What libraries say about a diagram, and how long they take: each in a process of its own.

A library may need an environment of its own, can run past every limit, and can take the process
with it. So `Library` starts ``python _diagrams.py NAME``, writes a task a line and reads an answer
a line, and a process that is late is ended and started anew. Interpreters are looked through in
order: this one, then those that ``PEERS_PYTHON`` names (paths with ``:`` between them).
"""

import gc
import json
import math
import os
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, metadata
from itertools import islice
from typing import Any, ClassVar

_SHORTEST = 2e-3  # seconds; what is faster is repeated
_LONGEST = 0.05  # seconds; what is slower is run once
_ROUNDS = 3
_START = 120.0  # seconds to import a library

Edges = list[tuple[str, str]]
Diagram = tuple[list[str], Edges, Edges]


class Dialect:
    """How one library is asked; each method that it has no function for is left as it is.

    Attributes:
        package: Its name as a distribution.
    """

    package: ClassVar[str]

    def diagram(self, nodes: list[str], directed: Edges, bidirected: Edges) -> Any:
        """Build the library's own diagram."""
        raise NotImplementedError

    def identify(self, diagram: Any, x: str, y: str) -> Any:
        """Return the formula of ``P(y | do(x))``, None where the library says there is none."""
        raise NotImplementedError

    def text(self, formula: Any) -> str:
        """Write a formula."""
        return str(formula)

    def separations(self, diagram: Any, asked: list[tuple[str, str, list[str]]]) -> list[bool]:
        """Say for each ``x, y, given`` whether the diagram separates them."""
        raise NotImplementedError

    def adjustment_sets(self, diagram: Any, x: str, y: str, most: int) -> int:
        """List minimal adjustment sets; return how many were found."""
        raise NotImplementedError


class _Here(Dialect):
    """This package."""

    package = "causalppl"

    def __init__(self) -> None:
        self.graph = import_module("causalppl").ADMG
        self.ask = import_module("causalppl").identify
        self.refused = import_module("causalppl.exceptions").NotIdentifiableError
        self.is_separated = import_module("causalppl.graphs").is_separated
        self.sets = import_module("causalppl.identification").adjustment_sets

    def diagram(self, nodes: list[str], directed: Edges, bidirected: Edges) -> Any:
        return self.graph(nodes, directed, bidirected)

    def identify(self, diagram: Any, x: str, y: str) -> Any:
        try:
            return self.ask(diagram, f"P({y} | do({x}))")
        except self.refused:
            return None

    def separations(self, diagram: Any, asked: list[tuple[str, str, list[str]]]) -> list[bool]:
        return [self.is_separated(diagram, x, y, given) for x, y, given in asked]

    def adjustment_sets(self, diagram: Any, x: str, y: str, most: int) -> int:
        return len(list(islice(self.sets(diagram, x, y), most)))


class _Y0(Dialect):
    """y0: ID, and separation by moralising."""

    package = "y0"

    def __init__(self) -> None:
        self.variable = import_module("y0.dsl").Variable
        self.graph = import_module("y0.graph").NxMixedGraph
        self.identify_outcomes = import_module("y0.algorithm.identify").identify_outcomes
        ci = import_module("y0.algorithm.conditional_independencies")
        self.are_d_separated = ci.are_d_separated

    def diagram(self, nodes: list[str], directed: Edges, bidirected: Edges) -> Any:
        named = {node: self.variable(node) for node in nodes}
        arrows, arcs = ([(named[a], named[b]) for a, b in e] for e in (directed, bidirected))
        return self.graph.from_edges(named.values(), arrows, arcs)

    def identify(self, diagram: Any, x: str, y: str) -> Any:
        return self.identify_outcomes(diagram, self.variable(x), self.variable(y))

    def separations(self, diagram: Any, asked: list[tuple[str, str, list[str]]]) -> list[bool]:
        name = self.variable
        return [
            bool(self.are_d_separated(diagram, name(x), name(y), conditions=map(name, z)).separated)
            for x, y, z in asked
        ]


class _PyAgrum(Dialect):
    """pyAgrum: a back-door or front-door set, then ID; in C++, on a diagram without tables."""

    package = "pyagrum"

    def __init__(self) -> None:
        self.dag = import_module("pyagrum").DAG
        self.causal = import_module("pyagrum.causal_model")

    def diagram(self, nodes: list[str], directed: Edges, bidirected: Edges) -> Any:
        dag = self.dag()
        at = {node: dag.addNode() for node in nodes}
        for node, number in at.items():
            dag.setName(number, node)
        for a, b in directed:
            dag.addArc(at[a], at[b])
        latents = [(f"U{i}", list(pair)) for i, pair in enumerate(bidirected)]
        return self.causal.CausalModel(dag, latents, True), dag

    def identify(self, diagram: Any, x: str, y: str) -> Any:
        impact = self.causal.CausalImpact(diagram[0], on=y, doing=x)
        # a formula points at its model: written after the model is gone, it takes the process down
        return (impact, diagram) if impact.isIdentified() else None

    def text(self, formula: Any) -> str:
        return str(formula[0].toLatex().partition(" = ")[2])

    def separations(self, diagram: Any, asked: list[tuple[str, str, list[str]]]) -> list[bool]:
        model = diagram[0]
        dag, at = model.causalDAG(), model.idFromName
        return [bool(dag.dSeparation(at(x), at(y), [at(n) for n in z])) for x, y, z in asked]


class _DoWhy(Dialect):
    """DoWhy: its ID takes a directed graph, where latent causes are nodes like others."""

    package = "dowhy"

    def __init__(self) -> None:
        self.graph = import_module("networkx").DiGraph
        self.identify_effect = import_module("dowhy.causal_identifier").identify_effect_id

    def diagram(self, nodes: list[str], directed: Edges, bidirected: Edges) -> Any:
        graph = self.graph()
        graph.add_nodes_from(nodes)
        graph.add_edges_from(directed)
        graph.add_edges_from((f"U{i}", end) for i, pair in enumerate(bidirected) for end in pair)
        return graph

    def identify(self, diagram: Any, x: str, y: str) -> Any:
        return self.identify_effect(diagram, [x], [y])


class _Ananke(Dialect):
    """ananke: the one-line form of ID, by fixing."""

    package = "ananke-causal"

    def __init__(self) -> None:
        self.graph = import_module("ananke.graphs").ADMG
        self.one_line = import_module("ananke.identification").OneLineID

    def diagram(self, nodes: list[str], directed: Edges, bidirected: Edges) -> Any:
        return self.graph(nodes, set(directed), set(bidirected))

    def identify(self, diagram: Any, x: str, y: str) -> Any:
        question = self.one_line(diagram, [x], [y])
        return question if question.id() else None

    def text(self, formula: Any) -> str:
        return str(formula.functional())

    def separations(self, diagram: Any, asked: list[tuple[str, str, list[str]]]) -> list[bool]:
        return [bool(diagram.m_separated(x, y, list(given))) for x, y, given in asked]


class _CausalRL(Dialect):
    """causalrl: ID, and separation in the diagram with its latent causes written out."""

    package = "causalrl"

    def __init__(self) -> None:
        self.graph = import_module("causalrl.scm.graph").CausalGraph
        self.refused = import_module("causalrl.exceptions").NotIdentifiableError
        self.identify_effect = import_module("causalrl.identification.id_algorithm").identify_effect
        self.separated = import_module("causalrl.identification._separation").d_separated

    def diagram(self, nodes: list[str], directed: Edges, bidirected: Edges) -> Any:
        return self.graph(directed, bidirected, nodes)

    def identify(self, diagram: Any, x: str, y: str) -> Any:
        try:
            return self.identify_effect(diagram, {x}, {y}, return_certificate=False)
        except self.refused:
            return None

    def text(self, formula: Any) -> str:
        return str(formula.render())

    def separations(self, diagram: Any, asked: list[tuple[str, str, list[str]]]) -> list[bool]:
        return [bool(self.separated(diagram, {x}, {y}, set(given))) for x, y, given in asked]


DIALECTS: dict[str, type[Dialect]] = {
    "here": _Here,
    "y0": _Y0,
    "pyAgrum": _PyAgrum,
    "causalrl": _CausalRL,
    "DoWhy": _DoWhy,
    "ananke": _Ananke,
}


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        seconds: Processor time, the diagram built within it; the limit where that was passed.
        value: The answer; None where there is none in time.
        is_late: Whether the limit was passed.
        failure: The exception that the library raised, or that its process died.
    """

    seconds: float
    value: Any = None
    is_late: bool = False
    failure: str | None = None


class Library:
    """A library in a process of its own.

    Attributes:
        name: As in `DIALECTS`.
        version: None where no interpreter has it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.version: str | None = None
        others = os.environ.get("PEERS_PYTHON", "").split(os.pathsep) if name != "here" else []
        for self._python in (sys.executable, *filter(None, others)):
            self.version = self._start()
            if self.version is not None:
                return
        print(f"  (skipped: {DIALECTS[name].package} is not installed in any of PEERS_PYTHON)")

    def ask(self, task: str, diagram: Diagram, *arguments: Any, limit: float) -> Answer | None:
        """Ask in at most ``limit`` seconds; None where the library has no function for the task."""
        print(json.dumps([task, diagram, arguments]), file=self._pipe.stdin, flush=True)
        reply = self._read(limit)
        if reply is None:
            died = self._pipe.poll() is not None
            self.end()
            self._start()
            return Answer(limit, is_late=not died, failure="the process died" if died else None)
        return None if reply == "no function" else Answer(**reply)

    def end(self) -> None:
        """End the process."""
        self._pipe.kill()
        self._pipe.communicate()

    def _start(self) -> str | None:
        """Start the process; return the library's version, None where it is not installed."""
        self._pipe = subprocess.Popen(
            [self._python, __file__, self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        version: str | None = self._read(_START)
        if version is None:
            self.end()
        return version

    def _read(self, limit: float) -> Any:
        assert self._pipe.stdout is not None
        ready, _, _ = select.select([self._pipe.stdout], [], [], limit)
        line = self._pipe.stdout.readline() if ready else ""
        return json.loads(line) if line else None


def _timed(way: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds per call and the result; garbage is collected outside the clock."""

    def seconds(calls: int) -> float:
        start = time.process_time()
        for _ in range(calls):
            way()
        return (time.process_time() - start) / calls

    gc.collect()
    gc.disable()
    try:
        start = time.process_time()
        value = way()
        first = time.process_time() - start
        if first > _LONGEST:
            return first, value
        calls = math.ceil(_SHORTEST / max(first, 1e-6))
        return statistics.median(seconds(calls) for _ in range(_ROUNDS)), value
    finally:
        gc.enable()


def _answer(dialect: Dialect, task: str, diagram: Any, arguments: list[Any]) -> Any:
    """Do one task; for a formula the value is its length, None where there is none."""
    parts = (diagram[0], *([(a, b) for a, b in edges] for edges in diagram[1:]))

    def way() -> Any:
        method = "identify" if task == "write" else task
        return getattr(dialect, method)(dialect.diagram(*parts), *arguments)

    try:
        seconds, value = _timed(way)
        if task == "write" and value is not None:
            value = len(dialect.text(value))
        return {"seconds": seconds, "value": value if task != "identify" else value is not None}
    except NotImplementedError:
        return "no function"
    except Exception as error:  # a peer's own fault is a result too
        return {"seconds": math.nan, "failure": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Serve one library: tasks come from standard input, answers go to standard output."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    sys.setrecursionlimit(50_000)
    try:
        dialect = DIALECTS[sys.argv[1]]()
        version = metadata.version(dialect.package)
    except (ImportError, metadata.PackageNotFoundError):
        return
    print(json.dumps(version), file=channel, flush=True)
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        print(json.dumps(_answer(dialect, *json.loads(line))), file=channel, flush=True)


if __name__ == "__main__":
    main()
