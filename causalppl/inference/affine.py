"""Affine functions, read off their values at trial points.

One run of a program on trial values, one unit for each coordinate, gives the coefficients; further
units verify that the function is affine.
"""

import math
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from causalppl.inference.value_layout import ValueLayout
from causalppl.programs.wrappers import unwrap

Array: TypeAlias = npt.NDArray[np.float64]

FAMILIES: Final = frozenset({"Normal", "MultivariateNormal", "LowRankMultivariateNormal"})
"""Names of the normal laws."""


class NotAffineError(Exception):
    """The engine cannot answer; the text says why."""


@dataclass(frozen=True)
class Precision:
    """What counts as equal, by the dtype in which the program ran."""

    dtype: torch.dtype
    affine: float
    rank: float
    scales: tuple[float, ...]


DOUBLE: Final = Precision(torch.float64, 1e-9, 1e-12, (1.0, 30.0, 1e3, 1e6))


def trial_values(size: int, scales: tuple[float, ...]) -> Array:
    """Zero, each unit vector, and spread points of both signs at several scales."""
    golden, root = (math.sqrt(5) - 1) / 2, math.sqrt(2)
    step = np.arange(1, size + 1)[None, :] * np.arange(1, len(scales) + 1)[:, None]
    signs = np.where(np.modf(step * root)[0] > 0.5, 1.0, -1.0)
    points = np.array(scales)[:, None] * signs * (0.5 + np.modf(step * golden)[0])
    return np.concatenate([np.zeros((1, size)), np.eye(size), points, -points])


def is_affine(values: Array, inputs: Array, tolerance: float) -> bool:
    """Whether values ``(..., rows, d)`` at trial inputs are those of their affine part."""
    if not np.isfinite(values).all():
        return False
    size = inputs.shape[1]
    const = values[..., :1, :]
    slopes = values[..., 1 : size + 1, :] - const
    points, found = inputs[size + 1 :], values[..., size + 1 :, :]
    allowed = np.abs(const) + np.abs(points) @ np.abs(slopes)
    return bool((np.abs(const + points @ slopes - found) <= tolerance * allowed).all())


def normal_rows(
    layout: ValueLayout, fn: Any, name: str, rows: int
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Mean and scale of a normal law in rows; the last number is the side of a scale block."""
    base = unwrap(fn).base
    loc = layout.to_rows(base.loc, name, rows)
    if type(base).__name__ == "Normal":
        return loc, layout.to_rows(base.scale, name, rows), 1
    side = base.event_shape[-1]
    return loc, layout.to_rows(base.scale_tril, name, rows, (side,)), side


def scale_matrix(entries: Array, size: int, side: int) -> Array:
    """Make ``(draws, d, d)`` out of the blocks on the diagonal, ``(draws, d * side)``."""
    matrix = np.zeros((len(entries), size, size))
    blocks = entries.reshape(len(entries), size // side, side, side)
    for i in range(size // side):
        at = slice(i * side, (i + 1) * side)
        matrix[:, at, at] = blocks[:, i]
    return matrix


def to_numpy(tensor: torch.Tensor) -> Array:
    """Return an array in double precision."""
    return tensor.detach().to("cpu", torch.float64).numpy()
