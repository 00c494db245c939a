"""Random questions of every kind, with the data for them and the truth about them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from causalppl.data import Factor
from causalppl.estimation import SourceKey
from causalppl.graphs import ADMG, random_admg
from causalppl.identification import Domain, Estimand, identify
from causalppl.programs.finite import FiniteModel, random_finite_model
from causalppl.queries import Query

KINDS = [
    "do",
    "conditional",
    "experiments",
    "domains",
    "counterfactual",
    "ett",
    "nested",
    "soft",
    "mediation",
]
SMALL = ("counterfactual", "ett", "nested")


@dataclass
class Question:
    """A query on a diagram, and the data for it.

    Attributes:
        graph: The diagram.
        query: What is asked, with all values given.
        treatments: What is set, in some world.
        seed: Of the model, the other populations and the policies.
        experiments: Sets randomised in the target population.
        domains: Other populations.
        observational: Whether the target population was observed.
        policies: Variable to what its policy looks at.
        states: Number of values of each variable, or of all.
    """

    graph: ADMG
    query: str
    treatments: list[str]
    seed: int
    experiments: list[set[str]] = field(default_factory=list)
    domains: list[Domain] = field(default_factory=list)
    observational: bool = True
    policies: dict[str, list[str]] = field(default_factory=dict)
    states: int | Mapping[str, int] = 2

    def identify(self) -> Estimand:
        return identify(
            self.graph,
            self.query,
            experiments=self.experiments,
            domains=self.domains,
            observational=self.observational,
            policies=self.policies,
        )

    def model(self) -> FiniteModel:
        return random_finite_model(self.graph, states=self.states, seed=self.seed)

    def laws(self, model: FiniteModel) -> dict[SourceKey, Factor]:
        found: dict[SourceKey, Factor] = {}
        if self.observational:
            found[None, frozenset()] = model.law()
        for do in self.experiments:
            found[None, frozenset(do)] = model.law(dict.fromkeys(do))
        for place, domain in enumerate(self.domains):
            other = model.shifted(domain.shifted, seed=self.seed + 1000 + place)
            if domain.observational:
                found[domain.name, frozenset()] = other.law()
            for experiment in domain.experiments:
                found[domain.name, frozenset(experiment)] = other.law(dict.fromkeys(experiment))
        return found

    def policy_laws(self, model: FiniteModel) -> dict[str, Factor]:
        rng = np.random.default_rng([self.seed, 11])
        found = {}
        for name, seen in self.policies.items():
            shape = [model.states[other] for other in seen]
            table = rng.dirichlet([1] * model.states[name], shape)
            found[name] = Factor((*seen, name), torch.from_numpy(table))
        return found

    def truth(self, model: FiniteModel) -> float:
        if not self.policies:
            return model.probability(self.query)
        tables = self.policy_laws(model)
        policies = {name: (t.names[:-1], t.values.numpy()) for name, t in tables.items()}
        query = Query.parse(self.query)
        do = {i.name: i.value for i in query.do if isinstance(i.value, int)}
        law = model.law(dict(do), policies=policies)
        given = {event.name: event.value or 0 for event in query.given}
        both = given | {event.name: event.value or 0 for event in query.outcomes}
        total = law.probability(given) if given else torch.ones(())
        return float(law.probability(both) / total)


def questions(kind: str, count: int, *, salt: int = 7) -> Iterator[Question]:
    """Draw questions on diagrams dense enough in ``<->`` to make the recursion work hard."""
    rng = np.random.default_rng([KINDS.index(kind), salt])
    for seed in range(count):
        graph = random_admg(
            int(rng.integers(3, 5 if kind in SMALL else 7)),
            directed=float(rng.uniform(0.3, 0.8)),
            bidirected=float(rng.uniform(0.1, 0.45)),
            seed=seed,
        )
        yield _Draw(graph, rng, seed).question(kind)


class _Draw:
    """One question on a diagram."""

    def __init__(self, graph: ADMG, rng: np.random.Generator, seed: int) -> None:
        self.graph, self.rng, self.seed = graph, rng, seed
        self.names = list(graph.topological_order())
        self.y = self.names[-1] if rng.random() < 0.7 else str(rng.choice(self.names))
        self.rest = [name for name in self.names if name != self.y]

    def some(self, low: int, high: int, among: list[str]) -> list[str]:
        picked = self.rng.permutation(among)[: int(self.rng.integers(low, high + 1))]
        return sorted(picked.tolist())

    def put(self, names: list[str]) -> str:
        return ", ".join(f"{name}={self.rng.integers(2)}" for name in names)

    def happens(self, chance: float) -> bool:
        return bool(self.rng.random() < chance)

    def question(self, kind: str) -> Question:
        if kind in SMALL:
            return self._counterfactual(kind)
        if kind == "soft":
            return self._soft()
        if kind == "mediation":
            return self._mediation()
        return self._interventional(kind)

    def _interventional(self, kind: str) -> Question:
        x = self.some(1, 2, self.rest)
        others = [name for name in self.rest if name not in x]
        z = self.some(1, 1, others) if kind == "conditional" else []
        given = [f"do({self.put(x)})", *([self.put(z)] if z else [])]
        asked = Question(self.graph, f"P({self.put([self.y])} | {', '.join(given)})", x, self.seed)
        if kind == "experiments":
            asked.experiments = [set(self.some(1, 2, self.names)) for _ in range(3)]
            asked.observational = self.happens(0.5)
        if kind == "domains":
            asked.domains = [self._domain(f"d{i}") for i in range(2)]
            asked.observational = self.happens(0.5)
        return asked

    def _domain(self, name: str) -> Domain:
        shifted, experiments = self.some(0, 2, self.names), [self.some(1, 2, self.names)]
        return Domain(name, shifted, experiments, self.happens(0.5))

    def _counterfactual(self, kind: str) -> Question:
        y = self.y
        first, second = self.rng.permutation(self.rest)[:2].tolist()
        text = {
            "ett": f"P({y}_{{{first}=0}}=1 | {first}=1)",
            "nested": f"P({y}_{{{first}=1, {second}_{{{first}=0}}}}=1)",
            "counterfactual": (
                f"P({y}_{{{self.put([first])}}}=1, {second}_{{{self.put([first])}}}=0"
                + (" | " if self.happens(0.5) else ", ")
                + f"{self.put([first])})"
            ),
        }[kind]
        experiments = [{first}] if self.happens(0.5) else []
        return Question(self.graph, text, [first], self.seed, experiments)

    def _soft(self) -> Question:
        """Ask under one or two policies that look at anything that leaves no cycle."""
        policies: dict[str, list[str]] = {}
        changed = self.graph
        for name in self.some(1, 2, self.names):
            cut = changed.remove_incoming(name)
            earlier = [n for n in self.names if n not in cut.descendants(name)]
            policies[name] = self.some(0, 2, earlier) if earlier else []
            edges = [(seen, name) for seen in policies[name]]
            changed = ADMG(cut.nodes, [*cut.directed_edges, *edges], cut.bidirected_edges)
        free = [name for name in self.rest if name not in policies]
        do = self.some(1, 1, free) if self.happens(0.2) else []
        given = self.some(1, 1, [n for n in self.rest if n not in do]) if self.happens(0.3) else []
        behind = [f"do({self.put(do)})"] if do else []
        behind += [self.put(given)] if given else []
        text = f"P({self.put([self.y])}{' | ' if behind else ''}{', '.join(behind)})"
        asked = Question(self.graph, text, [*policies, *do], self.seed, policies=policies)
        if self.happens(0.4):
            asked.experiments = [set(self.some(1, 2, self.names))]
        if self.happens(0.2):
            asked.domains = [self._domain("d")]
        return asked

    def _mediation(self) -> Question:
        """Ask for a natural or controlled effect that goes through at least one other variable."""
        y = self.names[-1]
        routes = {x: self._between(x, y) for x in self.names[:-1]}
        causes = [x for x, mediators in routes.items() if mediators]
        x = str(self.rng.choice(causes or self.names[:-1]))
        effect = f"{x}: {' vs '.join(map(str, self.rng.permutation(2)))} -> {y}"
        kind = str(self.rng.choice(["NDE", "NIE", "CDE"]))
        if kind == "CDE":
            others = [name for name in self.names[:-1] if name != x]
            text = f"CDE({effect} | do({self.put(self.some(1, 2, others))}))"
        else:
            named = f"; {', '.join(self.some(1, 2, routes[x]))}" if self.happens(0.5) else ""
            text = f"{kind}({effect}{named})"
        experiments = [set(self.some(1, 2, self.names)) for _ in range(int(self.rng.integers(3)))]
        return Question(self.graph, text, [x], self.seed, experiments)

    def _between(self, x: str, y: str) -> list[str]:
        return sorted((self.graph.descendants(x) & self.graph.ancestors(y)) - {x, y})
