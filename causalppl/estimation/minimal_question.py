"""Questions that data do not answer, and the smallest diagram on which they still do not.

A pair of models for a smaller diagram is one for the larger: a variable that was dropped is
constant there, and a mechanism need not heed a cause that its diagram allows.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from causalppl.estimation.equivalent_models import Domain, Input
from causalppl.exceptions import (
    GraphError,
    ImpossibleEvidenceError,
    NotIdentifiableError,
    QueryError,
)
from causalppl.graphs import ADMG
from causalppl.identification import Witness
from causalppl.identification.search import Search
from causalppl.identification.sources import Source
from causalppl.programs.finite import FiniteModel, Latent, latent_names
from causalppl.queries import Contrast, Event, Intervention, Query, Term, Value
from causalppl.spelling import spelling

__all__ = [
    "Unidentified",
    "coded",
    "compact",
    "lifted",
    "mechanisms_of_witness",
    "minimal_question",
    "refusal",
    "relevant",
    "states_needed",
]

_Change: TypeAlias = Callable[[str, Value], Value]


@dataclass(frozen=True)
class Unidentified:
    """A question that data are said not to answer.

    Attributes:
        graph: The diagram over all observed variables.
        query: What is asked, about the target population. Values are states, ``0, 1, ...``, or
            texts.
        inputs: What data could show; observation of the target population when left out.

    Raises:
        GraphError: An input names a variable that the diagram lacks.
        QueryError: The query names such a variable; the target population is said to be shifted,
            or one population is described in two ways.

    Example:
        >>> bow = ADMG.parse("X -> Y; X <-> Y")
        >>> print(Unidentified(bow, Query.parse("P(Y | do(X))")))
        P(Y | do(X)) from P(.) on X -> Y; X <-> Y
    """

    graph: ADMG
    query: Query | Contrast
    inputs: tuple[Input, ...] = (Input(),)

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", tuple(self.inputs))
        populations: dict[Domain, frozenset[str]] = {None: frozenset()}
        for given in self.inputs:
            unknown = sorted((given.do | given.shifted) - set(self.graph.nodes))
            if unknown:
                raise GraphError(
                    f"the input {given} names {', '.join(unknown)}; the diagram has "
                    f"{', '.join(self.graph.nodes)}; check the spelling"
                )
            if populations.setdefault(given.domain, given.shifted) != given.shifted:
                raise QueryError(
                    f"the input {given} says other mechanisms are shifted than before; expected "
                    "the same ones in all inputs of a population, and none in the target (None)"
                )
        missing = sorted(self.query.variables - set(self.graph.nodes))
        if missing:
            raise QueryError(
                f"{self.query} names {', '.join(missing)}; the diagram has "
                f"{', '.join(self.graph.nodes)}{spelling(missing[0], self.graph.nodes)}"
            )

    @classmethod
    def from_error(cls, error: NotIdentifiableError) -> "Unidentified":
        """Read the question off the error that ``identify`` raised.

        Raises:
            QueryError: The error carries no witness.
        """
        witness = error.hedge
        if not isinstance(witness, Witness):
            raise QueryError("the error carries no witness; expected one raised by identify")
        inputs = (
            Input(frozenset(study.do), study.domain, frozenset(study.shifted))
            for study in witness.studies
        )
        return cls(witness.graph, witness.query, tuple(inputs))

    def on(self, graph: ADMG) -> "Unidentified":
        """Ask the same on a smaller diagram, of what the data show of it.

        Raises:
            QueryError: The diagram lacks a variable of the question.
        """
        kept = frozenset(graph.nodes)
        inputs = (replace(i, do=i.do & kept, shifted=i.shifted & kept) for i in self.inputs)
        return Unidentified(graph, self.query, tuple(dict.fromkeys(inputs)))

    @property
    def parts(self) -> tuple[Query, ...]:
        """The queries that are asked, those of a contrast one by one; none if it makes no sense."""
        if isinstance(self.query, Query):
            return (self.query,)
        mediators: tuple[str, ...] = ()
        if self.query.kind in ("NDE", "NIE") and not self.query.mediators:
            reached = self.graph.children(self.query.treatment)
            between = reached & self.graph.ancestors(self.query.outcome) - {self.query.outcome}
            mediators = self.graph.in_order(between)
            if not mediators:
                return ()
        return tuple(part for _, part in self.query.expand(mediators))

    def __str__(self) -> str:
        sources = ", ".join(map(str, self.inputs)) or "no data"
        return f"{self.query} from {sources} on {self.graph}"


def refusal(question: Unidentified) -> Witness | None:
    """Say why there is no formula; None where there is one, or where the query makes no sense."""
    graph = question.graph.in_canonical_order()
    sources = {Source(i.domain, graph.mask(i.do), graph.mask(i.shifted)) for i in question.inputs}
    order = sorted(sources, key=lambda s: (s.domain or "", s.do.bit_count(), s.do))
    try:
        Search(graph, tuple(order), {}).answer(question.query)
    except NotIdentifiableError as error:
        return error.hedge if isinstance(error.hedge, Witness) else None
    except (QueryError, ImpossibleEvidenceError):
        return None
    return None


def relevant(question: Unidentified) -> Unidentified:
    """Ask the same on the ancestors of the query's variables."""
    needed = question.graph.ancestors(question.query.variables)
    return question.on(question.graph.subgraph(needed))


def minimal_question(question: Unidentified) -> Unidentified:
    """Drop from the diagram all without which the query still has no formula.

    Variables that the query does not name go first, then bidirected edges, then directed ones, in
    the diagram's order, until nothing more can go. Each trial is one search for a formula.

    Returns:
        The smaller question; where the query has a formula, the ancestors of its variables alone.

    Example:
        >>> graph = ADMG.parse("Z -> X -> M -> Y; Z -> Y; X <-> Y; X <-> M; M -> W")
        >>> print(minimal_question(Unidentified(graph, Query.parse("P(Y | do(X))"))))
        P(Y | do(X)) from P(.) on X -> M -> Y; X <-> M
    """
    smaller = relevant(question)
    if refusal(question) is None:
        return smaller
    small = question if refusal(smaller) is None else smaller
    changed = True
    while changed:
        changed = False
        for part in _removable(small):
            graph = _without(small.graph, part)
            if graph is not None and refusal(small.on(graph)) is not None:
                small, changed = small.on(graph), True
    return small


def mechanisms_of_witness(question: Unidentified) -> frozenset[str]:
    """The variables of the witness, and all that latents act on; all where there is no witness."""
    graph = question.graph
    witness = refusal(question)
    if witness is None or not question.inputs:
        return frozenset(graph.nodes)
    found = {name for hedge in witness.hedges for name in (*hedge.inner, *hedge.outer)}
    found |= {name for edge in graph.bidirected_edges for name in edge}
    if witness.conflict is not None:
        found |= set(witness.conflict.district)
    return frozenset(found)


def states_needed(question: Unidentified, treatment: int) -> dict[str, int]:
    """The number of states of each variable: what its values need, more if it is set."""
    states = dict.fromkeys(question.graph.nodes, 2)
    set_to: list[Intervention] = []
    for part in question.parts:
        for event in (*part.worlds.outcomes, *part.worlds.given):
            inner = list(_interventions(event.term))
            set_to += inner
            pairs = [(i.name, i.value) for i in inner]
            pairs += [(event.name, event.value)] if event.op == "=" else []
            for name, value in pairs:
                if isinstance(value, int):
                    states[name] = max(states[name], value + 1)
    for name in frozenset().union({i.name for i in set_to}, *(i.do for i in question.inputs)):
        states[name] = max(states[name], treatment)
    return states


def _interventions(term: Term) -> Iterator[Intervention]:
    for intervention in term.interventions:
        if isinstance(intervention.value, Term):
            yield from _interventions(intervention.value)
        else:
            yield intervention


def lifted(model: FiniteModel, graph: ADMG) -> FiniteModel:
    """Move a model to a larger diagram; variables that are added are constant, edges unused.

    Example:
        >>> from causalppl.programs.finite import random_finite_model
        >>> small = random_finite_model(ADMG.parse("X -> Y"), seed=0)
        >>> large = lifted(small, ADMG.parse("Z -> X -> Y; Z <-> Y"))
        >>> dict(large.states)
        {'Z': 1, 'X': 2, 'Y': 2}
    """
    own = {u.children: u for u in model.latents.values()}
    private = 2 if any(len(children) == 1 for children in own) else 1
    latents = {
        name: own.get(children) or Latent(children, np.ones(1))
        for name, (children, _) in latent_names(graph, 1, private).items()
    }
    tables = {}
    for name in graph.nodes:
        parents = graph.in_order(graph.parents(name))
        hidden = [u.children for u in latents.values() if name in u.children]
        table = model.tables.get(name, np.ones(1))
        known = model.graph.parents(name) if name in model.graph else frozenset()
        sizes = [(p in known, model.states.get(p, 1)) for p in parents]
        sizes += [(c in own, len(own[c].prior) if c in own else 1) for c in hidden]
        # an axis of length one for each cause that is not heeded
        spread = table.reshape([*(n if heeded else 1 for heeded, n in sizes), table.shape[-1]])
        tables[name] = np.broadcast_to(spread, [*(n for _, n in sizes), table.shape[-1]])
    return FiniteModel(graph, tables, latents)


def compact(model: FiniteModel, keep: Iterable[str] = ()) -> FiniteModel:
    """Forget the variables that have one state, but for some; the inverse of `lifted`.

    Example:
        >>> from causalppl.programs.finite import random_finite_model
        >>> sizes = {"Z": 1, "X": 2, "Y": 2}
        >>> model = random_finite_model(ADMG.parse("Z -> X -> Y; Z <-> Y"), states=sizes, seed=0)
        >>> print(compact(model).graph)
        X -> Y
    """
    wanted = frozenset(keep)
    graph = model.graph.subgraph([n for n, c in model.states.items() if c > 1 or n in wanted])
    latents = {}
    for key, latent in model.latents.items():
        children = tuple(name for name in latent.children if name in graph)
        if children:
            latents[key] = Latent(children, latent.prior)
    tables = {}
    for name in graph.nodes:
        shape = [model.states[parent] for parent in graph.in_order(graph.parents(name))]
        shape += [len(latents[key].prior) for key in model.latents_of(name)]
        tables[name] = model.tables[name].reshape(*shape, model.states[name])
    return FiniteModel(graph, tables, latents)


def coded(query: Query | Contrast) -> tuple[Query | Contrast, dict[str, tuple[str, ...]]]:
    """Replace the texts of each variable by states, in the order in which the query has them.

    Returns:
        The query with states, and variable to texts: the text of state 0, of state 1, ...

    Raises:
        QueryError: A value is neither a text nor a state, or a variable has both.

    Example:
        >>> query, codes = coded(Query.parse("P(Y=yes | do(X=no))"))
        >>> print(query, codes)
        P(Y=0 | do(X=0)) {'Y': ('yes',), 'X': ('no',)}
    """
    seen: dict[str, list[Value]] = {}

    def noted(name: str, value: Value) -> Value:
        seen.setdefault(name, []).append(value)
        return value

    _with_values(query, noted)
    codes: dict[str, tuple[str, ...]] = {}
    for name, values in seen.items():
        texts = tuple(dict.fromkeys(value for value in values if isinstance(value, str)))
        wrong = [v for v in values if not isinstance(v, str) and not (v >= 0 and v == int(v))]
        if wrong or (texts and len(texts) < len(set(values))):
            raise QueryError(
                f"{query} asks about {name} at {', '.join(map(repr, dict.fromkeys(values)))}; "
                "expected states 0, 1, ... or texts, one kind for each variable"
            )
        if texts:
            codes[name] = texts

    def state(name: str, value: Value) -> Value:
        return codes[name].index(value) if isinstance(value, str) else int(value)

    return _with_values(query, state), codes


def _with_values(query: Query | Contrast, change: _Change) -> Query | Contrast:
    """Change every value of a query but the bounds of inequalities, in the order of its text."""

    def set_to(intervention: Intervention) -> Intervention:
        value = intervention.value
        if isinstance(value, Term):
            return replace(intervention, value=in_world(value))
        return (
            intervention
            if value is None
            else Intervention(i := intervention.name, change(i, value))
        )

    def in_world(term: Term) -> Term:
        return Term(term.name, tuple(map(set_to, term.interventions)))

    def happens(event: Event) -> Event:
        term = in_world(event.term)
        if event.value is None or event.op != "=":
            return replace(event, term=term)
        return Event(term, change(event.name, event.value))

    if isinstance(query, Query):
        outcomes = tuple(map(happens, query.outcomes))
        do = tuple(map(set_to, query.do))
        return replace(query, outcomes=outcomes, do=do, given=tuple(map(happens, query.given)))
    whole = replace(
        query,
        treated=change(query.treatment, query.treated),
        control=change(query.treatment, query.control),
        do=tuple(map(set_to, query.do)),
        given=tuple(map(happens, query.given)),
    )
    if query.kind not in ("PN", "PS", "PNS"):
        return whole
    present, absent = (change(query.outcome, v) for v in (query.present, query.absent))
    return replace(whole, present=present, absent=absent)


_Part: TypeAlias = tuple[str, tuple[str, ...]]


def _removable(question: Unidentified) -> Iterator[_Part]:
    """Name the variables and edges that could go."""
    graph, named = question.graph, question.query.variables
    yield from (("variable", (name,)) for name in graph.nodes if name not in named)
    yield from (("<->", edge) for edge in graph.bidirected_edges)
    yield from (("->", edge) for edge in graph.directed_edges)


def _without(graph: ADMG, part: _Part) -> ADMG | None:
    """The diagram without a variable or an edge; None where that has gone already."""
    kind, names = part
    if not set(names) <= set(graph.nodes):
        return None
    if kind == "variable":
        return graph.subgraph([name for name in graph.nodes if name not in names])
    arrows: Mapping[str, list[tuple[str, str]]] = {
        "->": [edge for edge in graph.directed_edges if kind != "->" or edge != names],
        "<->": [edge for edge in graph.bidirected_edges if kind != "<->" or edge != names],
    }
    return ADMG(graph.nodes, arrows["->"], arrows["<->"])
