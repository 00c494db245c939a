"""How much an answer rests on strata of which the data show nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from causalppl.data import Factor
from causalppl.estimation.contingency import Array, Contingency
from causalppl.estimation.drawn_chain import missing_spread
from causalppl.identification.expression import Probability, Symbol

__all__ = ["Reliance", "find_reliance"]

_NEGLIGIBLE = 1e-6
_LISTED = 3
_THIN = 4  # rows from which on the draws lack nothing


@dataclass(frozen=True)
class Reliance:
    """How far an answer rests on what the data hardly show.

    Attributes:
        share: By how much the laws given strata without rows can move the answer, to first order:
            a probability by so much in all, an expectation by this share of the outcome's range.
        strata: The strata that matter, the largest first: how each reads, and its share.
        missing: The variance that draws lack for strata of one to three rows, shaped like the
            answer.
    """

    share: float
    strata: tuple[tuple[str, float], ...]
    missing: Array

    @property
    def text(self) -> str:
        """One sentence about the strata without rows."""
        count = len(self.strata)
        shown = "; ".join(text for text, _ in self.strata[:_LISTED])
        more = f"; and {count - _LISTED:,} more" if count > _LISTED else ""
        noun = "a stratum that has" if count == 1 else f"{count:,} strata that have"
        return f"{self.share:.2%} of the answer rests on {noun} no rows ({shown}{more})"

    def lacking(self, draws: Array) -> float:
        """Find the largest share of the variance that draws lack for thin strata."""
        if not self.missing.any():
            return 0.0
        return float((self.missing / (self.missing + draws.var(axis=0))).max())


def find_reliance(
    answer: Tensor, leaves: Mapping[Probability, Factor], data: Contingency, scale: float
) -> Reliance:
    """Differentiate an answer by the laws given each stratum.

    Args:
        answer: The answer at the observed frequencies, any shape.
        leaves: The tables that it was computed from, which carry gradients.
        data: The counts.
        scale: The range of the answer: 1 for a probability.
    """
    missing = np.zeros(tuple(answer.shape))
    rows = {node: _rows(node, data) for node in leaves}
    thin = [node for node, counts in rows.items() if counts.min() < _THIN]
    if not thin or not answer.requires_grad:
        return Reliance(0.0, (), missing)
    inputs = [leaves[node].values for node in thin]
    worst = {node: np.zeros(rows[node].shape) for node in thin}
    share = 0.0
    for place in np.ndindex(missing.shape):
        slopes = torch.autograd.grad(answer[place], inputs, retain_graph=True, allow_unused=True)
        moved = [
            _Slope(node, slope.detach().numpy(), rows[node])
            for node, slope in zip(thin, slopes, strict=True)
            if slope is not None  # else another symbol's leaf has the same table
        ]
        missing[place] = sum(slope.missing(leaves[slope.node]) for slope in moved)
        share = max(share, sum(float(slope.unseen.sum()) for slope in moved) / scale)
        for slope in moved:
            worst[slope.node] = np.maximum(worst[slope.node], slope.unseen / scale)
    strata = _listed(worst, data)
    return Reliance(share if strata else 0.0, strata, missing)


@dataclass(frozen=True, eq=False)
class _Slope:
    """The derivative of one number by a leaf's table, and the rows of the table's strata."""

    node: Probability
    values: Array
    rows: Array

    @property
    def unseen(self) -> Array:
        """How far the answer moves when an unseen stratum's law goes from outcome to outcome."""
        over = tuple(range(len(self.node.outcomes)))
        span = self.values.max(axis=over) - self.values.min(axis=over)
        return np.asarray(np.where(self.rows == 0, span, 0.0))

    def missing(self, leaf: Factor) -> float:
        """Add up what the draws lack of the sampling variance, at the law of all strata."""
        over = tuple(range(len(self.node.outcomes)))
        law = leaf.values.detach().numpy()
        weighed = (law * self.rows).sum(axis=tuple(range(len(over), law.ndim)), keepdims=True)
        law = weighed / weighed.sum()
        variance = (self.values**2 * law).sum(axis=over) - (self.values * law).sum(axis=over) ** 2
        seen = self.rows > 0
        counts = np.where(seen, self.rows, 1.0)
        return float((np.where(seen, missing_spread(counts), 0.0) * variance / counts).sum())


def _listed(worst: Mapping[Probability, Array], data: Contingency) -> tuple[tuple[str, float], ...]:
    found: dict[str, float] = {}
    for node, moved in worst.items():
        for place in np.argwhere(moved > _NEGLIGIBLE):
            where = f" in {node.domain}" if node.domain else ""
            text = _text(_strata(node), place.tolist(), data) + where
            found[text] = found.get(text, 0.0) + float(moved[tuple(place)])
    return tuple(sorted(found.items(), key=lambda item: (-round(item[1], 9), item[0])))


def _strata(node: Probability) -> tuple[Symbol, ...]:
    return (*node.given, *node.do)


def _rows(node: Probability, data: Contingency) -> Array:
    """Count the rows of each stratum; one axis for each condition."""
    source = node.domain, frozenset(symbol.variable for symbol in node.do)
    return data.counts(source, [symbol.variable for symbol in _strata(node)])


def _text(symbols: tuple[Symbol, ...], place: list[int], data: Contingency) -> str:
    named = zip((symbol.variable for symbol in symbols), place, strict=True)
    return ", ".join(f"{name}={data.states[name][code]}" for name, code in sorted(named))
