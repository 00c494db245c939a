"""Linear programs of one district under a batch of laws: the law itself, then resampled ones.

Between resampled laws only the right side changes. A solution's basis stays optimal for as long as
it gives no negative probability, so one program usually answers many laws.

References:
    Balke and Pearl (1997); Imbens and Manski (2004), on intervals from resampled bounds.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.district_types import DistrictTypes
from causalppl.bounds.resolved_moments import FineTypes
from causalppl.bounds.response_functions import Codes
from causalppl.bounds.response_program import ResponseProgram, Solution, basis_values
from causalppl.bounds.violation import Violation
from causalppl.exceptions import AssumptionError

__all__ = ["DistrictSolver", "agree_on_zeros", "violated_inequality"]

Array: TypeAlias = NDArray[np.float64]
Cost: TypeAlias = Callable[[int], Array]
"""From the number of a law to what each finer type costs."""

_ROUNDING = 1e-7  # what may be left of an equality or an inequality that exact laws meet
_DRAW_PRECISION = 1e-4  # of the ends under a resampled law, whose spread is far larger
_LEAST = -1e-11  # a probability that is zero but for rounding
_FEWEST_DRAWS = 50  # that can show that a law lies too far from every model for chance
_REFUTED = 0.95  # share of resampled laws that fit no model, where the rows refute the diagram
_CHANCE = 0.01  # how often, at most, rows of a model may be said to refute it


class DistrictSolver:
    """The programs of one district.

    Attributes:
        district: The types, their probabilities moved to meet what the diagram implies.
        moved: Numbers of the laws that no model on the diagram has, and that were moved.
        distance: How far the first law was moved.

    Raises:
        AssumptionError: The first law is exact and contradicts the diagram.
    """

    def __init__(
        self, district: DistrictTypes, *, is_exact: bool, unpruned: Callable[[], DistrictTypes]
    ) -> None:
        program, right = district.program, district.right_sides
        if is_exact:
            _check_equalities(district, unpruned)
        self.district = district.with_right_sides(program.consistent(right, district.weights))
        self.moved: set[int] = set()
        self.distance = 0.0
        self._given = self.district.right_sides.copy()
        if program.minimise(np.zeros(len(program)), self.district.right_sides[0]) is None:
            self.distance = self._move(0)
            if is_exact and self.distance > _ROUNDING:
                raise violated_inequality(unpruned())
            if not is_exact:
                self._move_drawn()

    @property
    def right_sides(self) -> Array:
        """Probabilities of the rows, shape ``(batch, rows)``."""
        return self.district.right_sides

    @property
    def is_refuted(self) -> bool:
        """Whether no model on the diagram explains how far the first law lies from all of them.

        Nearly all resampled laws fit no model, and resampled ones of the nearest law that fits are
        hardly ever as far from all models as the first law is. The second is needed as well: where
        many inequalities are met with next to no slack, most laws of rows break one of them.
        """
        laws = self._given
        drawn = laws[1:]
        if 0 not in self.moved or len(drawn) < _FEWEST_DRAWS:
            return False
        if len(self.moved - {0}) < _REFUTED * len(drawn):
            return False
        nearest, distance = self._nearest(laws[:1])
        _, distances = self._nearest(nearest + drawn - drawn.mean(0))
        return bool((distances >= distance).mean() < _CHANCE)

    def smallest(self, fine: FineTypes, cost: Cost, *, varies: bool) -> Array:
        """Find the smallest mean of a cost under each law.

        Args:
            fine: The types that the cost tells apart.
            cost: The cost.
            varies: Whether it differs between laws.

        Returns:
            Shape ``(batch,)``.
        """
        program, batch = self.district.program, len(self.right_sides)
        values, is_open = np.zeros(batch), np.ones(batch, dtype=bool)
        pool: Codes | None = None
        while is_open.any():
            number = int(np.argmax(is_open))
            least = np.minimum.reduceat(cost(number), fine.starts)
            fine_enough = 1e-9 if number == 0 else _DRAW_PRECISION * (1 + np.abs(least).max())

            def solve(rhs: Array, c: Array = least, p: Any = pool, t: float = fine_enough) -> Any:
                return program.minimise(c, rhs, start=p, tolerance=t)

            found = self._solved(number, solve)
            used = np.flatnonzero(found.law > 0)
            pool = used if pool is None else np.union1d(pool, used)
            values[number], is_open[number] = found.value, False
            if number == 0 and is_open.any() and program.is_small:
                self._solve_together(fine, cost, values, is_open, varies=varies)
            elif not varies and is_open.any():
                self._reuse(found, least, values, is_open)
        return values

    def smallest_ratio(self, fine: FineTypes, over: Cost, under: Cost) -> Array:
        """Find the smallest ratio of two mean costs under each law; NaN where there is none."""
        values, known = [], np.empty((0, 2))
        for number in range(len(self.right_sides)):
            pair = np.stack([over(number), under(number)], 1)
            if not np.array_equal(pair, known):
                known = pair
                keys = np.concatenate([fine.origin[:, None], pair.round(12)], 1)
                place = np.unique(keys, axis=0, return_index=True)[1]
                cells = self.district.cells[fine.origin[place]]
                program = ResponseProgram(cells, self.district.program.num_rows)
            a, b = pair[place].T
            found = program.minimise_ratio(a, b, self.right_sides[number])
            if found is None and self._is_infeasible(number):
                self._move(number)
                found = program.minimise_ratio(a, b, self.right_sides[number])
            values.append(np.nan if found is None else found.value)
        return np.array(values)

    def _solve_together(
        self,
        fine: FineTypes,
        cost: Cost,
        values: Array,
        is_open: NDArray[np.bool_],
        *,
        varies: bool,
    ) -> None:
        """Solve the programs of all laws that can be solved at once; move those that fit none."""
        program = self.district.program
        for _ in range(2):
            numbers = np.flatnonzero(is_open)
            asked = numbers if varies else numbers[:1]
            costs = np.stack([np.minimum.reduceat(cost(n), fine.starts) for n in asked])
            found = program.minimise_many(costs, self.right_sides[numbers], self.right_sides[0])
            if found is None:
                return
            values[numbers[found.is_solved]] = found.values[found.is_solved]
            is_open[numbers[found.is_solved]] = False
            lost = numbers[found.is_infeasible]
            if not len(lost):
                return
            nearest, is_found = program.nearest_many(self.right_sides[lost], self.district.weights)
            self.right_sides[lost[is_found]] = nearest[is_found]
            self.moved |= set(lost[is_found].tolist())

    def _reuse(
        self, found: Solution, least: Array, values: Array, is_open: NDArray[np.bool_]
    ) -> None:
        follow = basis_values(self.district.program, found.law)
        if follow is not None:
            waiting = np.flatnonzero(is_open)
            laws = follow(self.right_sides[waiting])
            fits = laws.min(1) >= _LEAST
            values[waiting[fits]] = laws[fits] @ least[found.law > 1e-11]
            is_open[waiting[fits]] = False

    def _solved(self, number: int, solve: Callable[[Array], Solution | None]) -> Solution:
        found = solve(self.right_sides[number])
        if found is None:
            self._move(number)
            found = solve(self.right_sides[number])
        if found is None:
            raise AssumptionError(
                "the nearest law that fits the diagram could not be used; coarsen the variables"
            )
        return found

    def _is_infeasible(self, number: int) -> bool:
        program = self.district.program
        return program.minimise(np.zeros(len(program)), self.right_sides[number]) is None

    def _move_drawn(self) -> None:
        """Move all resampled laws that fit no model, where the first does not."""
        nearest, distances = self._nearest(self._given[1:])
        found = 1 + np.flatnonzero(distances > _ROUNDING)
        self.right_sides[found] = nearest[found - 1]
        self.moved |= set(found.tolist())

    def _nearest(self, laws: Array) -> tuple[Array, Array]:
        """The nearest laws that fit, shaped as those given, and how far each is away."""
        program, weights = self.district.program, self.district.weights
        nearest, is_found = laws.copy(), np.zeros(len(laws), dtype=bool)
        if program.is_small and len(laws):
            nearest, is_found = program.nearest_many(laws, weights)
        for number in np.flatnonzero(~is_found):
            nearest[number] = program.nearest(laws[number], weights)[0]
        return nearest, np.abs(nearest - laws)[:, 1:] @ weights[1:]

    def _move(self, number: int) -> float:
        nearest, _, distance = self.district.program.nearest(
            self.right_sides[number], self.district.weights
        )
        self.right_sides[number] = nearest
        self.moved.add(number)
        return distance / float(self.district.weights[1:].sum() or 1)


def agree_on_zeros(pruned: DistrictTypes, full: DistrictTypes) -> bool:
    """Say whether frequencies of zero may be taken for probabilities of zero.

    They may where leaving out the types that they rule out implies nothing that the laws, moved to
    meet what the diagram implies, do not meet.

    Args:
        pruned: The district without the types that are ruled out.
        full: The district with them.
    """
    if len(pruned.types) == len(full.types):
        return True
    right = full.program.consistent(full.right_sides, full.weights)
    return bool(np.abs(right @ pruned.program.equalities).max(initial=0.0) < _ROUNDING)


def violated_inequality(district: DistrictTypes, besides: str = "") -> AssumptionError:
    """Say which inequality a law violates that every model on the diagram meets.

    Args:
        district: Types with those kept that fall into impossible rows.
        besides: What else was found.

    Returns:
        The error to raise, its ``witness`` a `Violation`.
    """
    program = district.program
    right = program.consistent(district.right_sides[:1], district.weights)[0]
    _, dual, _ = program.nearest(right, np.ones(program.num_rows))
    weight, first = dual.copy(), 1
    weight[0] = 0.0
    for group in district.rows:
        for number in range(len(group.plans)):
            place = first + np.unique(group.rows_of_context(number))
            weight[place] -= weight[place].min()
        first += group.num_rows
    weight /= max(weight.max(), 1e-12)
    most = float((program.matrix.T @ weight).max())
    witness = Violation(_in_words(district, weight), float(weight @ right), most)
    return AssumptionError(
        f"the data contradict the diagram: every model on it has {witness} (an instrumental "
        f"inequality){besides}; expected a law that some model has; drop an assumption, for "
        "instance by adding the bidirected edge that is in doubt",
        witness=witness,
    )


def _in_words(district: DistrictTypes, weight: Array) -> tuple[tuple[str, float], ...]:
    used = np.flatnonzero(np.abs(weight) > 1e-7).tolist()
    return tuple((district.describe(row), float(weight[row])) for row in used)


def _check_equalities(district: DistrictTypes, unpruned: Callable[[], DistrictTypes]) -> None:
    program = district.program
    right = district.right_sides[0]
    gaps = np.abs(right @ program.equalities)
    if gaps.max(initial=0.0) <= _ROUNDING:
        return
    full = unpruned()
    if np.abs(full.right_sides[0] @ full.program.equalities).max(initial=0.0) <= _ROUNDING:
        raise violated_inequality(full)
    weight = program.equalities[:, int(np.argmax(gaps))]
    weight = weight / weight[1:][np.argmax(np.abs(weight[1:]))]
    limit = -float(weight[0])
    weight[0] = 0.0
    witness = Violation(_in_words(district, weight), float(weight @ right), limit, True)
    names = ", ".join(name for name, _ in witness.weights[:4])
    raise AssumptionError(
        f"the data contradict the diagram: an equality that it implies between {names}, ... fails "
        f"by {gaps.max():.3g}; expected exact laws to meet it; give data instead of a law if it "
        "was estimated, or drop an assumption",
        witness=witness,
    )
