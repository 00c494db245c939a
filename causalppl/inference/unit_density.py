"""The log density of a run, split by unit, discrete latents summed out."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import opt_einsum
import torch
from pyro.ops.contract import contract_to_tensor
from pyro.ops.rings import LogRing
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from causalppl.inference.row_axis import RowAxis
from causalppl.programs.structure import UNITS, is_delta


class UnitDensity:
    """Splits the log density of a scored trace in units and what they share.

    Args:
        axis: Where rows, units and plates stand.
        like: A tensor with the dtype and device of densities.

    References:
        Obermeyer et al. (2019), Tensor variable elimination for plated factor graphs.
    """

    def __init__(self, axis: RowAxis, like: Tensor) -> None:
        self._axis, self._like = axis, like

    def __call__(
        self, trace: Any, rows: int, log_jacobians: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return log densities of the units, ``(rows, units)``, and of the rest, ``(rows,)``.

        Args:
            trace: A trace whose log probabilities have been computed.
            rows: Number of rows in it.
            log_jacobians: What to add to the log probabilities of some sites.
        """
        unit_terms, shared_terms = [], []
        for name, node in trace.nodes.items():
            if node["type"] != "sample" or site_is_subsample(node) or "log_prob" not in node:
                continue
            log_prob = node["log_prob"]
            if log_jacobians and name in log_jacobians:
                log_prob = log_prob + log_jacobians[name]
            plates = {f.name: f.dim for f in node["cond_indep_stack"] if f.vectorized}
            if UNITS in plates:
                unit_terms.append((log_prob, frozenset(plates.values())))
            else:
                shared_terms.append(log_prob)
        zero = self._like.new_zeros(())
        if any(term.dim() > -self._axis.dim for term, _ in unit_terms):
            unit = self._contracted(unit_terms, rows)
        else:
            empty = zero.expand(rows, self._axis.num_units)
            unit = sum((self._summed(term) for term, _ in unit_terms), empty)
        shared = sum(
            (self._aligned(term).flatten(1).sum(1) for term in shared_terms), zero.expand(rows)
        )
        return unit, shared

    def _aligned(self, term: Tensor) -> Tensor:
        """Give a term all of its dimensions: rows, world, plates."""
        missing = -self._axis.dim - term.dim()
        return term.reshape((1,) * missing + term.shape)

    def _summed(self, term: Tensor) -> Tensor:
        """Sum over all plates but the units; shape ``(rows, units)``, either may be 1."""
        term = self._aligned(term)
        others = [d for d in range(1, term.dim()) if d != term.dim() + self._axis.units_dim]
        return term.sum(others) if others else term

    def _contracted(self, terms: Sequence[tuple[Tensor, frozenset[int]]], rows: int) -> Tensor:
        """Sum out the enumerated dimensions by variable elimination."""
        kept = frozenset({self._axis.dim, self._axis.units_dim})
        shape = [d for term, _ in terms for d in range(-term.dim(), 0) if term.shape[d] > 1]
        symbols = {d: opt_einsum.get_symbol(i) for i, d in enumerate(dict.fromkeys(shape))}
        sizes: dict[str, int] = {}
        tree: OrderedDict[frozenset[str], list[Tensor]] = OrderedDict()
        dtype = reduce(torch.promote_types, (term.dtype for term, _ in terms))
        for term, plates in terms:
            dims = [d for d in range(-term.dim(), 0) if term.shape[d] > 1]
            sizes.update({symbols[d]: term.shape[d] for d in dims})
            packed = term.to(dtype).squeeze()[...]  # a tensor of its own, as it gets a mark
            packed._pyro_dims = "".join(symbols[d] for d in dims)  # type: ignore[attr-defined]
            # rows and units belong to every term, so that nothing is multiplied over them
            ordinal = frozenset(symbols[d] for d in plates | kept if d in symbols)
            tree.setdefault(ordinal, []).append(packed)
        summed = {symbol for d, symbol in symbols.items() if d < self._axis.dim}
        target = frozenset(symbols[d] for d in kept if d in symbols)
        ring = LogRing(dim_to_size=sizes)
        result = contract_to_tensor(tree, summed, target_ordinal=target, ring=ring)
        order = [d for d in sorted(kept) if d in symbols]
        result = result.permute([result._pyro_dims.index(symbols[d]) for d in order])
        is_full = [d in symbols for d in sorted(kept)]
        full = (rows, self._axis.num_units)
        lone = [size if present else 1 for size, present in zip(full, is_full, strict=True)]
        return result.reshape(lone).expand(full)


def are_units_tied(trace: Any) -> bool:
    """Whether a run draws anything that its units share."""
    return any(
        node["type"] == "sample"
        and not site_is_subsample(node)
        and not is_delta(node["fn"])
        and UNITS not in {frame.name for frame in node["cond_indep_stack"]}
        for node in trace.nodes.values()
    )
