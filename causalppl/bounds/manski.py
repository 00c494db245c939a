"""Bounds without assumptions: what is not seen of a unit could have been anything."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.method import BoundProblem
from causalppl.bounds.question import list_parts
from causalppl.bounds.row_method import Outcome, RowMethod, allows_every_response, whole_span
from causalppl.bounds.rows import Rows
from causalppl.estimation.settings import check_count
from causalppl.queries import Event

__all__ = ["NoAssumptions"]

Array: TypeAlias = NDArray[np.float64]
CONSISTENCY = (
    "a unit's outcome under the treatment that it had is the one that was seen (consistency)"
)
RANGE = "the outcome lies between {:g} and {:g} in every world"


@dataclass(frozen=True)
class NoAssumptions(RowMethod):
    """Bounds that rest on consistency alone.

    A unit shows its outcome in the world that it lives in; in all others, that outcome could have
    been anything in its range. This bounds every query with a range: expectations, probabilities
    of events, also of joint ones in several worlds (PN, PS, PNS), within strata, and for units
    with a given treatment (ETT, ATC). Of the diagram only this is used, which variables an
    intervention can reach.

    Attributes:
        num_draws: Draws of the ends for their sampling error, where there are data.

    Raises:
        DataError: A setting is out of range.

    References:
        Manski (1990), Nonparametric bounds on treatment effects; Tian and Pearl (2000),
        Probabilities of causation: bounds and identification, for PN, PS and PNS.

    Example:
        >>> from causalppl.bounds.method import OBSERVED
        >>> from causalppl.data import Table
        >>> from causalppl.graphs import ADMG
        >>> from causalppl.queries import Contrast
        >>> rows = Table.from_any({"X": [0] * 5 + [1] * 5, "Y": [0, 0, 0, 0, 1] + [1] * 5})
        >>> problem = BoundProblem(
        ...     ADMG.parse("X -> Y; X <-> Y"), Contrast.parse("ATE(X -> Y)"), {OBSERVED: rows}
        ... )
        >>> found = NoAssumptions().solve(problem, seed=0)
        >>> round(float(found.lower), 3), round(float(found.upper), 3), found.is_sharp
        (-0.1, 0.9, True)
    """

    num_draws: int = 1_000
    name: ClassVar[str] = "no assumptions"

    def __post_init__(self) -> None:
        check_count("num_draws", self.num_draws, 100, 1_000)

    def row_values(
        self, rows: Rows, outcomes: Mapping[Outcome, float], span: tuple[float, float]
    ) -> tuple[Array, Array, tuple[float, float]]:
        """What is seen, or else anything in the range."""
        low, high = np.zeros(len(rows.weights)), np.zeros(len(rows.weights))
        for (kind, events), weight in outcomes.items():
            ends = _seen(rows, events[0], span) if kind == "E" else _holding(rows, events)
            low += np.minimum(weight * ends[0], weight * ends[1])
            high += np.maximum(weight * ends[0], weight * ends[1])
        return low, high, whole_span(outcomes, span)

    def says(self, problem: BoundProblem) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
        """It rests on consistency; sharp where the diagram excludes nothing more."""
        parts = list_parts(problem.graph, problem.query)
        is_sharp = allows_every_response(problem.graph, parts)
        notes: tuple[str, ...] = ()
        if not is_sharp:
            notes = ("the diagram may exclude some of these values; this method does not use it",)
        if len(problem.sources) > 1:
            notes = (*notes, "only the observed data were used, not the other sources")
        return (CONSISTENCY,), notes, is_sharp


def _seen(rows: Rows, event: Event, span: tuple[float, float]) -> tuple[Array, Array]:
    """A variable where its world is the factual one, else anything in its range."""
    known, seen = rows.knows(event.term), rows.numbers(event.name)
    return np.where(known, seen, span[0]), np.where(known, seen, span[1])


def _holding(rows: Rows, events: tuple[Event, ...]) -> tuple[Array, Array]:
    """1 where all events surely hold, and 1 where they may."""
    surely, maybe = np.ones(len(rows.weights)), np.ones(len(rows.weights))
    for event in events:
        known, true = rows.knows(event.term), rows.satisfies(event)
        surely *= known & true
        maybe *= ~known | true
    return surely, maybe
