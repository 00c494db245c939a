"""A formula on the exact laws of a finite program, against the program itself."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch

from causalppl.data import Factor
from causalppl.estimation.exact import SourceKey, evaluate
from causalppl.estimation.program_law import ProgramLaw
from causalppl.estimation.verification import EXACT, Array, Verification
from causalppl.exceptions import ImpossibleEvidenceError, QueryError
from causalppl.given import told
from causalppl.identification import Estimand
from causalppl.identification.expression import Probability, walk
from causalppl.inference import Enumeration, infer
from causalppl.programs import SCM
from causalppl.queries import Contrast, Query, Term, Value, parse_query
from causalppl.queries.open_values import fill_open_values, label_open_values
from causalppl.queries.terms import HOLDS, Operator

__all__ = ["ExactCheck", "parts_of"]


class ExactCheck:
    """A program's laws, and its answers to queries."""

    def __init__(
        self,
        scm: SCM,
        domains: Mapping[str, SCM],
        policies: Mapping[str, Factor],
        tolerance: float | None,
    ) -> None:
        self._scm, self._policies, self._tolerance = scm, policies, tolerance
        self._laws: dict[str | None, ProgramLaw] = {None: ProgramLaw(scm)}
        self._laws |= {name: ProgramLaw(other) for name, other in domains.items()}
        self._states = self._laws[None].states

    def run(self, estimand: Estimand, query: str | Query | Contrast | None = None) -> Verification:
        """Check one formula; the arguments are those of `verify`."""
        if not isinstance(estimand, Estimand):
            raise QueryError(
                f"the estimand is {told(estimand)}; expected what identify returned, first: "
                "verify(estimand, scm)"
            )
        asked = estimand.query if query is None else query
        asked = parse_query(asked) if isinstance(asked, str) else asked
        if unknown := sorted(asked.variables - set(self._states)):
            raise QueryError(
                f"{asked} names {', '.join(unknown)}; the program observes "
                f"{', '.join(self._states)}"
            )
        parts = parts_of(asked, self._scm)
        labels = label_open_values(part for _, part in parts)
        axes = {
            label: self._states[known if isinstance(known, str) else known.name]
            for known, label in labels.items()
        }
        formula = self._formula(estimand, axes)
        program = np.empty(formula.shape)
        for place in np.ndindex(formula.shape):
            values = {label: axes[label][i] for label, i in zip(axes, place, strict=True)}
            filled = [(weight, fill_open_values(part, labels, values)) for weight, part in parts]
            program[place] = sum(weight * self._answer(part) for weight, part in filled)
        if np.isnan(program).all():
            raise ImpossibleEvidenceError(f"what is given in {asked} never happens in the program")
        tolerance = self._tolerance or self._exactness(part for _, part in parts)
        return Verification(asked, estimand, axes, formula, program, tolerance)

    def _exactness(self, parts: Iterable[Query]) -> float:
        laws = (getattr(law, "probs", None) for law in self._scm.laws.values())
        is_single = any(probs is not None and probs.dtype != torch.float64 for probs in laws)
        return 1e-6 if is_single and any(part.rung == 3 for part in parts) else EXACT

    def _formula(self, estimand: Estimand, axes: Mapping[str, tuple[Value, ...]]) -> Array:
        laws = {key: self._law_of(key) for key in _keys(estimand)}
        laws.setdefault((None, frozenset()), self._laws[None].law())
        found = evaluate(estimand, laws, policies=self._policies)
        shape = tuple(len(states) for states in axes.values())
        if isinstance(found, float):
            return np.full(shape, found)
        labels = [label for label, _ in estimand.axes]
        if missing := sorted(set(labels) - set(axes)):
            raise QueryError(
                f"the formula depends on {', '.join(missing)}, which the query does not leave open"
            )
        values = found.values if isinstance(found, Factor) else found
        values = values[(...,) + (None,) * (len(axes) - len(labels))]
        rest = [label for label in axes if label not in labels]
        order = [[*labels, *rest].index(label) for label in axes]
        return np.broadcast_to(values.permute(order).numpy(), shape)

    def _law_of(self, key: SourceKey) -> Factor:
        domain, do = key
        if domain not in self._laws:
            raise QueryError(
                f"the formula uses the population {domain!r}; pass domains={{{domain!r}: scm}}"
            )
        return self._laws[domain].law(do)

    def _answer(self, query: Query) -> float:
        if query.rung < 3:
            return self._under_do(query.interventional())
        if self._policies:
            raise QueryError(f"{query} mixes worlds; expected one world beside policies")
        try:
            answer = infer(self._scm, query, engine=Enumeration(), seed=0, progress=False)
        except ImpossibleEvidenceError:
            return float("nan")
        (value,) = answer.mean().values()
        return float(value)

    def _under_do(self, query: Query) -> float:
        law = self._laws[None].law([i.name for i in query.do], policies=self._policies)
        values, names = law.values.numpy(), law.names
        for setting in query.do:
            assert not isinstance(setting.value, Term)
            values = values * self._indicator(setting.name, "=", setting.value, names)
        for event in query.given:
            values = values * self._indicator(event.name, event.op, event.value, names)
        total = values.sum()
        for event in query.outcomes:
            if query.kind == "E":
                values = values * self._along(event.name, self._levels(event.name), names)
            else:
                values = values * self._indicator(event.name, event.op, event.value, names)
        return float(values.sum() / total) if total > 0 else float("nan")

    def _levels(self, name: str) -> Sequence[float]:
        states = self._states[name]
        if any(isinstance(state, str) for state in states):
            raise QueryError(f"an expectation of {name}, whose values are {states}; ask for P")
        return [float(state) for state in states]

    def _indicator(
        self, name: str, op: Operator, value: Value | None, names: Sequence[str]
    ) -> Array:
        assert value is not None
        holds = [float(HOLDS[op](state, value)) for state in self._states[name]]
        if op == "=" and not any(holds):
            raise QueryError(f"{name}={value!r} is none of its values, {self._states[name]}")
        return self._along(name, holds, names)

    @staticmethod
    def _along(name: str, values: Sequence[float], names: Sequence[str]) -> Array:
        shape = [len(values) if other == name else 1 for other in names]
        return np.asarray(values, dtype=float).reshape(shape)


def _keys(estimand: Estimand) -> Iterator[SourceKey]:
    for node in walk(estimand.body):
        if isinstance(node, Probability):
            yield node.domain, frozenset(symbol.variable for symbol in node.do)


def parts_of(asked: Query | Contrast, scm: SCM) -> tuple[tuple[float, Query], ...]:
    """Expand a question, through the mediators of the program where it names none."""
    if isinstance(asked, Query) or asked.kind not in ("NDE", "NIE") or asked.mediators:
        return asked.expand()
    between = scm.graph.ancestors(asked.outcome) & scm.graph.children(asked.treatment)
    return asked.expand(sorted(between - {asked.outcome}))
