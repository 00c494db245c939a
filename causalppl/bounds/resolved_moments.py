"""Which parts of a moment the sources fix, and what is left.

A district's number is known where it is a combination of the rows that the sources give. Known
numbers are constants. A moment with one district left is linear in the law of its response types;
one with several is a polynomial.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.counterfactual_moments import Moment
from causalppl.bounds.district_types import DistrictTypes
from causalppl.bounds.response_functions import Codes, ResponseTypes
from causalppl.programs.finite_worlds import contract

__all__ = ["FineTypes", "Linear", "Product", "Resolved", "resolve"]

Array: TypeAlias = NDArray[np.float64]
District: TypeAlias = frozenset[str]

_BATCH = -1
_RESIDUE = 1e-13


@dataclass(frozen=True, eq=False)
class FineTypes:
    """Response types that answer a question, each split from a type of the sources.

    Attributes:
        base: The types that the sources tell apart.
        types: The finer types.
        origin: For each the type that it was split from, ascending.
    """

    base: DistrictTypes
    types: ResponseTypes
    origin: Codes

    @cached_property
    def starts(self) -> Codes:
        """Where the finer types of each type begin."""
        return np.flatnonzero(np.diff(self.origin, prepend=-1))

    def known(self, forms: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Write forms as combinations of rows, as far as they are.

        Args:
            forms: Shape ``(types, cells)``.

        Returns:
            Weights, shape ``(rows, cells)``; and which cells they give.
        """
        low = np.minimum.reduceat(forms, self.starts)
        high = np.maximum.reduceat(forms, self.starts)
        weights, is_known = self.base.program.functional(low)
        return weights, is_known & ((high - low).max(axis=0, initial=0.0) < _RESIDUE)


class Linear(NamedTuple):
    """A moment that is linear in the law of one district's types.

    Attributes:
        district: The district.
        forms: Shape ``(types, cells)``.
        factors: What the rest makes of each cell, shape ``(batch or 1, cells)``.
    """

    district: District
    forms: Array
    factors: Array

    def cost(self, batch: int) -> Array:
        """What each type contributes, shape ``(types,)``."""
        return np.asarray(self.forms @ self.factors[batch if len(self.factors) > 1 else 0])


class Product(NamedTuple):
    """A moment that is a sum of products of forms of several districts.

    Attributes:
        forms: District to its forms, shape ``(types, cells)``.
        terms: For each product its factor and the cell of each district's form.
    """

    forms: Mapping[District, Array]
    terms: tuple[tuple[float, tuple[int, ...]], ...]


Resolved: TypeAlias = "Array | Linear | Product"
"""A constant, shape ``(batch or 1,)``; or what is left."""


def resolve(moment: Moment, fine: Mapping[District, FineTypes]) -> Resolved:
    """Find what of a moment the sources leave open.

    Args:
        moment: The moment.
        fine: The response types of each of its districts.
    """
    forms = {district: moment.forms(district, fine[district].types) for district in moment.parts}
    known: dict[District, Array] = {}
    while True:
        found = {
            district: values
            for district in forms
            if district not in known
            and (values := _known_values(moment, district, forms, known, fine)) is not None
        }
        if not found:
            break
        known |= found
    left = [district for district in forms if district not in known]
    operands: list[Any] = [
        (values, (_BATCH, *moment.parts[district].axes)) for district, values in known.items()
    ]
    if not left:
        return contract(operands, (_BATCH,)) if operands else np.ones(1)
    axes = sorted({axis for district in left for axis in moment.parts[district].axes})
    operands += [(np.ones(moment.worlds.size[axis]), (axis,)) for axis in axes]
    operands.append((np.ones(1), (_BATCH,)) if not known else (np.ones(()), ()))
    if len(left) == 1:
        keep = moment.parts[left[0]].axes
        factors = contract(operands, (_BATCH, *keep))
        flat = forms[left[0]].reshape(len(forms[left[0]]), -1)
        return Linear(left[0], flat, factors.reshape(len(factors), -1))
    return _product(moment, forms, left, axes, contract(operands, (_BATCH, *axes))[0])


def _known_values(
    moment: Moment,
    district: District,
    forms: Mapping[District, Array],
    known: Mapping[District, Array],
    fine: Mapping[District, FineTypes],
) -> Array | None:
    """Return a district's numbers, shape ``(batch, *axes)``, if the sources fix all that matter."""
    axes = moment.parts[district].axes
    operands: list[Any] = [(np.ones(moment.worlds.size[axis]), (axis,)) for axis in axes]
    for other, form in forms.items():
        if other != district:
            seen = known[other] if other in known else form
            operands.append(
                ((np.abs(seen) > _RESIDUE).any(0).astype(float), moment.parts[other].axes)
            )
    operands.append((np.ones(()), ()))
    matters = contract(operands, axes).reshape(-1) > 0
    flat = forms[district].reshape(len(forms[district]), -1)
    place = np.flatnonzero(matters & (np.abs(flat) > 0).any(0))
    weights, is_known = fine[district].known(flat[:, place])
    if not is_known.all():
        return None
    right = fine[district].base.right_sides
    values = np.zeros((len(right), flat.shape[1]))
    values[:, place] = right @ weights
    return values.reshape(len(right), *forms[district].shape[1:])


def _product(
    moment: Moment,
    forms: Mapping[District, Array],
    left: list[District],
    axes: list[int],
    factors: Array,
) -> Product:
    flat = {district: forms[district].reshape(len(forms[district]), -1) for district in left}
    terms = []
    for cell in zip(*np.nonzero(np.abs(factors) > _RESIDUE), strict=True):
        at = dict(zip(axes, map(int, cell), strict=True))
        own = [tuple(at[axis] for axis in moment.parts[d].axes) for d in left]
        numbers = tuple(
            int(np.ravel_multi_index(place, forms[d].shape[1:])) if place else 0
            for d, place in zip(left, own, strict=True)
        )
        if all(flat[d][:, number].any() for d, number in zip(left, numbers, strict=True)):
            terms.append((float(factors[cell]), numbers))
    return Product(flat, tuple(terms))
