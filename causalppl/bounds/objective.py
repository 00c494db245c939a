"""A weighted sum of moments, sorted by what the sources leave of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.counterfactual_moments import Moment
from causalppl.bounds.resolved_moments import FineTypes, Linear, Product, resolve

__all__ = ["Objective"]

Array: TypeAlias = NDArray[np.float64]
District: TypeAlias = frozenset[str]


@dataclass(frozen=True, eq=False)
class Objective:
    """A weighted sum of moments, sorted by what is left of them.

    Attributes:
        constant: What the sources fix, shape ``(batch,)``.
        linear: District to weighted moments that are linear in its law.
        products: Weighted moments that couple districts.
    """

    constant: Array
    linear: Mapping[District, Sequence[tuple[float, Linear]]]
    products: Sequence[tuple[float, Product]]

    @classmethod
    def of(
        cls,
        moments: Sequence[tuple[float, Moment]],
        fine: Mapping[District, FineTypes],
        batch: int,
    ) -> "Objective":
        """Resolve the moments and sort what is left."""
        constant = np.zeros(batch)
        linear: dict[District, list[tuple[float, Linear]]] = {}
        products: list[tuple[float, Product]] = []
        for weight, moment in moments:
            found = resolve(moment, fine)
            if isinstance(found, Linear):
                linear.setdefault(found.district, []).append((weight, found))
            elif isinstance(found, Product):
                products.append((weight, found))
            else:
                constant = constant + weight * found
        return cls(constant, linear, products)

    def cost(self, district: District, batch: int) -> Array:
        """What each type of a district adds under one law, shape ``(types,)``."""
        return np.asarray(sum(w * part.cost(batch) for w, part in self.linear[district]))

    def varies(self, district: District) -> bool:
        """Whether the cost differs between laws."""
        return any(len(part.factors) > 1 for _, part in self.linear[district])

    @property
    def districts(self) -> frozenset[District]:
        """The districts that are left."""
        coupled = (district for _, product in self.products for district in product.forms)
        return frozenset(self.linear) | frozenset(coupled)

    def forms(self, district: District) -> list[Array]:
        """What tells a district's types apart, shapes ``(types, cells)``."""
        found = [part.forms for _, part in self.linear.get(district, ())]
        return found + [p.forms[district] for _, p in self.products if district in p.forms]

    @property
    def is_constant(self) -> bool:
        """Whether the sources fix all of it."""
        return not self.linear and not self.products

    def negative(self) -> "Objective":
        """The same with the sign changed."""
        linear = {d: [(-w, part) for w, part in parts] for d, parts in self.linear.items()}
        return Objective(-self.constant, linear, [(-w, part) for w, part in self.products])
