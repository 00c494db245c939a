"""Non-identifiability shown: two finite models with equal data and different answers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.estimation.equivalent_models import Domain, Family, Input
from causalppl.estimation.minimal_question import (
    Unidentified,
    coded,
    compact,
    lifted,
    mechanisms_of_witness,
    minimal_question,
    relevant,
    states_needed,
)
from causalppl.exceptions import (
    FitError,
    ImpossibleEvidenceError,
    NotIdentifiableError,
    QueryError,
)
from causalppl.programs.finite import FiniteModel, random_law
from causalppl.programs.scm import SCM
from causalppl.queries import Contrast, Query
from causalppl.seeding import checked_seed

__all__ = ["Counterexample", "Input", "Unidentified", "counterexample"]

Array: TypeAlias = NDArray[np.float64]

AGREE = 1e-12
"""Two laws that differ by no more than this in any entry are the same."""

DIFFER = 1e-4
"""Two answers that differ by more than this are different."""

_CLEAR = 0.05  # a difference that needs no improvement
_WORTH = 0.01  # a difference below this one is improved by another family, if one can
_ROUNDS = 8
_SLOPE = 1e-6  # a derivative below this one is zero
_MOST_WORK = 2e9  # multiplications in one least-squares step of a walk: a few seconds
_LITTLE_WORK = 1e5  # below this, all mechanisms of the diagram may differ between the models
_MOST_CAUSES = 60  # a table has an axis for each, and arrays have at most 64
_MOST_ENTRIES = 1 << 22  # of the law of all variables, which the check computes


@dataclass(frozen=True, eq=False)
class Counterexample:
    """Two models that agree on all that data could show, and differ on the answer.

    Attributes:
        question: What was asked, on which diagram, of which data.
        first: A model of the target population.
        second: Another one.
        sources: Population to both models of it; mechanisms that are not shifted are shared with
            those of the target.
        codes: Variable to the texts that the question had for it: that of state 0, of state 1, ...
            The question of the pair has the states instead.

    Example:
        >>> from causalppl.graphs import bow
        >>> pair = counterexample(Unidentified(bow(), Query.parse("P(Y | do(X))")), seed=0)
        >>> pair.check(), pair.agreement < 1e-12, pair.difference > 0.01
        (True, True, True)
    """

    question: Unidentified
    first: FiniteModel
    second: FiniteModel
    sources: Mapping[str, tuple[FiniteModel, FiniteModel]] = field(default_factory=dict)
    codes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

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
        first, second = self._compact(None)
        return first.answer(self.query).values, second.answer(self.query).values

    @cached_property
    def cell(self) -> Mapping[str, int]:
        """The values of the open terms at which the answers differ most."""
        gap = np.abs(self.answers[0] - self.answers[1])
        place = np.unravel_index(int(gap.argmax()), gap.shape)
        names = self._compact(None)[0].answer(self.query).names
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
            models = self._compact(given.domain)
            laws = [m.law(dict.fromkeys(m.graph.in_order(given.do))) for m in models]
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
            >>> from causalppl.graphs import bow
            >>> spec = Unidentified(bow(), Query.parse("P(Y=1 | do(X=1))"))
            >>> print(counterexample(spec, seed=0).summary().splitlines()[0])
            Two models on X -> Y; X <-> Y
        """
        first, second = self.target_values
        where = ", ".join(f"{name}={value}" for name, value in self.cell.items())
        shown = f"{self.query} at {where}" if where else str(self.query)
        sources = "; ".join(map(str, self.inputs)) or "nothing"
        lines = [
            f"Two models on {self.question.graph}",
            f"  agree on {sources} (largest difference {self.agreement:.1g})",
            f"  differ on {shown}: {first:.4f} and {second:.4f}",
        ]
        for name, texts in self.codes.items():
            states = ", ".join(f"{code} is {text!r}" for code, text in enumerate(texts))
            lines.append(f"  states of {name}: {states}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.summary()

    def _compact(self, domain: Domain) -> tuple[FiniteModel, FiniteModel]:
        """Both models of a population without their constants, which add axes and nothing else."""
        named = self.query.variables.union(*(given.do for given in self.inputs))
        first, second = (compact(model, named) for model in self.models(domain))
        return first, second

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

    On a large diagram, or where the difference is small otherwise, the pair is sought on the
    smallest part on which the query still has no formula, and there only in the mechanisms that the
    witness is about; other variables have one state, and other edges are not heeded.

    At a random model, the directions in which no input changes are the null space of the inputs'
    Jacobian. If the answer changes along one of them, a step there and Gauss-Newton steps back
    give a second model with the same inputs and another answer. More states of treatments and
    latents are tried in turn: with two treatments' values, data identify more than with three.

    Args:
        question: The error that ``identify`` raised; or the query, the diagram and what data
            could show. Texts in the query become states, see `Counterexample.codes`.
        seed: Seed of the random models.

    Returns:
        The two models; ``check()`` confirms them by exact computation.

    Raises:
        FitError: None was found, as is always the case when the query is identifiable; or the
            diagram was too large to search.
        QueryError: The question is something else, or a value in the query is neither a text nor
            a state ``0, 1, ...``.

    References:
        Shpitser and Pearl (2006), Identification of joint interventional distributions, theorem 4,
        for the existence of such pairs where there is a hedge.

    Example:
        >>> from causalppl.graphs import ADMG
        >>> graph = ADMG.parse("X -> Y; X <-> Z -> Y; Z <-> Y")
        >>> print(counterexample(Unidentified(graph, Query.parse("P(Y=1 | do(X=0))"))).check())
        True
    """
    asked = _read(question)
    query, codes = coded(asked.query)
    asked = replace(asked, query=query)
    _refuse_wide(asked)
    small = minimal_question(asked)
    rng = np.random.default_rng(checked_seed(seed))
    best: Counterexample | None = None
    tried = skipped = 0
    for ground in _grounds(asked, small, rng):
        if ground.work > _MOST_WORK:
            skipped += 1
            continue
        tried += 1
        found = _Walk(ground.family, ground.answer, rng).best()
        if found is None:
            continue
        pair = replace(_lifted(asked, ground, found), codes=codes)
        if pair.check() and (best is None or pair.difference > best.difference):
            best = pair
        if best is not None and best.difference > _WORTH:
            break
    if best is None:
        raise FitError(_failure(asked, small, tried, skipped))
    return best


def _read(question: Unidentified | NotIdentifiableError) -> Unidentified:
    if isinstance(question, Unidentified):
        return question
    if not isinstance(question, NotIdentifiableError):
        raise QueryError(
            f"the question is {question!r}; expected the error that identify raised, or "
            "Unidentified(graph, query), with the query parsed"
        )
    planned = getattr(question.hedge, "planned", ())
    asked = Unidentified.from_error(question)
    if planned:
        raise QueryError(
            f"{asked.query} is under a plan for {', '.join(planned)}; models are sought for "
            "values that are set, not for plans: ask for the c-factor of the witness, "
            "counterexample(replace(Unidentified.from_error(error), query=...))"
        )
    return asked


def _refuse_wide(asked: Unidentified) -> None:
    graph = asked.graph
    for name in graph.nodes:
        causes = len(graph.parents(name)) + len(graph.siblings(name))
        if causes > _MOST_CAUSES:
            raise FitError(
                f"{name} has {causes} causes, latent ones included, too many for a table; expected "
                f"at most {_MOST_CAUSES}; ask on a diagram without those that do not matter"
            )


def _failure(asked: Unidentified, small: Unidentified, tried: int, skipped: int) -> str:
    count = len(small.graph)
    if not tried:
        return (
            f"no counterexample was sought to the identifiability of {asked}: the smallest diagram "
            f"found for it, {small.graph}, has {count} variables, too many to search; expected "
            "fewer, or less dense causes of those that the witness names; take a marginal question"
        )
    more = f", {skipped} more were too large" if skipped else ""
    return (
        f"no counterexample found to the identifiability of {asked} in {tried} families of models; "
        f"searched was {small.graph}, with {count} variables{more}; expected one if the query is "
        "not identifiable, but long chains of <-> can hide it: check identify, or try another seed"
    )


class _Walk:
    """A walk from a random model through those with the same inputs, to change the answer."""

    def __init__(
        self, family: Family, answer: Callable[[Array], Array], rng: np.random.Generator
    ) -> None:
        self._family = family
        self._answer = answer
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


class _Ground:
    """Where one walk takes place: a family of some mechanisms, the others held fixed around it.

    The law of a study is the product of its districts' c-factors. So models with the same
    mechanisms outside some districts agree on a study if they do where the causes of these
    districts are set.
    """

    def __init__(
        self,
        question: Unidentified,
        active: frozenset[str],
        size: "_Size",
        rng: np.random.Generator,
    ) -> None:
        graph = question.graph
        self.query = question.query
        self._graph, self._active = graph, active
        causes = graph.parents(active) - active
        states = states_needed(question, size.treatment)
        inputs = [replace(i, do=i.do & active | causes) for i in question.on(graph).inputs]
        self.family = Family(
            graph.subgraph(active | causes).remove_incoming(causes),
            [replace(i, shifted=i.shifted & active) for i in dict.fromkeys(inputs)],
            states=states,
            latent_states=size.latent,
            noise_states=size.noise,
        )
        self._states, self._rng = states, rng

    @cached_property
    def _fixed(self) -> dict[str, Array]:
        parents = {n: self._graph.in_order(self._graph.parents(n)) for n in self._graph.nodes}
        return {
            name: _noisy_copy([self._states[p] for p in parents[name]], count, self._rng)
            for name, count in self._states.items()
            if name not in self._active
        }

    @property
    def work(self) -> float:
        """Multiplications in a step of a walk; infinite if the check of its end is out of reach."""
        if np.prod([float(count) for count in self._states.values()]) > _MOST_ENTRIES:
            return np.inf
        family = self.family
        rows = len(family.inputs) * np.prod([float(family.states[n]) for n in family.graph.nodes])
        return float(rows * family.size**2)

    def models(self, logits: Array) -> dict[Domain, FiniteModel]:
        """Return the model of each population, on the question's diagram."""
        return {domain: self._around(m) for domain, m in self.family.models(logits).items()}

    def answer(self, logits: Array) -> Array:
        """The answer in the target population, as one row."""
        return self.models(logits)[None].answer(self.query).values.reshape(-1)

    def _around(self, model: FiniteModel) -> FiniteModel:
        tables = {name: model.tables[name] for name in self._active} | self._fixed
        inner = {n: u for n, u in model.latents.items() if self._active.issuperset(u.children)}
        return FiniteModel(self._graph, tables, inner)


@dataclass(frozen=True)
class _Size:
    """Numbers of states: of variables that are set, of latents, of private latents."""

    treatment: int
    latent: int
    noise: int


def _grounds(
    asked: Unidentified, small: Unidentified, rng: np.random.Generator
) -> Iterator[_Ground]:
    """Grounds to walk on: all that matters if that is little, the witness's part, the small rest.

    The simplest numbers of states come first.
    """
    noise = 2 if asked.query.rung == 3 else 1
    ladder = [(2, 2, noise), (2, 2, noise), (3, 2, noise), (2, 3, noise), (3, 3, noise + 1)]
    sizes = [_Size(*states) for states in ladder]
    matters = relevant(asked)
    if matters.graph != small.graph:
        nodes = frozenset(matters.graph.nodes)
        grounds = [_Ground(matters, nodes, size, rng) for size in sizes[:2]]
        yield from (ground for ground in grounds if ground.work <= _LITTLE_WORK)
    for active in dict.fromkeys((mechanisms_of_witness(small), frozenset(small.graph.nodes))):
        yield from (_Ground(small, active, size, rng) for size in sizes)


def _noisy_copy(causes: Sequence[int], count: int, rng: np.random.Generator) -> Array:
    """A mechanism that passes on what it hears, so that a difference survives a long chain."""
    drawn = random_law(rng, (*causes, count), 0.5)
    if len(causes) != 1:
        return drawn
    return 0.9 * np.eye(count)[np.arange(causes[0]) % count] + 0.1 * drawn


def _lifted(question: Unidentified, ground: _Ground, pair: Sequence[Array]) -> Counterexample:
    """Move both models to the whole diagram."""
    first, second = (
        {d: lifted(m, question.graph) for d, m in ground.models(logits).items()} for logits in pair
    )
    sources = {d: (first[d], second[d]) for d in first if d is not None}
    return Counterexample(question, first[None], second[None], sources)
