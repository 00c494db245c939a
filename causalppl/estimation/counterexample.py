"""Non-identifiability shown: two finite models with equal data and different answers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.estimation.equivalent_models import Domain, Family, Input, Rest
from causalppl.exceptions import (
    FitError,
    GraphError,
    ImpossibleEvidenceError,
    NotIdentifiableError,
    QueryError,
)
from causalppl.graphs import ADMG
from causalppl.identification import Witness
from causalppl.programs.finite import FiniteModel, latent_names
from causalppl.programs.scm import SCM
from causalppl.queries import Contrast, Query, Term
from causalppl.queries.terms import Intervention

__all__ = ["Counterexample", "Input", "Unidentified", "counterexample"]

Array: TypeAlias = NDArray[np.float64]

AGREE = 1e-12
"""Two laws that differ by no more than this in any entry are the same."""

DIFFER = 1e-4
"""Two answers that differ by more than this are different."""

_CLEAR = 0.05  # a difference that needs no improvement
_WORTH = 1e-3  # a difference below this one is improved by another family, if one can
_ROUNDS = 8
_SLOPE = 1e-6  # a derivative below this one is zero


@dataclass(frozen=True)
class Unidentified:
    """A question that data are said not to answer.

    Attributes:
        graph: The diagram over all observed variables.
        query: What is asked, about the target population. Values are states, ``0, 1, ...``.
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
                f"{', '.join(self.graph.nodes)}; check the spelling"
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

    def __str__(self) -> str:
        sources = ", ".join(map(str, self.inputs)) or "no data"
        return f"{self.query} from {sources} on {self.graph}"


@dataclass(frozen=True, eq=False)
class Counterexample:
    """Two models that agree on all that data could show, and differ on the answer.

    Attributes:
        question: What was asked, on which diagram, of which data.
        first: A model of the target population.
        second: Another one.
        sources: Population to both models of it; mechanisms that are not shifted are shared with
            those of the target.

    Example:
        >>> bow = ADMG.parse("X -> Y; X <-> Y")
        >>> pair = counterexample(Unidentified(bow, Query.parse("P(Y | do(X))")), seed=0)
        >>> pair.check(), pair.agreement < 1e-12, pair.difference > 0.01
        (True, True, True)
    """

    question: Unidentified
    first: FiniteModel
    second: FiniteModel
    sources: Mapping[str, tuple[FiniteModel, FiniteModel]] = field(default_factory=dict)

    @property
    def query(self) -> Query | Contrast:
        """What was asked."""
        return self.question.query

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What data could show."""
        return self.question.inputs

    @cached_property
    def answers(self) -> tuple[Array, Array]:
        """The exact answers of both, with an axis for each of the query's open terms."""
        return self.first.answer(self.query).values, self.second.answer(self.query).values

    @cached_property
    def cell(self) -> Mapping[str, int]:
        """The values of the open terms at which the answers differ most."""
        gap = np.abs(self.answers[0] - self.answers[1])
        place = np.unravel_index(int(gap.argmax()), gap.shape)
        names = self.first.answer(self.query).names
        return dict(zip(names, map(int, place), strict=True))

    @property
    def target_values(self) -> tuple[float, float]:
        """Both answers, at `cell`."""
        place = tuple(self.cell.values())
        return float(self.answers[0][place]), float(self.answers[1][place])

    @property
    def difference(self) -> float:
        """The largest difference between the answers."""
        return float(np.abs(self.answers[0] - self.answers[1]).max())

    @cached_property
    def agreement(self) -> float:
        """The largest difference between the laws that data could show."""
        gaps = [0.0]
        for given in self.inputs:
            laws = [m.law(dict.fromkeys(sorted(given.do))) for m in self.models(given.domain)]
            gaps.append(float((laws[0].values - laws[1].values).abs().max()))
        return max(gaps)

    @property
    def programs(self) -> tuple[SCM, SCM]:
        """Both models of the target population as Pyro programs."""
        return self.first.scm(), self.second.scm()

    def models(self, domain: str | None = None) -> tuple[FiniteModel, FiniteModel]:
        """Return both models of a population; None is the target."""
        return (self.first, self.second) if domain is None else self.sources[domain]

    def check(self) -> bool:
        """Compute everything anew: the diagram, the data's laws, what populations share, answers.

        Returns:
            Whether the pair proves that the query is not identifiable from the inputs.
        """
        return (
            self.agreement <= AGREE
            and self.difference > DIFFER
            and all(m.graph == self.question.graph for m in (self.first, self.second))
            and all(map(self._is_shared, self.inputs))
        )

    def summary(self) -> str:
        """Say what agrees and what differs.

        Example:
            >>> bow = ADMG.parse("X -> Y; X <-> Y")
            >>> spec = Unidentified(bow, Query.parse("P(Y=1 | do(X=1))"))
            >>> print(counterexample(spec, seed=0).summary().splitlines()[0])
            Two models on X -> Y; X <-> Y
        """
        first, second = self.target_values
        where = ", ".join(f"{name}={value}" for name, value in self.cell.items())
        shown = f"{self.query} at {where}" if where else str(self.query)
        sources = "; ".join(map(str, self.inputs)) or "nothing"
        return (
            f"Two models on {self.question.graph}\n"
            f"  agree on {sources} (largest difference {self.agreement:.1g})\n"
            f"  differ on {shown}: {first:.4f} and {second:.4f}"
        )

    def __str__(self) -> str:
        return self.summary()

    def _is_shared(self, given: Input) -> bool:
        """Whether the models of a population have the target's mechanisms where they should."""
        for target, source in zip(self.models(), self.models(given.domain), strict=True):
            same = all(
                np.array_equal(target.tables[name], source.tables[name])
                for name in target.graph.nodes
                if name not in given.shifted
            ) and all(
                np.array_equal(u.prior, source.latents[name].prior)
                for name, u in target.latents.items()
                if not given.shifted.issuperset(u.children)
            )
            if not same or source.graph != target.graph:
                return False
        return True


def counterexample(
    question: Unidentified | NotIdentifiableError, *, seed: int | None = 0
) -> Counterexample:
    """Build two finite models that agree on the inputs and differ on the query.

    At a random model, the directions in which no input changes are the null space of the inputs'
    Jacobian. If the answer changes along one of them, a step there and Gauss-Newton steps back
    give a second model with the same inputs and another answer. More states of treatments and
    latents are tried in turn: with two treatments' values, data identify more than with three.

    Args:
        question: The error that ``identify`` raised; or the query, the diagram and what data
            could show.
        seed: Seed of the random models.

    Returns:
        The two models; ``check()`` confirms them by exact computation.

    Raises:
        FitError: None was found, as is always the case when the query is identifiable.
        QueryError: A value in the query is not a state ``0, 1, ...``.

    References:
        Shpitser and Pearl (2006), Identification of joint interventional distributions, theorem 4,
        for the existence of such pairs where there is a hedge.

    Example:
        >>> graph = ADMG.parse("X -> Y; X <-> Z -> Y; Z <-> Y")
        >>> print(counterexample(Unidentified(graph, Query.parse("P(Y=1 | do(X=0))"))).check())
        True
    """
    if isinstance(question, NotIdentifiableError):
        planned = getattr(question.hedge, "planned", ())
        question = Unidentified.from_error(question)
        if planned:
            raise QueryError(
                f"{question.query} is under a plan for {', '.join(planned)}; models are sought for "
                "values that are set, not for plans: ask for the c-factor of the witness, "
                "counterexample(replace(Unidentified.from_error(error), query=...))"
            )
    rng = np.random.default_rng(seed)
    best: Counterexample | None = None
    tried = 0
    for family in _families(question):
        tried += 1
        found = _Walk(family, question.query, rng).best()
        if found is None:
            continue
        pair = _lifted(question, family, found, rng)
        if pair.check() and (best is None or pair.difference > best.difference):
            best = pair
        if best is not None and best.difference > _WORTH:
            break
    if best is None:
        raise FitError(
            f"no counterexample found to the identifiability of {question} in {tried} families of "
            "models; expected one if the query is not identifiable; check that it is not, or try "
            "another seed"
        )
    return best


class _Walk:
    """A walk from a random model through those with the same inputs, to change the answer."""

    def __init__(self, family: Family, query: Query | Contrast, rng: np.random.Generator) -> None:
        self._family = family
        self._query = query
        self._rng = rng
        self._start = rng.uniform(-2.0, 2.0, family.size)
        self._laws = family.laws(self._start)

    def best(self) -> tuple[Array, Array] | None:
        """Return the logits of two models, or None where the answer does not change."""
        try:
            return self._walked()
        except ImpossibleEvidenceError:
            return None

    def _walked(self) -> tuple[Array, Array] | None:
        start, here, gap = self._answer(self._start), self._start, 0.0
        for _ in range(_ROUNDS):
            direction = self._direction(here, start)
            moved = None if direction is None else self._stepped(here, direction, start, gap)
            if moved is None:
                break
            here = moved
            gap = float(np.abs(self._answer(here) - start).max())
            if gap > _CLEAR:
                break
        return None if gap <= DIFFER else (self._start, here)

    def _stepped(self, here: Array, direction: Array, start: Array, gap: float) -> Array | None:
        """Step along a direction as far as there are models, if the answers' gap grows."""
        for size in (2.0, 1.0, 0.5, 0.25):
            moved = self._family.project(here + size * direction, self._laws)
            if moved is not None and np.abs(self._answer(moved) - start).max() > gap * 1.05:
                return moved
        return None

    def _direction(self, here: Array, start: Array) -> Array | None:
        """The direction of free ones in which the answer changes most, away from the start."""
        free = self._family.free_directions(here, 24, self._rng)
        if not free.size:
            return None
        h = 1e-4
        slopes = np.stack(
            [(self._answer(here + h * d) - self._answer(here - h * d)) / (2 * h) for d in free.T], 1
        )
        _, sizes, weights = np.linalg.svd(slopes, full_matrices=False)
        if sizes[0] < _SLOPE:
            return None
        change = slopes @ weights[0]
        direction = free @ weights[0] * np.sign(change @ (self._answer(here) - start) or 1.0)
        return np.asarray(direction / np.abs(direction).max())

    def _answer(self, logits: Array) -> Array:
        return self._family.models(logits)[None].answer(self._query).values.reshape(-1)


def _families(question: Unidentified) -> Iterator[Family]:
    """Families of models to try, the simplest first."""
    graph = question.graph
    relevant = graph.in_order(graph.ancestors(question.query.variables))
    part = graph.subgraph(relevant)
    noise = 2 if question.query.rung == 3 else 1
    least = _least_states(question.query)
    ladder = [(2, 2, noise), (2, 2, noise), (3, 2, noise), (2, 3, noise), (3, 3, noise + 1)]
    for treatment, latent, private in ladder:
        states = {
            name: max(least.get(name, 2), treatment if name in _set_variables(question) else 2)
            for name in part.nodes
        }
        yield Family(
            part, question.inputs, states=states, latent_states=latent, noise_states=private
        )


def _set_variables(question: Unidentified) -> frozenset[str]:
    """The variables that the query or an input sets."""
    found = frozenset().union(*(given.do for given in question.inputs))
    for query in _queries(question.query):
        for event in (*query.worlds.outcomes, *query.worlds.given):
            found |= {i.name for i in _interventions(event.term)}
    return found


def _least_states(query: Query | Contrast) -> dict[str, int]:
    """The number of states that the query's values need."""
    least: dict[str, int] = {}
    for part in _queries(query):
        for event in (*part.worlds.outcomes, *part.worlds.given):
            pairs = [(i.name, i.value) for i in _interventions(event.term)]
            pairs += [(event.name, event.value)] if event.op == "=" else []
            for name, value in pairs:
                if isinstance(value, int) and value >= 0:
                    least[name] = max(least.get(name, 2), int(value) + 1)
    return least


def _queries(query: Query | Contrast) -> list[Query]:
    if isinstance(query, Query):
        return [query]
    needs_mediators = query.kind in ("NDE", "NIE") and not query.mediators
    return [] if needs_mediators else [part for _, part in query.expand()]


def _interventions(term: Term) -> Iterator[Intervention]:
    for intervention in term.interventions:
        if isinstance(intervention.value, Term):
            yield from _interventions(intervention.value)
        else:
            yield intervention


def _lifted(
    question: Unidentified,
    family: Family,
    pair: Sequence[Array],
    rng: np.random.Generator,
) -> Counterexample:
    """Add the variables that are no ancestors of the query's, the same in both models."""
    solved = [family.models(logits) for logits in pair]
    graph = question.graph
    if len(family.graph) < len(graph):
        noise = 2 if any(len(c) == 1 for c, _ in family.latents.values()) else 1
        rest = Rest(graph, family, latent_names(graph, 2, noise), rng)
        solved = [{d: rest.added_to(m, family.shifted[d]) for d, m in s.items()} for s in solved]
    first, second = solved
    sources = {d: (first[d], second[d]) for d in first if d is not None}
    return Counterexample(question, first[None], second[None], sources)
