"""From a query to what engines answer: worlds, evidence, targets, and how to combine them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from causalppl.exceptions import QueryError
from causalppl.given import told
from causalppl.inference.engine import Condition
from causalppl.inference.evidence_support import beyond_support
from causalppl.programs.interventions import (
    Interventions,
    World,
    check_interventions,
    on_units,
    policy_arguments,
)
from causalppl.programs.scm import SCM
from causalppl.programs.world_specs import check_sites, check_worlds
from causalppl.queries import Contrast, Event, Intervention, Query, Term, parse_query
from causalppl.spelling import closest, spelling


@dataclass(frozen=True)
class Question:
    """A query, ready for an engine.

    Attributes:
        scm: The model; intervened already where the whole query lives in one world.
        worlds: World name to interventions.
        evidence: Key to value, from the query's given part.
        variables: Name of a result to the key whose draws it shows (P queries without values).
        expectation: Weights of keys in an expectation; empty otherwise.
        events: Conditions of a probability; empty otherwise.
        label: Name of the result of an expectation or probability.
        text: The query as text.
        is_counterfactual: The answer joins several worlds, so that it rests on the couplings.
        subscripts: World name to what it sets, as text (``"X=0"``).
        notes: What the reader must know of the question itself.
    """

    scm: SCM
    worlds: Mapping[str, Interventions]
    evidence: Mapping[str, Any]
    variables: Mapping[str, str] = field(default_factory=dict)
    expectation: tuple[tuple[float, str], ...] = ()
    events: tuple[Condition, ...] = ()
    label: str = ""
    text: str = ""
    is_counterfactual: bool = True
    subscripts: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def targets(self) -> tuple[str, ...]:
        """Keys whose values are asked for."""
        return tuple(dict.fromkeys([*self.variables.values(), *(k for _, k in self.expectation)]))

    def readable(self, text: str) -> str:
        """Write terms instead of keys: ``Y_{X=0}`` for ``Y@w1``."""
        for world, subscript in self.subscripts.items():
            text = re.sub(rf"@{world}\b", f"_{{{subscript}}}", text)
        return text

    def couplings(self) -> dict[str, str]:
        """Return the couplings that the answer rests on: those of sites that differ by world."""
        if not self.is_counterfactual:
            return {}
        structure, used = self.scm.structure, self.scm.coupling_names
        moved: set[str] = set()
        for changes in self.worlds.values():
            reached = frozenset[str]().union(*map(structure.descendants, changes))
            moved |= {name for name in reached if name not in changes}
        return {name: used[name] for name in structure.sites if name in moved and name in used}

    def of_units(self, world: str, units: Tensor | None, num_units: int) -> Interventions:
        """Pick the interventions of some units; None takes all."""
        if units is None:
            return self.worlds[world]
        sites = self.scm.structure.sites
        return {
            name: on_units(value, sites[name].event_dim, num_units, lambda v: v[units])
            for name, value in self.worlds[world].items()
        }

    def with_terms(self, evidence: Mapping[str, Any]) -> tuple["Question", dict[str, Any]]:
        """Replace terms such as ``Y_{X=0}`` among the names of evidence by keys."""
        compiler = _Compiler(self.scm, self.worlds)
        named = {
            compiler.key(Term.parse(name)) if "_{" in name else name: value
            for name, value in evidence.items()
        }
        return replace(self, worlds=compiler.worlds, subscripts=compiler.subscripts), named


def read_question(
    scm: SCM,
    query: str | Query | Contrast | Sequence[str],
    worlds: Mapping[str, Interventions] | None,
    *,
    has_unit_evidence: bool,
) -> Question:
    """Compile a query for a model.

    Args:
        scm: The model.
        query: A query or contrast, its text, or a list of keys (``["Y", "Y@x0"]``).
        worlds: Named worlds, for a list of keys.
        has_unit_evidence: Whether factual evidence is given beside the query.

    Raises:
        QueryError: The query names what the program does not have, or leaves a value open.
    """
    if isinstance(query, list | tuple):
        return _from_keys(scm, query, worlds or {})
    if worlds:
        raise QueryError("worlds= goes with a list of keys such as ['Y@x0']; a query has its own")
    parsed = parse_query(query)  # type: ignore[arg-type]
    signed = _expanded(scm, parsed)
    _check_names(scm, parsed)
    _check_values(scm, parsed)
    compiler = _Compiler(scm)
    if not has_unit_evidence:
        signed = compiler.collapse(signed)
    question = compiler.question(parsed, signed)
    return replace(question, is_counterfactual=has_unit_evidence or parsed.rung == 3)


def _from_keys(scm: SCM, keys: Sequence[str], worlds: Mapping[str, Interventions]) -> Question:
    sites = scm.structure.unit_sites
    if not isinstance(worlds, Mapping):
        raise QueryError(
            f"worlds is {told(worlds)}; expected a mapping from names to what is set, such as "
            "worlds={'x0': {'X': 0}}, for keys such as 'Y@x0'"
        )
    for key in keys:
        name, _, world = key.partition("@")
        if name not in sites or (world and world not in worlds):
            raise QueryError(
                f"the key {key!r} is not there; sites are {', '.join(sites)}, worlds "
                f"{', '.join(worlds) or 'none'}{closest(name, sites) if name not in sites else ''}"
            )
    encoded = {world: _as_interventions(scm, changes) for world, changes in worlds.items()}
    check_worlds(encoded)
    check_sites(scm.structure, encoded)
    notes = [note for changes in encoded.values() for note in beyond_support(scm, changes)]
    return Question(
        scm,
        encoded,
        {},
        variables={key: key for key in keys},
        text=f"P({', '.join(keys)})",
        notes=tuple(dict.fromkeys(notes)),
    )


def _as_interventions(scm: SCM, changes: Interventions) -> dict[str, Any]:
    """Encode categories, turn arrays and lists into tensors, and check what policies ask for."""
    check_interventions(changes)
    result = scm.encode(changes)
    for name, value in result.items():
        if isinstance(value, np.ndarray | list | tuple):
            array = torch.as_tensor(np.asarray(value))
            is_double = array.dtype == torch.float64
            result[name] = array.to(torch.get_default_dtype()) if is_double else array
        elif callable(value) and not isinstance(value, torch.Tensor | Distribution):
            known = ("natural", *scm.structure.unit_sites)
            for argument in policy_arguments(value):
                if argument not in known:
                    raise QueryError(
                        f"the policy for {name!r} asks for {argument!r}; it may use "
                        f"{', '.join(known)}"
                    )
    return result


def _expanded(scm: SCM, query: Query | Contrast) -> tuple[tuple[float, Query], ...]:
    if isinstance(query, Query):
        return query.expand()
    if query.kind not in ("NDE", "NIE"):
        return query.expand()
    _check_names(scm, query)
    _check_mediators(scm, query)
    return query.expand(() if query.mediators else _mediators(scm, query))


def _check_mediators(scm: SCM, contrast: Contrast) -> None:
    below = scm.structure.descendants
    for name in contrast.mediators:
        if name not in below(contrast.treatment) or contrast.outcome not in below(name):
            raise QueryError(
                f"{contrast} names {name} as a mediator, which lies on no directed path from "
                f"{contrast.treatment} to {contrast.outcome}; leave the mediators out to take "
                "those of the program"
            )


def _mediators(scm: SCM, contrast: Contrast) -> tuple[str, ...]:
    """Return the children of the treatment through which it reaches the outcome otherwise."""
    structure = scm.structure
    found = tuple(
        name
        for name in structure.children(contrast.treatment)
        if name != contrast.outcome and contrast.outcome in structure.descendants(name)
    )
    if not found:
        raise QueryError(
            f"{contrast} needs a mediator, but {contrast.treatment!r} reaches "
            f"{contrast.outcome!r} by no other way than directly; the whole effect is direct"
        )
    return found


def _check_names(scm: SCM, query: Query | Contrast) -> None:
    sites = scm.structure.unit_sites
    for name in sorted(query.variables):
        if name in (*scm.structure.parameters, *scm.structure.learnable):
            raise QueryError(f"the query {query} names {name!r}, {_of_parameter(scm, name)}")
        if name not in sites:
            raise QueryError(
                f"the query {query} names {name!r}, which is not a unit site of the program; it "
                f"has {', '.join(sites)}{spelling(name, sites)}"
            )


def _check_values(scm: SCM, query: Query | Contrast) -> None:
    """Refuse a contrast of codes where the values have names: which is 1 is the alphabet's choice.

    `estimate` refuses it as well: there is no 1 in such a column.
    """
    if not isinstance(query, Contrast) or query.treatment not in scm.categories:
        return
    if any(not isinstance(value, str) for value in (query.treated, query.control)):
        names = scm.categories[query.treatment]
        named = replace(query, treated=names[-1], control=names[0])
        raise QueryError(
            f"{query} compares codes, but {query.treatment!r} has the categories "
            f"{', '.join(map(repr, names))}; name the two, as in {named}"
        )


def _of_parameter(scm: SCM, name: str) -> str:
    """Say what a parameter is, and where its values are."""
    is_fitted = name in scm.parameters or scm.learned is not None
    of = "scm" if is_fitted else "fitted = scm.fit(data), then fitted"
    where = (
        f"{of}.parameters[{name!r}] holds its draws"
        if name in scm.structure.parameters
        else f"{of}.learned.values[{name!r}] holds its value, unconstrained"
    )
    return (
        f"a parameter that all units share; expected unit sites: "
        f"{', '.join(scm.structure.unit_sites)}; {where}"
    )


class _Compiler:
    """Turn terms into keys, and the interventions they need into worlds."""

    def __init__(self, scm: SCM, worlds: Mapping[str, Interventions] | None = None) -> None:
        self._scm = scm
        self._names: dict[tuple[Intervention, ...], str] = {(): ""}
        self.worlds: dict[str, Interventions] = dict(worlds or {})
        self.subscripts: dict[str, str] = {}
        self.notes: dict[str, None] = {}

    def collapse(self, signed: tuple[tuple[float, Query], ...]) -> tuple[tuple[float, Query], ...]:
        """Where all terms live in one world, make that world the factual one."""
        queries = [query.worlds for _, query in signed]
        terms = [event.term for q in queries for event in q.outcomes + q.given]
        homes = {term.interventions for term in terms}
        if len(homes) != 1 or not terms[0].interventions or terms[0].is_nested:
            return tuple((w, q) for (w, _), q in zip(signed, queries, strict=True))
        self._scm = self._scm.intervened(self._values(terms[0].interventions))
        return tuple(
            (
                weight,
                Query(q.kind, _bare(q.outcomes), _bare(q.given), (), q.coefficients),
            )
            for (weight, _), q in zip(signed, queries, strict=True)
        )

    def question(
        self, source: Query | Contrast, signed: tuple[tuple[float, Query], ...]
    ) -> Question:
        """Put the parts of a query together."""
        signed = tuple((w, q.worlds) for w, q in signed)
        evidence: dict[str, Any] = {}
        for event in signed[0][1].given:
            if event.value is None:
                raise QueryError(
                    f"{source}: {event.term} is conditioned on without a value; write "
                    f"{event.term}=..., or pass evidence="
                )
            key = self.key(event.term)
            evidence[key] = self._scm.encode({event.name: event.value})[event.name]
        first = signed[0][1]
        fields: dict[str, Any] = {}
        if first.kind == "E":
            self._check_averaged(source, signed)
            fields["expectation"] = tuple((w, self.key(q.outcomes[0].term)) for w, q in signed)
            fields["label"] = _label(source, signed)
        elif any(event.value is not None for event in first.outcomes):
            fields["events"] = tuple(self._condition(source, event) for event in first.outcomes)
            fields["label"] = (
                source.kind
                if isinstance(source, Contrast)
                else ", ".join(str(event) for event in first.outcomes)
            )
        else:
            names = [event.name for event in first.outcomes]
            fields["variables"] = {
                event.name if names.count(event.name) == 1 else str(event): self.key(event.term)
                for event in first.outcomes
            }
        return Question(
            self._scm,
            self.worlds,
            evidence,
            text=str(source),
            subscripts=self.subscripts,
            notes=tuple(self.notes),
            **fields,
        )

    def _check_averaged(
        self, source: Query | Contrast, signed: tuple[tuple[float, Query], ...]
    ) -> None:
        for _, query in signed:
            names = self._scm.categories.get(query.outcomes[0].name, ())
            if len(names) > 2:
                raise QueryError(
                    f"{source}: {query.outcomes[0].name!r} has the categories "
                    f"{', '.join(names)}, whose codes have no mean; ask for the probability of "
                    "one of them"
                )

    def _condition(self, source: Query | Contrast, event: Event) -> Condition:
        if event.value is None:
            raise QueryError(
                f"{source}: the outcome {event.term} has no value while others have; give all "
                "outcomes a value, or none"
            )
        site = self._scm.structure.sites[event.name]
        if event.op == "=" and not site.is_discrete:
            raise QueryError(
                f"{source}: {event.name!r} is continuous, so that it equals {event.value} has "
                f"probability zero; ask for an inequality such as P({event.term} > {event.value}), "
                f"or for the law P({event.term})"
            )
        if site.event_shape:
            raise QueryError(f"{source}: {event.name!r} is a vector; ask for its law, not an event")
        value = self._scm.encode({event.name: event.value})[event.name]
        return Condition(self.key(event.term), event.op, float(value))

    def key(self, term: Term) -> str:
        """Return the key of a term, naming its world if it is new."""
        world = self._world(term.interventions)
        return f"{term.name}@{world}" if world else term.name

    def _world(self, interventions: tuple[Intervention, ...]) -> str:
        if interventions not in self._names:
            values = self._values(interventions)
            same = [name for name, changes in self.worlds.items() if changes == values]
            name = same[0] if same else f"w{len(self.worlds) + 1}"
            self._names[interventions] = name
            self.subscripts[name] = ", ".join(map(str, interventions))
            self.worlds[name] = values
        return self._names[interventions]

    def _values(self, interventions: tuple[Intervention, ...]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for intervention in interventions:
            if intervention.value is None:
                raise QueryError(
                    f"{intervention.name} is set without a value; write {intervention.name}=..."
                )
            if isinstance(intervention.value, Term):
                values[intervention.name] = World(self._world(intervention.value.interventions))
            else:
                values[intervention.name] = intervention.value
        encoded = self._scm.encode(values)
        self.notes |= dict.fromkeys(beyond_support(self._scm, encoded))
        return encoded


def _bare(events: tuple[Event, ...]) -> tuple[Event, ...]:
    return tuple(Event(Term(event.name), event.value, event.op) for event in events)


def _label(source: Query | Contrast, signed: tuple[tuple[float, Query], ...]) -> str:
    if isinstance(source, Contrast):
        return source.kind
    if len(signed) == 1 and signed[0][0] == 1.0:
        return source.outcomes[0].name
    return str(source)
