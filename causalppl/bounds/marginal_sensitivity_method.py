"""Tan's marginal sensitivity model as a bounding method for effects that covariates adjust for."""

from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.bounds import Bounds
from causalppl.bounds.cell_models import CellModels
from causalppl.bounds.covariate_rows import find_cells
from causalppl.bounds.learned_models import LearnedModels
from causalppl.bounds.method import OBSERVED, BoundMethod, BoundProblem
from causalppl.bounds.numbers_read import read_odds_ratio
from causalppl.bounds.sharp_bounds import SharpBounds
from causalppl.bounds.sharp_ends import (
    ASSUMED,
    Ends,
    combined,
    sharp_ends,
    standard_errors,
    told_of_tails,
    told_of_unseen,
    unseen_error,
)
from causalppl.bounds.tail_learners import Learners
from causalppl.bounds.tail_models import TailModels
from causalppl.bounds.weight_box import WeightBox
from causalppl.data import Factor, Table
from causalppl.estimation.adjustment_design import AdjustmentDesign
from causalppl.estimation.adjustment_question import Mean
from causalppl.estimation.estimator import Problem
from causalppl.estimation.features import Features
from causalppl.estimation.settings import check_flags
from causalppl.estimation.support import treatments_of
from causalppl.exceptions import AssumptionError, CausalPPLError, DataError
from causalppl.graphs import ADMG
from causalppl.identification import identify
from causalppl.queries import Contrast, Query

__all__ = ["MarginalSensitivity"]

Array: TypeAlias = NDArray[np.float64]
_COPIES = 5  # of each cell of a law: a design asks for so many rows of an arm


@dataclass(frozen=True)
class MarginalSensitivity(BoundMethod):
    """Bounds under hidden confounding of stated strength, beyond what covariates adjust for.

    The diagram says what is adjusted for; hidden causes of treatment and outcome (``X <-> Y``, or
    none drawn) may change the odds of treatment given the covariates by at most the odds ratio.
    At 1 the answer is the point that adjustment gives.

    Attributes:
        odds_ratio: From 1.
        sharp: Let hidden causes balance the covariates, as they must (Dorn and Guo); else weights
            may lie anywhere in their box, which is wider and needs no model of the outcome.
        learners: How tails and chances are learned where covariates have many values; None: by
            defaults, and by frequencies within cells where there are few.

    Raises:
        DataError: A setting is out of range.

    References:
        Tan (2006); Dorn and Guo (2022); Dorn, Guo and Kallus (2024), Doubly-valid/doubly-sharp
        sensitivity analysis for causal inference with unmeasured confounding.

    Example:
        >>> y = [0, 0, 0, 0, 1] * 10 + [1, 0] * 25
        >>> rows = Table.from_any({"X": [0] * 50 + [1] * 50, "Y": y})
        >>> problem = BoundProblem(
        ...     ADMG.parse("X -> Y; X <-> Y"), Contrast.parse("ATE(X -> Y)"), {OBSERVED: rows})
        >>> found = MarginalSensitivity(1.5).solve(problem, seed=0)
        >>> found.lower.round(4), found.upper.round(4)
        (np.float64(0.1667), np.float64(0.4167))
    """

    odds_ratio: float
    sharp: bool = True
    learners: Learners | None = None
    name: ClassVar[str] = "marginal sensitivity model"

    def __post_init__(self) -> None:
        object.__setattr__(self, "odds_ratio", read_odds_ratio(self.odds_ratio))
        check_flags(self, "sharp")
        if self.learners is not None and not isinstance(self.learners, Learners):
            raise DataError(f"learners is {self.learners!r}; expected Learners(...), or None")

    def refusal(self, problem: BoundProblem) -> str | None:
        """Say why adjustment does not answer even without hidden causes; None if it does."""
        try:
            _read_design(problem)
        except CausalPPLError as error:
            return str(error)
        return None

    def solve(self, problem: BoundProblem, *, seed: int, progress: bool = False) -> Bounds:
        """Bound the means of the question, and put them together."""
        design = _read_design(problem)
        is_law = not problem.tables
        models = self._models(design, problem, seed)
        means = [self._mean(models, design, mean) for mean in design.means]
        ends = [combined(row, means) for row in design.weights]
        shape = tuple(map(len, design.axes.values()))
        values = np.array([each.values for each in ends])
        held_out = np.array([each.held_out for each in ends]).T.reshape(2, *shape)
        error = None if is_law else standard_errors(ends, models.repeats)
        return SharpBounds(
            problem.query,
            f"{self.name} at odds ratio {self.odds_ratio:g}",
            values[:, 0].reshape(shape),
            values[:, 1].reshape(shape),
            axes=design.axes,
            is_sharp=self.sharp and _is_jointly_sharp(design),
            error=None if error is None else error.reshape(2, *shape),
            held_out=None if is_law else held_out,
            num_rows=0 if is_law else design.num_rows,
            assumptions=(*ASSUMED, _adjusted_for(design)),
            notes=(
                *self._notes(models, problem, design),
                *(() if is_law else told_of_unseen(ends)),
            ),
            diagnostics={"covariates": design.covariates},
        )

    def _models(self, design: AdjustmentDesign, problem: BoundProblem, seed: int) -> TailModels:
        matrix = Features(design).covariates
        cells = find_cells(matrix)
        if not problem.tables:
            cells = np.unique(matrix, axis=0, return_inverse=True)[1].reshape(-1)
        weights = design.row_weights
        if cells is not None and self.learners is None:
            is_level = all(not mean.event for mean in design.means)
            span = problem.outcome_range if is_level else (0.0, 1.0)
            return CellModels(design.arm, weights, cells, outcome_range=span)
        learners = self.learners or Learners()
        rng = np.random.default_rng(seed)
        return LearnedModels(design.arm, weights, matrix, learners, rng)

    def _mean(self, models: TailModels, design: AdjustmentDesign, mean: Mean) -> Ends:
        y = design.response(mean.event)
        share = design.stratum(mean)
        if self.sharp:
            return sharp_ends(models, y, mean.arm, self.odds_ratio, share=share, seen=mean.seen)
        return _boxed_ends(models, y, mean, self.odds_ratio, share)

    def _notes(
        self, models: TailModels, problem: BoundProblem, design: AdjustmentDesign
    ) -> tuple[str, ...]:
        notes = []
        if isinstance(models, LearnedModels):
            notes.append("what depends on the covariates was learned, and cross-fitted")
        if self.sharp and problem.tables:
            arms = sorted({mean.arm for mean in design.means})
            notes.extend(told_of_tails(models, arms, self.odds_ratio))
        if not self.sharp:
            notes.append("weights may lie anywhere in their box; sharp=True is narrower")
        if len(problem.sources) > 1:
            notes.append("only the observed data were used, not the other sources")
        if design.table.dropped:
            notes.append(f"{design.table.dropped:,} incomplete rows were left out")
        return tuple(notes)


def _read_design(problem: BoundProblem) -> AdjustmentDesign:
    """What adjustment asks of the data, in the diagram without hidden causes of X and Y."""
    if OBSERVED not in problem.sources:
        raise AssumptionError("there are no observed data; expected them, experiments do not serve")
    estimand = identify(_without_hidden(problem.graph, problem.query), problem.query)
    if OBSERVED in problem.tables:
        given = {OBSERVED: problem.weights[OBSERVED]} if OBSERVED in problem.weights else {}
        table = problem.tables[OBSERVED]
    else:
        table, weights = _rows_of(problem.laws[OBSERVED])
        given = {OBSERVED: weights}
    design = AdjustmentDesign.from_problem(Problem(estimand, table, weights=given))
    if design.is_numeric:
        raise DataError(
            f"{design.treatment} takes too many values; expected arms: cut it into bands"
        )
    if not design.observed.all():
        design = design.take(np.flatnonzero(design.observed))
    return design


def _without_hidden(graph: ADMG, query: Query | Contrast) -> ADMG:
    """The diagram without hidden causes of X and Y, for which the odds ratio stands."""
    treatments = treatments_of(query)
    outcomes = (
        {query.outcome}
        if isinstance(query, Contrast)
        else {event.term.name for event in query.outcomes}
    )
    kept = [
        (a, b)
        for a, b in graph.bidirected_edges
        if not ((a in treatments and b in outcomes) or (b in treatments and a in outcomes))
    ]
    return ADMG(graph.nodes, graph.directed_edges, kept)


def _rows_of(law: Factor) -> tuple[Table, Array]:
    """The cells of a law as rows with weights."""
    values = np.asarray(law.values.detach().cpu(), dtype=float)
    places = np.argwhere(values > 0)
    columns: dict[str, Any] = {
        name: [law.states[name][code] for code in np.tile(places[:, axis], _COPIES)]
        for axis, name in enumerate(law.names)
    }
    # below 1, so that they are no counts
    weights = np.tile(values[tuple(places.T)], _COPIES) / (2 * _COPIES)
    import torch

    return Table.from_any(columns, dtype=torch.float64), weights


def _is_jointly_sharp(design: AdjustmentDesign) -> bool:
    """Whether one hidden cause makes the worst case of all means of an answer."""
    if len(design.arms) != 2:
        return False
    for row in design.weights:
        moved = [m for w, m in zip(row, design.means, strict=True) if w and m.seen != m.arm]
        if len({mean.arm for mean in moved}) < len(moved):
            return False
    return True


def _boxed_ends(models: TailModels, y: Array, mean: Mean, odds_ratio: float, share: Array) -> Ends:
    """The ends where weights may lie anywhere in their box (Zhao, Small and Bhattacharya)."""
    own = models.arm == mean.arm
    base = models.weights * share * own
    if mean.seen == mean.arm:
        fixed, free = base, 0 * base
    else:
        chance = np.where(own, models.chance(mean.arm), 1)
        other = 1 - chance if mean.seen is None else models.chance(mean.seen)
        fixed, free = base * (mean.seen is None), base * other / chance
    box = WeightBox(y, fixed, free)
    ends = box.ends(odds_ratio)
    unseen = unseen_error(models, y, mean.arm, odds_ratio**2)
    return Ends(np.array(ends), box.influence(odds_ratio, ends), np.array(ends), unseen)


def _adjusted_for(design: AdjustmentDesign) -> str:
    if not design.covariates:
        return f"without hidden causes, {design.treatment} and {design.outcome} are not confounded"
    return (
        f"without hidden causes, {', '.join(design.covariates)} account for all confounding of "
        f"{design.treatment} and {design.outcome}"
    )
