"""The variables of a polynomial program: types of each district, and products of their laws."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from causalppl.bounds.resolved_moments import FineTypes, Product
from causalppl.bounds.response_functions import Codes
from causalppl.bounds.response_program import ResponseProgram

__all__ = ["Block", "Layout", "Pair", "held_rows", "make_block"]

Array: TypeAlias = NDArray[np.float64]
District: TypeAlias = frozenset[str]
Pair: TypeAlias = tuple[Codes, int, Codes, int]


class Block(NamedTuple):
    """One district's types in the program.

    Attributes:
        fine: Its types.
        kept: Those of them that the program tells apart.
        program: Their rows.
        at: Where their probabilities stand among all.
        parts: For each pair of independent parts the codes of both, and how many there are; those
            of which the sources leave both laws open.
        known: Likewise those of which they fix the first; with its law as weights of the rows.
    """

    fine: FineTypes
    kept: Codes
    program: ResponseProgram
    at: slice
    parts: tuple[Pair, ...]
    known: tuple[tuple[Pair, Array], ...]

    def equations(self, number: int) -> tuple[csr_array, Array]:
        """Return the rows that the law of the types meets under one law of the sources."""
        right = self.fine.base.right_sides[number]
        chosen = self.program.independent
        rows, rhs = [self.program.matrix[chosen]], [right[chosen]]
        for (codes, count, other, others), weights in self.known:
            law = right @ weights
            # the last of each follow, as laws sum to 1
            more = [
                (other == b) * ((codes == a) - law[a])
                for a in range(count - 1)
                for b in range(others - 1)
            ]
            rows.append(csr_array(np.array(more).reshape(-1, len(codes))))
            rhs.append(np.zeros(len(more)))
        return csr_array(vstack(rows)), np.concatenate(rhs)


class Layout:
    """Which factors and products the program has."""

    def __init__(self, blocks: Mapping[District, Block], products: Sequence[Product]) -> None:
        self._blocks = blocks
        self.size = max(block.at.stop for block in self._blocks.values())
        self.factors: list[Array] = []
        self.ties: list[Array] = []
        self.tied: list[int] = []
        self._factor: dict[bytes, int] = {}
        for product in products:
            for _, cells in product.terms:
                for district, cell in zip(product.forms, cells, strict=True):
                    self._add(district, product.forms[district][:, cell])
        for district, block in self._blocks.items():
            for a, count_a, b, count_b in block.parts:
                for codes, count in ((a, count_a), (b, count_b)):
                    for code in range(count):
                        self._add(district, codes == code, is_kept=True)
        self.pairs: list[tuple[int, int]] = []
        self._pair: dict[tuple[int, int], int] = {}
        for product in products:
            for _, cells in product.terms:
                self.number(product, cells)
        for district, block in self._blocks.items():
            for part in block.parts:
                self._tie(district, part)

    @cached_property
    def arrays(self) -> tuple[csr_array, Codes, tuple[Codes, csr_array]]:
        """Factors, pairs and ties as `BilinearProgram` takes them."""
        ties, factors = (
            csr_array(np.array(rows, dtype=float).reshape(-1, self.size))
            for rows in (self.ties, self.factors)
        )
        pairs = np.array(self.pairs, dtype=np.int64).reshape(-1, 2)
        return factors, pairs, (np.array(self.tied, np.int64), ties)

    def number(self, product: Any, cells: Sequence[int]) -> int:
        """Return the number of a product of forms, added if it is new."""
        numbers = [
            self._add(district, product.forms[district][:, cell])
            for district, cell in zip(product.forms, cells, strict=True)
        ]
        found = numbers[0]
        for other in numbers[1:]:
            found = self._times(found, other)
        return found

    def _times(self, first: int, second: int) -> int:
        if (first, second) not in self._pair:
            self._pair[first, second] = len(self.factors) + len(self.pairs)
            self.pairs.append((first, second))
        return self._pair[first, second]

    def _add(self, district: District, form: Any, *, is_kept: bool = False) -> int:
        block = self._blocks[district]
        row = np.zeros(self.size)
        row[block.at] = form if is_kept else form[block.kept]
        key = row.tobytes()
        if key not in self._factor:
            self._factor[key] = len(self.factors)
            self.factors.append(row)
        return self._factor[key]

    def _tie(self, district: District, part: Pair) -> None:
        a, count_a, b, count_b = part
        for first in range(count_a):
            for second in range(count_b):
                row = np.zeros(self.size)
                row[self._blocks[district].at] = (a == first) & (b == second)
                number = self._times(
                    self._add(district, a == first, is_kept=True),
                    self._add(district, b == second, is_kept=True),
                )
                self.tied.append(number - len(self.factors))
                self.ties.append(row)


def make_block(fine: FineTypes, forms: Sequence[Array], first: int) -> Block:
    """Keep one of the types that agree in their origin, all forms and all parts."""
    base = fine.base
    codes = [[base.part_codes(fine.types, part) for part in pair] for pair in base.independences]
    columns = [fine.origin[:, None], *(code[:, None] for pair in codes for code, _ in pair)]
    keys = np.concatenate([*columns, *(form.round(12) for form in forms)], 1)
    kept = np.unique(keys, axis=0, return_index=True)[1]
    program = ResponseProgram(base.cells[fine.origin[kept]], base.program.num_rows)
    parts: list[Pair] = []
    known: list[tuple[Pair, Array]] = []
    for (a, m), (b, n) in codes:
        pair = (a[kept], m, b[kept], n)
        for ordered in (pair, (*pair[2:], *pair[:2])):
            weights, is_known = program.functional(np.eye(ordered[1])[ordered[0]])
            if is_known.all():
                known.append((ordered, weights))
                break
        else:
            parts.append(pair)
    return Block(fine, kept, program, slice(first, first + len(kept)), tuple(parts), tuple(known))


def held_rows(part: Pair, side: int, start: Array) -> tuple[csr_array, Array]:
    """Rows that hold the law of one part, and make the other independent of it."""
    held, count, free, others = part if side == 0 else (*part[2:], *part[:2])
    law = np.bincount(held, weights=start, minlength=count)
    law = law / law.sum() if law.sum() > 0 else np.full(count, 1 / count)
    rows = [(held == code).astype(float) for code in range(count)]
    for code in range(count):
        rows += [(free == other) * ((held == code) - law[code]) for other in range(others)]
    return csr_array(np.array(rows)), np.concatenate([law, np.zeros(count * others)])
