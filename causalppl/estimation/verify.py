"""Formulas checked against programs: one derivation against another.

``identify`` sees a diagram and no program; the program knows no formula. `verify` evaluates the
formula on the laws that the program gives to data, and asks the program itself under ``do``.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from causalppl.data import Factor
from causalppl.estimation.exact import SourceKey, evaluate
from causalppl.estimation.program_law import ProgramLaw
from causalppl.exceptions import (
    AssumptionError,
    ImpossibleEvidenceError,
    NotIdentifiableError,
    QueryError,
)
from causalppl.identification import Estimand, identify
from causalppl.identification.expression import Probability, walk
from causalppl.inference import Enumeration, infer
from causalppl.inference.progress import is_shown, progress_bar
from causalppl.programs import SCM
from causalppl.queries import Contrast, Query, Term, Value, parse_query
from causalppl.queries.open_values import fill_open_values, label_open_values
from causalppl.queries.terms import HOLDS, Operator
from causalppl.typing import Program

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Verification", "VerificationReport", "verify", "verify_all"]

Array: TypeAlias = NDArray[np.float64]
EXACT = 1e-10


@dataclass(frozen=True, eq=False)
class Verification:
    """A formula's answer beside the program's.

    Attributes:
        query: What was asked.
        estimand: The formula.
        axes: The values that the query leaves open: label to the values compared.
        formula: The formula's answers, an axis for each of these.
        program: The program's answers; NaN where the program excludes what is given.
        tolerance: The largest difference that passes.

    Example:
        >>> from causalppl.graphs import ADMG
        >>> from causalppl.programs.finite import random_finite_model
        >>> scm = random_finite_model(ADMG.parse("X -> Y; Z -> Y"), seed=0).scm()
        >>> print(verify(identify(scm.graph, "P(Y=1 | do(X=1))"), scm))
        P(Y=1 | do(X=1)) = P(Y=1 | X=1)
          agrees with the program: largest difference ... over 1 value
    """

    query: Query | Contrast
    estimand: Estimand
    axes: Mapping[str, tuple[Value, ...]]
    formula: Array
    program: Array
    tolerance: float = EXACT

    @property
    def difference(self) -> float:
        """The largest difference, over the values that the query leaves open."""
        return float(np.nanmax(np.abs(self.formula - self.program)))

    @property
    def passed(self) -> bool:
        """Whether the two agree everywhere."""
        return self.difference <= self.tolerance

    def __bool__(self) -> bool:
        return self.passed

    @property
    def worst(self) -> Mapping[str, Value]:
        """The values at which they differ most."""
        gap = np.nan_to_num(np.abs(self.formula - self.program))
        place = np.unravel_index(int(gap.argmax()), gap.shape)
        return {name: states[i] for (name, states), i in zip(self.axes.items(), place, strict=True)}

    def __str__(self) -> str:
        compared = int(np.isfinite(self.program).sum())
        head = f"{self.query} = {self.estimand}"
        if self.passed:
            return (
                f"{head}\n  agrees with the program: largest difference {self.difference:.1e} over "
                f"{compared} value{'s' if compared != 1 else ''}"
            )
        place = tuple(states.index(self.worst[name]) for name, states in self.axes.items())
        where = ", ".join(f"{name}={value}" for name, value in self.worst.items())
        return (
            f"{head}\n  differs from the program{f' at {where}' if where else ''}: formula "
            f"{self.formula[place]:.6g}, program {self.program[place]:.6g}; the diagram of the "
            "formula is not the program's, or the formula is wrong"
        )

    __repr__ = __str__


@dataclass(frozen=True, eq=False)
class VerificationReport:
    """All queries that were checked, and those that could not be.

    Attributes:
        checks: Query to its verification.
        not_identifiable: Query to the reason.
        not_checked: Query to why the program's law does not settle it (positivity fails).

    Example:
        >>> from causalppl.graphs import bow
        >>> from causalppl.programs.finite import random_finite_model
        >>> report = verify_all(random_finite_model(bow(), seed=0).scm())
        >>> list(report.checks), list(report.not_identifiable)
        (['P(X | do(Y))'], ['P(Y | do(X))'])
    """

    checks: Mapping[str, Verification]
    not_identifiable: Mapping[str, str]
    not_checked: Mapping[str, str]

    @property
    def passed(self) -> bool:
        """Whether every formula agrees with the program."""
        return all(self.checks.values())

    def __bool__(self) -> bool:
        return self.passed

    def summary(self) -> "pd.DataFrame":
        """Return a table: query, verdict, formula, largest difference."""
        import pandas as pd

        rows = [
            {
                "query": query,
                "verdict": "agrees" if check else "differs",
                "formula": str(check.estimand),
                "difference": check.difference,
            }
            for query, check in self.checks.items()
        ]
        others = {"not identifiable": self.not_identifiable, "not checked": self.not_checked}
        for verdict, entries in others.items():
            rows += [
                {"query": query, "verdict": verdict, "formula": "", "difference": np.nan}
                for query in entries
            ]
        columns = ["query", "verdict", "formula", "difference"]
        return pd.DataFrame(rows, columns=columns).set_index("query")

    def __str__(self) -> str:
        failed = [str(check) for check in self.checks.values() if not check]
        worst = max((check.difference for check in self.checks.values()), default=0.0)
        head = (
            f"{len(self.checks) - len(failed)} of {len(self.checks)} formulas agree with the "
            f"program (largest difference {worst:.1e}); {len(self.not_identifiable)} queries are "
            f"not identifiable, {len(self.not_checked)} were not checked"
        )
        return "\n".join([head, *failed])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        html: str = self.summary().to_html()
        return html


def verify(
    estimand: Estimand,
    scm: SCM | Program,
    query: str | Query | Contrast | None = None,
    *,
    domains: Mapping[str, SCM] | None = None,
    policies: Mapping[str, Factor] | None = None,
    tolerance: float | None = None,
) -> Verification:
    """Check a formula against a finite program, exactly.

    The formula is evaluated on the laws that the program gives to data: its observed law, and
    those of the experiments that the formula uses. The program answers by itself: queries in one
    world by its ``do`` handler, by summing over all values of its sites; counterfactuals by exact
    inference in its twin worlds.

    Args:
        estimand: From ``identify``.
        scm: The program, finite.
        query: What the formula is said to answer; None: the estimand's own query.
        domains: Other populations that the formula uses: name to program.
        policies: For a plan: variable to its law, a table over what the plan looks at and the
            variable.
        tolerance: The largest difference that passes. None: 1e-10; 1e-6 for counterfactuals of a
            program that computes in single precision.

    Returns:
        Both answers at all values that the query leaves open; true if they agree.

    Raises:
        ProgramError: The program is not finite.
        AssumptionError: The formula needs what never happens under the program's law.
        QueryError: The query names what the program does not observe.

    Example:
        >>> from causalppl.graphs import front_door
        >>> from causalppl.programs.finite import random_finite_model
        >>> scm = random_finite_model(front_door(), seed=0).scm()
        >>> verify(identify(scm.graph, "P(Y | do(X))"), scm).passed
        True
        >>> from causalppl.graphs import ADMG
        >>> verify(identify(ADMG.parse("X -> Z -> Y"), "P(Y | do(X))"), scm).passed
        False
    """
    model = scm if isinstance(scm, SCM) else SCM(scm)
    return _Checker(model, dict(domains or {}), dict(policies or {}), tolerance).check(
        estimand, query
    )


def verify_all(
    scm: SCM | Program,
    queries: Iterable[str | Query | Contrast] | None = None,
    *,
    tolerance: float | None = None,
    progress: bool | None = None,
) -> VerificationReport:
    """Check the formula of every identifiable query of a finite program.

    Args:
        scm: The program, finite.
        queries: What to check; None: ``P(Y | do(X))`` for all pairs of observed variables.
        tolerance: As for `verify`.
        progress: Show a progress bar; None: at a terminal or in a notebook.

    Returns:
        The checks, and the queries that have no formula; true if all checks pass.

    Raises:
        ProgramError: The program is not finite.

    Example:
        >>> from causalppl.graphs import front_door
        >>> from causalppl.programs.finite import random_finite_model
        >>> verify_all(random_finite_model(front_door(), seed=0).scm())
        6 of 6 formulas agree with the program (largest difference ...); 0 queries are not ...
    """
    model = scm if isinstance(scm, SCM) else SCM(scm)
    if queries is None:
        pairs = itertools.permutations(model.observed, 2)
        queries = [f"P({_quoted(y)} | do({_quoted(x)}))" for x, y in pairs]
    asked = [parse_query(query) if isinstance(query, str) else query for query in queries]
    checker = _Checker(model, {}, {}, tolerance)
    checks: dict[str, Verification] = {}
    refused: dict[str, str] = {}
    skipped: dict[str, str] = {}
    with progress_bar(len(asked), "verifying", progress=is_shown(progress)) as bar:
        for query in asked:
            try:
                checks[str(query)] = checker.check(identify(model.graph, query))
            except NotIdentifiableError as error:
                refused[str(query)] = str(error)
            except (AssumptionError, ImpossibleEvidenceError) as error:
                skipped[str(query)] = str(error)
            bar.update()
    return VerificationReport(checks, refused, skipped)


class _Checker:
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

    def check(
        self, estimand: Estimand, query: str | Query | Contrast | None = None
    ) -> Verification:
        asked = estimand.query if query is None else query
        asked = parse_query(asked) if isinstance(asked, str) else asked
        if unknown := sorted(asked.variables - set(self._states)):
            raise QueryError(
                f"{asked} names {', '.join(unknown)}; the program observes "
                f"{', '.join(self._states)}"
            )
        parts = _parts(asked, self._scm)
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


def _parts(asked: Query | Contrast, scm: SCM) -> tuple[tuple[float, Query], ...]:
    if isinstance(asked, Query) or asked.kind not in ("NDE", "NIE") or asked.mediators:
        return asked.expand()
    between = scm.graph.ancestors(asked.outcome) & scm.graph.children(asked.treatment)
    return asked.expand(sorted(between - {asked.outcome}))


def _quoted(name: str) -> str:
    return name if name.isidentifier() else f'"{name}"'
