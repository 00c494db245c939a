"""From extremes over weights to `Bounds`: several odds ratios, sampling error, draws."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.bounds import Bounds
from causalppl.bounds.numbers_read import read_odds_ratios
from causalppl.bounds.resampling import Resampling
from causalppl.bounds.weight_box import Overlap
from causalppl.estimation.row_weights import are_whole
from causalppl.estimation.settings import check_count
from causalppl.exceptions import OverlapWarning
from causalppl.seeding import checked_seed
from causalppl.user_warning import warn_user

__all__ = ["UNKNOWN", "UNSEEN", "Extremes", "bounds_of"]

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]
Ends: TypeAlias = tuple[float, float]

_POOR = 0.05  # share of the rows that the effective sample size should reach
_FEW = 30  # rows, from which no share is asked of those without a weight
_MANY = 6  # odds ratios for which sorting once pays
UNSEEN = (
    "the outcomes of a mean are all alike, or fewer than ten apart from the commonest, and do not "
    "show its sampling error, to which was added what two more rows at the worst outcome would "
    "change"
)
UNKNOWN = (
    "the outcomes of a mean are all alike in so few rows, or in all, that nothing tells its "
    "sampling error: there is no interval that allows for it"
)


class Extremes(Protocol):
    """Something whose smallest and largest value are known for each odds ratio."""

    def overlap(self, repeats: Array) -> Overlap:
        """The effective sample size at odds ratio 1; of several parts that of the worst."""

    @property
    def in_order(self) -> "Extremes":
        """The same, prepared for many odds ratios."""

    def ends(self, odds_ratio: float, near: Ends | None = None) -> Ends:
        """The smallest and the largest value."""

    def influence(self, odds_ratio: float, ends: Ends) -> Array:
        """By how much each row moves the ends, shape ``(2, rows)``."""

    def unseen(self, odds_ratio: float, repeats: Array, span: Ends) -> Array:
        """Standard errors of the ends that rows do not show, see `WeightBox.unseen`; ``(2,)``."""

    def slack(self, odds_ratio: float) -> float:
        """By how much an end may lie outside the exact one; 0 where it was solved for."""

    def counted(self, counts: Array) -> "Extremes":
        """The same, with each row as often as it was drawn."""


def bounds_of(
    found: Extremes,
    query: str,
    method: str,
    odds_ratio: Any,
    *,
    num_rows: int,
    counts: Array | None = None,
    span: Ends = (0.0, 0.0),
    num_draws: int = 0,
    seed: int | None = None,
    groups: Codes | None = None,
    assumptions: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
    is_sharp: bool = False,
) -> Bounds:
    """Put an answer together.

    Args:
        found: The extremes.
        query: What was asked, in words.
        method: The method, in words.
        odds_ratio: One odds ratio, or several, which become an axis.
        num_rows: How many rows there are.
        counts: How often each counts: whole numbers are equal rows, others sampling weights.
        span: The smallest and the largest outcome, for rows whose outcomes are all alike.
        num_draws: How often to draw the rows anew; 0: errors by the influence of the rows.
        seed: Seed of these draws.
        groups: The group of each row, within which rows are drawn; below 0 for those that are not.
            None: all are one group.
        assumptions: As in `Bounds`.
        notes: As in `Bounds`.
        is_sharp: As in `Bounds`.
    """
    ratios, is_one = read_odds_ratios(odds_ratio)
    if num_draws != 0 or num_draws is False:
        check_count("num_draws", num_draws, 20, 500)
    shape = () if is_one else (len(ratios),)
    prepared = found.in_order if len(ratios) >= _MANY else found
    ends = _ends(prepared, ratios)
    # 0 for rows that count as none; sampling weights are of one row each, whatever they are
    repeats = np.ones(num_rows) if counts is None or not are_whole(counts) else counts
    draws = error = None
    unseen = np.array([found.unseen(r, repeats, span) for r in ratios])
    if unseen.any():
        notes = (*notes, UNSEEN if np.isfinite(unseen).all() else UNKNOWN)
    if num_draws and not unseen.any():
        draws = _draws(found, ratios, ends, repeats, num_draws, seed, groups)
        draws = draws.reshape(num_draws, 2, *shape)
    elif np.isfinite(unseen).all():
        influences = [prepared.influence(r, tuple(e)) for r, e in zip(ratios, ends, strict=True)]
        each = 1 / np.maximum(repeats, 1.0)
        error = np.array([np.sqrt(np.einsum("er,er,r->e", i, i, each)) for i in influences])
        error = np.hypot(error, unseen).T.reshape(2, *shape)
    overlap = found.overlap(repeats)
    _warn_of(overlap)
    return Bounds(
        query,
        method + (f" at odds ratio {ratios[0]:g}" if is_one else ""),
        ends[:, 0].reshape(shape),
        ends[:, 1].reshape(shape),
        axes={} if is_one else {"odds_ratio": ratios},
        is_sharp=is_sharp,
        slack=max(prepared.slack(ratio) for ratio in ratios),
        draws=draws,
        error=error,
        num_rows=int(repeats.sum()),
        assumptions=assumptions,
        notes=notes,
        diagnostics={"ess": overlap.ess},
    )


def _warn_of(overlap: Overlap) -> None:
    is_few = overlap.ess < min(_FEW, _POOR * overlap.num_rows)
    if is_few or overlap.ess < _POOR * overlap.num_used:
        warn_user(
            f"the effective sample size is {overlap.ess:.1f}, of {overlap.num_used:,} rows with a "
            f"weight and {overlap.num_rows:,} in all: few rows carry the mean, and its sampling "
            "error is not to be trusted; expected more overlap",
            OverlapWarning,
        )


def _ends(found: Extremes, ratios: Sequence[float], near: Array | None = None) -> Array:
    """Ends at each ratio, each search started from those before; shape ``(ratios, 2)``."""
    ends = np.empty((len(ratios), 2))
    last: Ends | None = None
    for place in np.argsort(ratios, kind="stable"):
        start = last if near is None else (float(near[place, 0]), float(near[place, 1]))
        last = found.ends(ratios[place], start)
        ends[place] = last
    return ends


def _draws(
    found: Extremes,
    ratios: Sequence[float],
    ends: Array,
    repeats: Array,
    num_draws: int,
    seed: int | None,
    groups: Codes | None,
) -> Array:
    """Ends for rows drawn anew; Zhao, Small and Bhattacharya (2019) show that quantiles serve."""
    rng = np.random.default_rng(checked_seed(seed))
    draw = Resampling.of(repeats, groups)
    draws = np.empty((num_draws, len(ratios), 2))
    for number in range(num_draws):
        counted = found.counted(draw(rng) / np.maximum(repeats, 1.0))
        draws[number] = _ends(counted, ratios, ends)
    return draws.transpose(0, 2, 1)
