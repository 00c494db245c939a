"""Where an environment's chance comes from: one stream for all units, or one for each."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalppl.exceptions import AssumptionError

__all__ = ["OneStream", "Stream", "UnitStreams"]

_BLOCK = 256


class OneStream:
    """One generator for all units.

    Args:
        generator: The generator, which moves on with each draw.
        count: Number of units.
    """

    def __init__(self, generator: np.random.Generator, count: int) -> None:
        self._generator, self._count = generator, count

    def uniforms(self) -> NDArray[np.float64]:
        """Draw one uniform number for each unit."""
        return self._generator.random(self._count)

    def seed(self) -> int:
        """Draw a seed for a run of a program."""
        return int(self._generator.integers(2**63))


class UnitStreams:
    """One stream for each unit, which depends on its own seed and on no other unit.

    The numbers of a unit are those of ``numpy.random.default_rng(seed)``; they are drawn in
    blocks.

    Args:
        seeds: One for each unit.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [np.random.default_rng(seed) for seed in seeds]
        self._block = np.empty((0, len(seeds)))
        self._next = 0

    def reseeded(self, seeds: Sequence[int | None]) -> "UnitStreams":
        """Return streams that begin anew for the units with a seed, and go on for the others."""
        found, left = UnitStreams([0 if seed is None else seed for seed in seeds]), self._next
        found._block = np.empty((_BLOCK, len(seeds)))
        for unit, seed in enumerate(seeds):
            own = found._block[:, unit]
            if seed is not None:
                own[:] = found._generators[unit].random(_BLOCK)
                continue
            kept = self._block[left:, unit]
            found._generators[unit] = self._generators[unit]
            own[: len(kept)] = kept
            own[len(kept) :] = self._generators[unit].random(_BLOCK - len(kept))
        return found

    def uniforms(self) -> NDArray[np.float64]:
        """Draw one uniform number for each unit."""
        if self._next == len(self._block):
            drawn = np.empty((len(self._generators), _BLOCK))
            for own, generator in zip(drawn, self._generators, strict=True):
                generator.random(out=own)
            self._block, self._next = np.ascontiguousarray(drawn.T), 0
        self._next += 1
        row: Any = self._block[self._next - 1]
        return row

    def seed(self) -> int:
        """Refuse: a seed for a run is one for all units.

        Raises:
            AssumptionError: Always.
        """
        raise AssumptionError("units with streams of their own have no common seed; expected one")


Stream = OneStream | UnitStreams
