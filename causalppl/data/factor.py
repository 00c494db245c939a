"""Tables of probabilities over named finite variables, and their contraction."""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import opt_einsum
import torch
from torch import Tensor

from causalppl.data.column import Value, listed
from causalppl.exceptions import DataError, ImpossibleEvidenceError
from causalppl.shapes import broadcast_shapes

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Factor", "contract"]

_LARGEST_TABLE = 2**28  # entries; two gibibytes of float64


@dataclass(frozen=True, eq=False)
class Factor:
    """A table of non-negative numbers over named finite variables.

    The number at a cell is ``values * exp(log_scale)``, so that a probability far below the
    smallest float keeps its digits.

    Attributes:
        names: The variables, one for each of the last axes of ``values``.
        values: Shape ``(*batch, *states)``, float64. The batch has no names (units, draws of
            parameters); operations broadcast it.
        states: Variable to the values it can take, in the order of its axis; ``0, 1, ...`` for a
            variable left out.
        log_scale: Shape ``batch`` or one number, in nats.

    Raises:
        DataError: Names repeat, an axis does not fit its states, or a number is negative, infinite
            or not a number.

    References:
        Koller and Friedman (2009), Probabilistic graphical models, chapter 4.

    Example:
        >>> rain = Factor(("rain",), [0.8, 0.2], {"rain": ("no", "yes")})
        >>> wet = Factor(("rain", "wet"), [[0.9, 0.1], [0.3, 0.7]], {"rain": ("no", "yes")})
        >>> joint = rain.multiply(wet)
        >>> joint.condition({"wet": 1}).normalise().probability({"rain": "yes"})
        tensor(0.6364, dtype=torch.float64)
    """

    names: tuple[str, ...]
    values: Tensor
    states: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    log_scale: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))

    def __post_init__(self) -> None:
        names = tuple(self.names)
        given = (
            self.values if isinstance(self.values, Tensor) else np.array(self.values, dtype=float)
        )
        values = torch.as_tensor(given, dtype=torch.float64)
        scale = torch.as_tensor(self.log_scale, dtype=torch.float64, device=values.device)
        if len(set(names)) < len(names):
            raise DataError(f"a factor has the names {names}; expected each once")
        if values.dim() < len(names):
            raise DataError(
                f"a factor over {', '.join(names)} has values of shape {tuple(values.shape)}; "
                "expected one axis for each name"
            )
        sizes = values.shape[values.dim() - len(names) :]
        states = {
            name: tuple(self.states.get(name, range(size)))
            for name, size in zip(names, sizes, strict=True)
        }
        for name, size in zip(names, sizes, strict=True):
            if len(states[name]) != size or len(set(states[name])) != size or size == 0:
                raise DataError(
                    f"{name} has the states ({listed(map(repr, states[name]))}) and an axis of "
                    f"length {size}; "
                    "expected one state, different from the others, for each entry"
                )
        # one pass; NaN travels through minimum and maximum, and compares false
        low, high = (
            torch.aminmax(values.detach()) if values.numel() else (values.sum(), values.sum())
        )
        if not (0 <= float(low) and float(high) < math.inf):
            raise DataError(
                f"a factor over ({', '.join(names)}) has a negative, infinite or missing value; "
                "expected non-negative finite numbers"
            )
        for key, value in (("names", names), ("values", values), ("states", states)):
            object.__setattr__(self, key, value)
        object.__setattr__(self, "log_scale", scale)

    @classmethod
    def observed(cls, name: str, codes: Tensor, states: Sequence[Value]) -> "Factor":
        """Turn observations of one variable into a factor: 1 at the state seen, 0 elsewhere.

        Args:
            name: The variable.
            codes: Positions in ``states``, shape ``batch``; negative where nothing was seen, which
                gives a row of ones.
            states: The values the variable can take.

        Returns:
            A factor of shape ``(*batch, len(states))``.

        Raises:
            DataError: A code is beyond the last state.

        Example:
            >>> Factor.observed("x", torch.tensor([1, -1]), (0, 1)).values.tolist()
            [[0.0, 1.0], [1.0, 1.0]]
        """
        codes = torch.as_tensor(codes)
        if codes.is_floating_point() or (codes.numel() and int(codes.max()) >= len(states)):
            raise DataError(
                f"codes of {name} have dtype {codes.dtype} and largest value {codes.max()}; "
                f"expected integers below {len(states)}"
            )
        positions = torch.arange(len(states), device=codes.device)
        seen = codes.unsqueeze(-1)
        table = ((seen == positions) | (seen < 0)).to(torch.float64)
        return cls((name,), table, {name: tuple(states)})

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name}: {len(self.states[name])}" for name in self.names)
        batch = f"; batch {tuple(self.batch_shape)}" if self.batch_shape else ""
        return f"Factor({sizes}{batch})"

    def __mul__(self, other: "Factor") -> "Factor":
        return self.multiply(other)

    @property
    def batch_shape(self) -> torch.Size:
        """The shape left of the named axes, that of ``log_scale`` included."""
        own = self.values.shape[: self.values.dim() - len(self.names)]
        return broadcast_shapes(own, self.log_scale.shape)

    @property
    def log_total(self) -> Tensor:
        """The logarithm of the sum of all cells, shape ``batch``; in nats."""
        return self.values.sum(dim=self._axes(self.names)).log() + self.log_scale

    def align(self, names: Sequence[str]) -> "Factor":
        """Put the named axes in another order.

        Raises:
            DataError: ``names`` is not a permutation of the factor's names.
        """
        names = tuple(names)
        if sorted(names) != sorted(self.names):
            raise DataError(
                f"the factor is over ({', '.join(self.names)}) and was to be aligned to "
                f"({', '.join(names)}); expected the same names"
            )
        lead = self.values.dim() - len(names)
        order = [*range(lead), *(lead + self.names.index(name) for name in names)]
        return Factor(names, self.values.permute(order), self.states, self.log_scale)

    def multiply(self, other: "Factor") -> "Factor":
        """Multiply two factors; the result has the names of both.

        Raises:
            DataError: A shared variable has other states in the other factor.
        """
        states = _merged_states([self, other])
        names = (*self.names, *(name for name in other.names if name not in self.names))
        left, right = (factor._spread(names) for factor in (self, other))
        return Factor(names, left * right, states, self.log_scale + other.log_scale)

    def marginalise(self, names: Iterable[str]) -> "Factor":
        """Sum some variables out.

        Raises:
            DataError: A variable is unknown.
        """
        gone = self._known(names)
        kept = tuple(name for name in self.names if name not in gone)
        if not gone:
            return self
        return Factor(kept, self.values.sum(dim=self._axes(gone)), self.states, self.log_scale)

    def condition(self, assignment: Mapping[str, "Value | Tensor"]) -> "Factor":
        """Cut the table at some states; the result is not normalised.

        Args:
            assignment: Variable to its state; or to a tensor of codes, shape ``batch``, for
                evidence that differs between units (see `observed` for missing values).

        Returns:
            The factor over the other variables.

        Raises:
            DataError: A variable or a state is unknown.
        """
        result = self
        for name in self._known(assignment):
            result = result._cut(name, assignment[name])
        return result

    def normalise(self, names: Iterable[str] | None = None) -> "Factor":
        """Divide so that the cells sum to one.

        Args:
            names: The variables to sum over, so that the result is their conditional law given
                the others; all when left out.

        Returns:
            The factor; its ``log_scale`` is zero.

        Raises:
            ImpossibleEvidenceError: A sum is zero, so there is no such law.
            DataError: A variable is unknown.
        """
        chosen = self.names if names is None else self._known(names)
        total = self.values.sum(dim=self._axes(chosen), keepdim=True) if chosen else self.values
        if bool((total == 0).any()):
            raise ImpossibleEvidenceError(
                f"the law of ({', '.join(chosen)}) has total probability zero in "
                f"{int((total == 0).sum())} of {total.numel()} cases; expected a positive total, "
                "check the evidence"
            )
        values = (self.values / total).expand(*self.batch_shape, *self._sizes)
        return Factor(self.names, values, self.states)

    def probability(self, assignment: Mapping[str, "Value | Tensor"]) -> Tensor:
        """Sum the cells that agree with an assignment.

        Args:
            assignment: Variable to state; variables left out are summed over.

        Returns:
            Shape ``batch``.

        Raises:
            DataError: A variable or a state is unknown.

        Example:
            >>> Factor(("x", "y"), [[0.1, 0.2], [0.3, 0.4]]).probability({"y": 1}).item()
            0.6000000000000001
        """
        cut = self.condition(assignment)
        return cut.values.sum(dim=cut._axes(cut.names)) * cut.log_scale.exp()

    def to_frame(self) -> "pd.DataFrame":
        """List the cells in a pandas frame: one column for each variable, and ``probability``.

        Raises:
            DataError: The factor has a batch.
        """
        import pandas as pd

        if self.batch_shape:
            raise DataError(
                f"the factor has a batch of shape {tuple(self.batch_shape)}; expected none, "
                "choose one element first"
            )
        cells = itertools.product(*(self.states[name] for name in self.names))
        frame = pd.DataFrame(list(cells), columns=list(self.names))
        frame["probability"] = (self.values * self.log_scale.exp()).detach().cpu().flatten().numpy()
        return frame

    @property
    def _sizes(self) -> tuple[int, ...]:
        return tuple(len(self.states[name]) for name in self.names)

    def _axes(self, names: Iterable[str]) -> tuple[int, ...]:
        return tuple(self.names.index(name) - len(self.names) for name in names)

    def _known(self, names: Iterable[str]) -> tuple[str, ...]:
        chosen = (names,) if isinstance(names, str) else tuple(names)
        unknown = [name for name in chosen if name not in self.names]
        if unknown:
            raise DataError(
                f"the factor has no variable {', '.join(map(repr, unknown))}; it is over "
                f"({', '.join(self.names)})"
            )
        return chosen

    def _spread(self, names: tuple[str, ...]) -> Tensor:
        """The values with one axis for each of ``names``, of length one where absent."""
        present = tuple(name for name in names if name in self.names)
        values = self.align(present).values
        batch = values.shape[: values.dim() - len(present)]
        sizes = [len(self.states[name]) if name in self.names else 1 for name in names]
        return values.reshape((*batch, *sizes))

    def _cut(self, name: str, state: "Value | Tensor") -> "Factor":
        kept = tuple(other for other in self.names if other != name)
        last = self.align((*kept, name)).values
        if not isinstance(state, Tensor):
            values = last[..., _state_code(name, state, self.states[name])]
            return Factor(kept, values, self.states, self.log_scale)
        size = len(self.states[name])
        if state.is_floating_point() or bool(((state < 0) | (state >= size)).any()):
            raise DataError(
                f"codes of {name} have dtype {state.dtype} or leave 0 to {size - 1}; expected "
                "integers in that range"
            )
        batch = broadcast_shapes(state.shape, last.shape[: last.dim() - len(self.names)])
        last = last.expand(*batch, *last.shape[last.dim() - len(self.names) :])
        codes = state.long().expand(batch).reshape(*batch, *([1] * len(self.names)))
        codes = codes.expand(*last.shape[:-1], 1)
        return Factor(kept, last.gather(-1, codes).squeeze(-1), self.states, self.log_scale)


def contract(factors: Iterable[Factor], keep: Iterable[str] = ()) -> Factor:
    """Multiply factors and sum out every variable that is not kept.

    Variables are eliminated in a greedy order, so the cost follows the largest intermediate table
    and not the joint one. After each step the table is divided by its largest cell and the
    logarithm is kept, so products of thousands of factors do not underflow.

    Args:
        factors: The factors; batches broadcast against each other.
        keep: Variables of the result, in this order.

    Returns:
        A factor over ``keep``; not normalised, ``log_total`` is the logarithm of its sum.

    Raises:
        DataError: A kept variable is in no factor, factors disagree about states or batches, or
            every order that was found needs a table of more than 2**28 entries.

    References:
        Dechter (1999), Bucket elimination; the order is that of opt_einsum (Smith and Gray, 2018).

    Example:
        >>> step = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
        >>> start = Factor(("s0",), [0.5, 0.5])
        >>> chain = [Factor((f"s{i}", f"s{i + 1}"), step) for i in range(1000)]
        >>> contract([start, *chain], ["s1000"]).normalise().values
        tensor([0.6667, 0.3333], dtype=torch.float64)
    """
    factors, keep = list(factors), tuple(keep)
    states = _merged_states(factors)
    unknown = [name for name in keep if name not in states]
    if unknown or len(set(keep)) < len(keep):
        raise DataError(
            f"the result was to be over ({', '.join(keep)}); expected different names out of "
            f"{', '.join(sorted(states)) or 'nothing'}"
        )
    try:
        batch = broadcast_shapes(*(factor.batch_shape for factor in factors))
    except RuntimeError:
        shapes = ", ".join(
            str(tuple(factor.batch_shape)) for factor in factors if factor.batch_shape
        )
        raise DataError(
            f"factors have the batches {shapes}; expected ones that broadcast"
        ) from None
    elimination = _Elimination(keep, batch)
    for factor in factors:
        elimination.add(factor)
    return elimination.run(states)


class _Elimination:
    """Operands of one contraction, each a tensor ``(batch or 1, *states)`` with its names."""

    def __init__(self, keep: tuple[str, ...], batch: torch.Size) -> None:
        self.keep = keep
        self.batch = batch
        self.operands: list[tuple[tuple[str, ...], Tensor]] = []
        self.log_scale = torch.zeros((), dtype=torch.float64)
        self.uses: Counter[str] = Counter(keep)  # a kept name is never used up

    def add(self, factor: Factor) -> None:
        """Add one factor."""
        values, count = factor.values, len(factor.names)
        own = values.shape[: values.dim() - count]
        if any(size != 1 for size in own):
            values = values.expand(*self.batch, *values.shape[len(own) :])
        values = values.reshape(-1, *values.shape[values.dim() - count :])
        self.log_scale = self.log_scale.to(values.device) + factor.log_scale
        self.operands.append((factor.names, values))
        self.uses.update(factor.names)

    def run(self, states: Mapping[str, tuple[Value, ...]]) -> Factor:
        """Contract the operands in pairs, in a greedy order."""
        for place, operand in enumerate(self.operands):
            self.operands[place] = self._merge([operand])
        if len(self.operands) > 1:
            lengths = {name: len(values) for name, values in states.items()}
            terms = [frozenset(names) for names, _ in self.operands]
            path = opt_einsum.paths.greedy(terms, frozenset(self.keep), lengths)
            for step in path:
                chosen = [self.operands.pop(place) for place in sorted(step, reverse=True)]
                self.operands.append(self._merge(chosen))
        names, values = self._merge(self.operands)
        order = [0, *(1 + names.index(name) for name in self.keep)]
        values = values.permute(order)
        shape = self.batch if values.shape[0] > 1 else torch.Size([1] * len(self.batch))
        sizes = values.shape[1:]
        values = values.reshape(shape + sizes).expand(self.batch + sizes)
        return Factor(self.keep, values, states, self.log_scale.expand(self.batch))

    def _merge(
        self, chosen: list[tuple[tuple[str, ...], Tensor]]
    ) -> tuple[tuple[str, ...], Tensor]:
        """Multiply some operands, sum out what no other operand needs, and rescale."""
        for names, _ in chosen:
            self.uses.subtract(names)
        sizes = {n: s for names, v in chosen for n, s in zip(names, v.shape[1:], strict=True)}
        left = tuple(name for name in sizes if self.uses[name] > 0)
        entries = max([v.shape[0] for _, v in chosen], default=1)
        for name in left:
            entries *= sizes[name]
        if entries > _LARGEST_TABLE:
            raise DataError(
                f"eliminating variables needs a table of {entries} entries over {len(left)} "
                f"variables; expected at most {_LARGEST_TABLE}, ask for fewer variables or "
                "condition on some"
            )
        values = _product(chosen, left, sizes)
        self.uses.update(left)
        return left, self._rescaled(values)

    def _rescaled(self, values: Tensor) -> Tensor:
        largest = values.detach().reshape(values.shape[0], -1).amax(dim=1)
        largest = torch.where(largest > 0, largest, torch.ones_like(largest))
        shape = self.batch if len(largest) > 1 else torch.Size(())
        self.log_scale = self.log_scale + largest.log().reshape(shape)
        return values / largest.reshape(-1, *([1] * (values.dim() - 1)))


def _product(
    chosen: list[tuple[tuple[str, ...], Tensor]], left: tuple[str, ...], sizes: Mapping[str, int]
) -> Tensor:
    """Contract a few tensors; index 0 is the batch, which an operand of batch one lacks."""
    if not chosen:
        return torch.ones((1,), dtype=torch.float64)
    index = {name: place for place, name in enumerate(sizes, start=1)}
    arguments: list[object] = []
    batched = any(values.shape[0] > 1 for _, values in chosen)
    for names, values in chosen:
        own = [index[name] for name in names]
        alone = values.shape[0] == 1
        arguments += [values[0] if alone else values, own if alone else [0, *own]]
    output = [0] * batched + [index[name] for name in left]
    result = torch.einsum(*arguments, output)
    return result if batched else result.unsqueeze(0)


def _state_code(name: str, state: object, states: Sequence[Value]) -> int:
    """Return the position of a state.

    Raises:
        DataError: There is no such state; the message lists them.
    """
    for code, known in enumerate(states):
        if known == state and isinstance(known, str) == isinstance(state, str):
            return code
    raise DataError(f"{name} has no state {state!r}; expected one of {listed(map(repr, states))}")


def _merged_states(factors: Iterable[Factor]) -> dict[str, tuple[Value, ...]]:
    states: dict[str, tuple[Value, ...]] = {}
    for factor in factors:
        for name, values in factor.states.items():
            if states.setdefault(name, values) != values:
                raise DataError(
                    f"{name} has the states ({listed(map(repr, states[name]))}) in one factor and "
                    f"({listed(map(repr, values))}) in another; "
                    "expected the same states in the same order"
                )
    return states
