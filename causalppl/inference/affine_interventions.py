"""Interventions that are affine in the values they take, read off a few calls of each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from torch.distributions import Distribution

from causalppl.exceptions import CausalPPLError
from causalppl.inference.affine import (
    DOUBLE,
    FAMILIES,
    Array,
    NotAffineError,
    is_affine,
    normal_rows,
    scale_matrix,
    to_numpy,
    trial_values,
)
from causalppl.inference.engine import Problem
from causalppl.inference.value_layout import ValueLayout
from causalppl.programs.interventions import Target, World, intervened_value
from causalppl.programs.wrappers import unwrap

NATURAL: Final = ""
"""Stands for the natural value of the site that is intervened on."""


@dataclass(frozen=True)
class Change:
    """What an intervention makes of a site: affine in its natural value and in other sites.

    Attributes:
        source: The world the value is taken from; the rest is then empty.
        const: Shape ``(units or 1, d)``.
        slopes: Site (or `NATURAL`) to ``(d, d of that site)``.
        scale: Shape ``(d, d)``: noise of its own; None without.
    """

    source: str | None = None
    const: Array = field(default_factory=lambda: np.zeros((1, 0)))
    slopes: Mapping[str, Array] = field(default_factory=dict)
    scale: Array | None = None


def read_change(
    problem: Problem, layout: ValueLayout, name: str, world: str, device: torch.device
) -> Change:
    """Find the affine form of an intervention, by as many calls as it has inputs and a few.

    Args:
        problem: Whose worlds they are.
        layout: How values are arranged.
        name: The site intervened on.
        world: The world.
        device: Where the program's tensors are.

    Raises:
        NotAffineError: It has none.
    """
    probe = _Probe(problem, layout, name, world, device)
    if isinstance(probe.intervention, World):
        if probe.intervention.name not in {"", *problem.worlds}:
            raise probe.refused(
                f"takes its value from an unknown world {probe.intervention.name!r}"
            )
        return Change(probe.intervention.name)
    const, scale = probe({})
    if not probe.asked:
        return Change(None, const, {}, scale)
    edges = np.cumsum([0, *(probe.size(asked) for asked in probe.asked)])
    spans = {a: slice(*edges[i : i + 2]) for i, a in enumerate(probe.asked)}
    inputs = trial_values(int(edges[-1]), DOUBLE.scales[:3])
    results = [probe({a: row[at] for a, at in spans.items()}) for row in inputs]
    spread = [np.zeros((1, 1)) if s is None else s for s in (scale, *(s for _, s in results))]
    if not all(np.allclose(s, spread[0], DOUBLE.affine, 0.0) for s in spread):
        raise probe.refused("has a standard deviation that depends on other values")
    units = max(len(rows) for rows, _ in results)
    values = np.stack([np.broadcast_to(r, (units, r.shape[1])) for r, _ in results], axis=1)
    if not is_affine(values, inputs, DOUBLE.affine):
        raise probe.refused("is not affine in the values it takes")
    slopes = values[:, 1 : edges[-1] + 1] - values[:, :1]
    largest = np.abs(slopes).max(initial=0.0) + np.abs(values[:, 0]).max(initial=0.0)
    if np.ptp(slopes, axis=0).max(initial=0.0) > DOUBLE.affine * largest:
        raise probe.refused("has slopes that differ between units")
    return Change(None, const, {a: slopes[0, at].T for a, at in spans.items()}, scale)


class _Probe:
    """Call an intervention on trial values, and note which values it asks for."""

    def __init__(
        self, problem: Problem, layout: ValueLayout, name: str, world: str, device: torch.device
    ) -> None:
        self.layout, self.name, self.world = layout, name, world
        self.asked: list[str] = []
        self.intervention = problem.worlds[world][name]
        self._units, self._order = problem.num_units, list(layout.structure.sites)
        self._device = device

    def size(self, asked: str) -> int:
        return self.layout.size(self.name if asked == NATURAL else asked)

    def __call__(self, values: Mapping[str, Array]) -> tuple[Array, Array | None]:
        def value_of(asked: str) -> torch.Tensor:
            if asked != NATURAL and asked not in self._order[: self._order.index(self.name)]:
                raise self.refused(f"asks for {asked!r}, which does not run before it")
            if asked not in self.asked:
                self.asked.append(asked)
            row = torch.as_tensor(values.get(asked, np.zeros(self.size(asked))))
            rows = row.to(self._device).expand(self._units, -1)
            return self.layout.to_program(rows, asked or self.name)

        site = self.layout.structure.sites[self.name]
        empty = torch.zeros(1, dtype=torch.float64, device=self._device)
        shape = self.layout.to_program(
            empty.expand(self._units, self.layout.size(self.name)), self.name
        ).shape
        target = Target(
            self.name, shape, site.event_dim, empty, lambda: value_of(NATURAL), value_of
        )
        try:
            value = intervened_value(self.intervention, target)
        except (CausalPPLError, NotAffineError):
            raise
        except Exception as error:
            raise self.refused(f"cannot be called on trial values ({error})") from error
        return self._rows(value)

    def _rows(self, value: torch.Tensor | Distribution) -> tuple[Array, Array | None]:
        if isinstance(value, torch.Tensor):
            rows = self.layout.rows_of(value, self.name)
            return to_numpy(self.layout.to_rows(value.double(), self.name, rows))[0], None
        if type(unwrap(value).base).__name__ not in FAMILIES:
            raise self.refused(f"draws from {type(unwrap(value).base).__name__}, not a normal law")
        loc, entries, side = normal_rows(self.layout, value, self.name, self._units)
        scales = to_numpy(entries)[0]
        if np.ptp(scales, axis=0).max(initial=0.0) > 0:
            raise self.refused("has a standard deviation that differs between units")
        return to_numpy(loc)[0], scale_matrix(scales[:1], loc.shape[-1], side)[0]

    def refused(self, why: str) -> NotAffineError:
        return NotAffineError(f"the intervention on {self.name!r} in world {self.world!r} {why}")
