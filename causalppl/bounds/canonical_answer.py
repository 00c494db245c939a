"""The ends of a question over all models on a diagram that agree with the sources."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.c_factor_rows import Law
from causalppl.bounds.counterfactual_moments import Question
from causalppl.bounds.district_solver import DistrictSolver, agree_on_zeros, violated_inequality
from causalppl.bounds.district_types import DistrictTypes, NoTypesError, district_types
from causalppl.bounds.objective import Objective
from causalppl.bounds.polynomial import PolynomialProgram
from causalppl.bounds.resolved_moments import FineTypes
from causalppl.bounds.source_laws import part_over
from causalppl.exceptions import AssumptionError, ImpossibleEvidenceError
from causalppl.graphs import ADMG
from causalppl.queries import Value

__all__ = ["CanonicalModel", "Ends"]

Array: TypeAlias = NDArray[np.float64]
District: TypeAlias = frozenset[str]
_RESIDUE = 1e-12
_SMALL = 1e-7  # the precision to which independences are solved for, see `BilinearProgram`


class Ends(NamedTuple):
    """Both ends of an answer.

    Attributes:
        lower: Shape ``(batch,)``.
        upper: Likewise.
        is_sharp: Whether they are known to be sharp.
        slack: How far they may lie outside the sharp ones.
    """

    lower: Array
    upper: Array
    is_sharp: bool
    slack: float = 0.0


@dataclass(eq=False)
class CanonicalModel:
    """All models on a diagram that agree with some sources.

    Attributes:
        graph: The diagram.
        states: Variable to its values.
        laws: The sources.
        monotone: Pairs of parent and child without defiers.
        most: The most types of a district.
        is_exact: Whether all laws are exact.
        is_cut: Whether part of a source could not be used.
        is_joined: Whether a clique of bidirected edges stands for several latents.
        is_thinned: Whether variables were left out.
        is_loosened: Whether independences of responses were left out.
        is_unseen: Whether what is given never occurred in the rows.
        solvers: District to its programs, made when they are needed.
    """

    graph: ADMG
    states: Mapping[str, tuple[Value, ...]]
    laws: tuple[Law, ...]
    monotone: tuple[tuple[str, str], ...]
    most: int
    is_exact: bool
    is_cut: bool
    is_joined: bool = False
    is_thinned: bool = False
    is_loosened: bool = False
    is_unseen: bool = False
    solvers: dict[District, DistrictSolver] = field(default_factory=dict)

    @property
    def batch(self) -> int:
        """How many laws of each source there are."""
        return len(self.laws[0].values)

    @property
    def is_sharp(self) -> bool:
        """Whether nothing was left out that the sources or the diagram say."""
        districts = [solver.district for solver in self.solvers.values()]
        is_whole = not (self.is_cut or self.is_joined or self.is_thinned or self.is_loosened)
        return is_whole and all(district.is_exact for district in districts)

    @property
    def is_moved(self) -> bool:
        """Whether the frequencies of rows fit no model, and the nearest law was used."""
        return not self.is_exact and any(0 in solver.moved for solver in self.solvers.values())

    @property
    def moved_share(self) -> float:
        """The share of the resampled laws that fit no model."""
        moved = {number for solver in self.solvers.values() for number in solver.moved}
        return len(moved - {0}) / max(self.batch - 1, 1)

    def check_fit(self) -> None:
        """Refuse rows that refute the diagram, after the ends were found.

        Raises:
            AssumptionError: They do; its ``witness`` is the `Violation`.
        """
        for district, solver in self.solvers.items():
            if not self.is_exact and solver.is_refuted:
                share = len(solver.moved - {0}) / (self.batch - 1)
                raise violated_inequality(
                    self._types(district, keep_impossible=True),
                    f", and {share:.0%} of {self.batch - 1} resampled laws fit no model either",
                )

    def thinned(self, needed: frozenset[str]) -> "CanonicalModel":
        """Return the model of the causes of some variables alone."""
        kept = self.graph.ancestors(needed)
        return replace(
            self,
            graph=self.graph.subgraph(kept),
            states={name: self.states[name] for name in self.graph.in_order(kept)},
            laws=tuple(part_over(law, kept) for law in self.laws),
            monotone=tuple(pair for pair in self.monotone if kept.issuperset(pair)),
            is_thinned=True,
            solvers={},
        )

    def ends(self, question: Question, *, time_limit: float, gap: float) -> Ends:
        """Bound a question.

        Args:
            question: What is asked.
            time_limit: Seconds for branch and bound, for each end.
            gap: Its precision.

        Raises:
            AssumptionError: The sources contradict the diagram, or there are too many types.
            ImpossibleEvidenceError: What is given has probability zero in every model.
        """
        fine = self._fine(question)
        over = Objective.of(question.over, fine, self.batch)
        given = () if question.under is None else ((1.0, question.under),)
        under = Objective.of(given, fine, self.batch)
        if not given:
            under = replace(under, constant=np.ones(self.batch))
        if under.is_constant and under.constant[0] <= _RESIDUE:
            if not self.is_exact:
                return self._unknown(question)
            raise ImpossibleEvidenceError(
                "what is given has probability zero in the sources; expected a positive "
                "probability; change the given part"
            )
        if self._is_polynomial(over, under):
            return self._searched(question, over, under, fine, time_limit, gap)
        if under.is_constant:
            low = self._smallest(over, fine) / under.constant
            high = -self._smallest(over.negative(), fine) / under.constant
        else:
            low = self._smallest_ratio(over, under, fine)
            high = -self._smallest_ratio(over.negative(), under, fine)
            if np.isnan(low[0]):
                return self._unknown(question)
            low, high = (
                np.where(np.isnan(end), all_, end)
                for end, all_ in zip((low, high), question.span, strict=True)
            )
        return Ends(low, high, True)

    def _unknown(self, question: Question) -> Ends:
        """The ends where what is given never occurred in the rows: all that is possible."""
        self.is_unseen = True
        low, high = question.span
        return Ends(np.full(self.batch, low), np.full(self.batch, high), False)

    def _searched(
        self,
        question: Question,
        over: Objective,
        under: Objective,
        fine: Mapping[District, FineTypes],
        time_limit: float,
        gap: float,
    ) -> Ends:
        program = PolynomialProgram.of(over, under, fine)
        found = program.ends(self.batch, question.span, time_limit=time_limit, gap=gap)
        if found is not None:
            return Ends(*found)
        if self.is_exact and not self._is_extreme:
            raise AssumptionError(
                "the data contradict the diagram: no responses that are independent where no "
                "bidirected edge joins them have this law; add the edge that is in doubt"
            )
        self.is_loosened = True
        loose = {
            district: replace(types, base=replace(types.base, independences=()))
            for district, types in fine.items()
        }
        program = PolynomialProgram.of(over, under, loose)
        found = program.ends(self.batch, question.span, time_limit=time_limit, gap=gap)
        assert found is not None  # each district's law agrees with its rows
        return Ends(*found)

    @property
    def _is_extreme(self) -> bool:
        """Whether a law has probabilities so small that rounding may make it seem impossible."""
        return any(bool(((law.values > 0) & (law.values < _SMALL)).any()) for law in self.laws)

    def _is_polynomial(self, over: Objective, under: Objective) -> bool:
        left = {*over.linear, *under.linear}
        return bool(over.products or under.products) or any(
            self.solvers[district].district.independences for district in left
        )

    def _smallest(self, over: Objective, fine: Mapping[District, FineTypes]) -> Array:
        total = over.constant.copy()
        for district in over.linear:
            total += self.solvers[district].smallest(
                fine[district], partial(over.cost, district), varies=over.varies(district)
            )
        return total

    def _smallest_ratio(
        self, over: Objective, under: Objective, fine: Mapping[District, FineTypes]
    ) -> Array:
        # the given part is of one district; numerators of the others are bounded by themselves
        (district,) = under.linear
        others = {d: parts for d, parts in over.linear.items() if d != district}
        rest = self._smallest(Objective(over.constant, others, ()), fine)
        count = len(fine[district].types)

        def cost(number: int) -> Array:
            own = over.cost(district, number) if district in over.linear else np.zeros(count)
            return own + rest[number]

        found = self.solvers[district].smallest_ratio(
            fine[district], cost, lambda number: under.cost(district, number)
        )
        if self.is_exact and np.isnan(found).any():
            raise ImpossibleEvidenceError(
                "what is given has probability zero in every model that agrees with the sources; "
                "expected a positive probability; change the given part"
            )
        return found

    def _fine(self, question: Question) -> dict[District, FineTypes]:
        plans: dict[District, list[Any]] = {}
        for moment in question.moments:
            for district in moment.parts:
                plans.setdefault(district, []).extend(moment.plans(district))
        found = {}
        for district, needed in plans.items():
            base = self._solver(district).district
            types, origin = base.split(list(dict.fromkeys(needed)), self.most)
            found[district] = FineTypes(base, types, origin)
        return found

    def _solver(self, district: District) -> DistrictSolver:
        if district not in self.solvers:
            self.solvers[district] = self._new_solver(district)
        return self.solvers[district]

    def _new_solver(self, district: District) -> DistrictSolver:
        def unpruned() -> DistrictTypes:
            return self._types(district, keep_impossible=True)

        try:
            types = self._types(district)
        except NoTypesError:
            if self.is_exact:
                raise violated_inequality(unpruned()) from None
            return DistrictSolver(unpruned(), is_exact=False, unpruned=unpruned)
        if self.is_exact or agree_on_zeros(types, unpruned()):
            solver = DistrictSolver(types, is_exact=self.is_exact, unpruned=unpruned)
            if self.is_exact or not solver.moved:
                return solver
        return DistrictSolver(unpruned(), is_exact=False, unpruned=unpruned)

    def _types(self, district: District, *, keep_impossible: bool = False) -> DistrictTypes:
        return district_types(
            self.graph,
            self.laws,
            district,
            self.states,
            monotone=self.monotone,
            most=self.most,
            keep_impossible=keep_impossible,
        )

    def notes(self) -> tuple[str, ...]:
        """What the reader should know."""
        found = []
        if self.is_moved:
            distance = max(solver.distance for solver in self.solvers.values())
            found.append(
                "the frequencies fit no model on the diagram; the nearest that do were used, "
                f"{distance:.2g} away on average"
            )
        if share := self.moved_share:
            told = f"{share:.0%}" if share >= 0.01 else "less than 1%"
            found.append(
                f"{told} of the resampled laws fit no model; the nearest that do were used"
            )
        if self.is_unseen:
            found.append("what is given never occurred in the rows, which say nothing of it")
        if self.is_cut:
            found.append("a source lacks a cause of what it observes, and was used in part")
        if self.is_joined:
            found.append(
                "several unobserved variables of the diagram were taken for a single one, which "
                "allows more than the diagram does"
            )
        if self.is_thinned:
            found.append("variables that cause nothing in the query were left out, to save time")
        if self.is_loosened and self.is_exact:
            found.append(
                "probabilities below 1e-7 could not be told from a contradiction; the bounds do "
                "without the independences where no bidirected edge joins responses"
            )
        elif self.is_loosened:
            found.append(
                "the frequencies fit no responses that are independent where no bidirected edge "
                "joins them, and were used without these independences"
            )
        if any(not solver.district.is_exact for solver in self.solvers.values()):
            found.append(
                "a district whose latents overlap in a chain or a ring implies more than the "
                "independences that were used"
            )
        return tuple(found)

    def diagnostics(self) -> dict[str, Any]:
        """Numbers about the computation."""
        return {
            f"types of {', '.join(solver.district.members)}": len(solver.district.types)
            for solver in self.solvers.values()
        } | {"moved": sorted({n for solver in self.solvers.values() for n in solver.moved})}
