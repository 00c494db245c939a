"""What an agent may do: which variables are set, and to which values."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from reprlib import repr as shorter
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from causalppl.envs.settable import Values, find_values
from causalppl.exceptions import DataError, QueryError
from causalppl.programs import SCM

__all__ = ["Arms", "Settings", "arm_numbers", "check_distinct", "number_array"]

Index: TypeAlias = NDArray[np.int64]
WHICH = "set"
"""The key of an action that says which set of variables it sets."""


@dataclass(frozen=True)
class Settings:
    """What is set to what, for each of ``n`` units.

    Attributes:
        names: The variables that any arm sets.
        mask: Whether a unit's variable is set, shape ``(n, names)``.
        values: To what, float64, shape ``(n, names)``; zero where nothing is set.
    """

    names: tuple[str, ...]
    mask: NDArray[np.bool_]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.mask)


class Arms:
    """The interventions among which an agent chooses.

    Args:
        scm: The model.
        actions: A sequence of arms, each a mapping from variable to value (``{}`` observes). A
            value may be left open: a Gymnasium space of one number, or its bounds
            ``(low, high)``. One such mapping alone is the only arm.

    Attributes:
        arms: The arms; category names are replaced by codes.
        names: The variables that any arm sets, in causal order.
        space: ``Discrete`` if no value is open. Else a ``Dict`` with one entry for each open
            variable and, with several arms, ``"set"``: which one. Values of variables that the
            chosen arm does not leave open are ignored.

    Raises:
        QueryError: There is no arm, a variable is not observed, or a variable is open twice with
            different bounds.
        DataError: A value is no number.
    """

    def __init__(self, scm: SCM, actions: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> None:
        listed = [actions] if isinstance(actions, Mapping) else list(actions)
        if not listed:
            raise QueryError("there are no actions; expected at least one arm, {} to observe")
        self.arms = tuple(scm.encode(dict(arm)) for arm in listed)
        used = {name for arm in self.arms for name in arm}
        if unknown := sorted(used - set(scm.observed)):
            raise QueryError(
                f"{', '.join(unknown)} is set, but is not an observed site; the program observes "
                f"{', '.join(scm.observed)}"
            )
        self.names = scm.graph.in_order(used)
        self.open = self._open()
        self.space = self._space()
        self._entries = frozenset(self.space if isinstance(self.space, spaces.Dict) else ())
        self._mask, self._free, self._values = self._tables()

    def __len__(self) -> int:
        return len(self.arms)

    @property
    def is_finite(self) -> bool:
        """Whether every value of every arm is given."""
        return not self.open

    def index(self, actions: Any) -> Index:
        """Read which arm each unit's action chooses.

        Raises:
            DataError: A number is none of the arms, or entries of the action are missing.
        """
        if not self.open:
            return arm_numbers(actions, len(self.arms))
        self.check_entries(actions)
        if len(self.arms) == 1:
            return np.zeros(len(next(iter(actions.values()))), dtype=np.int64)
        return arm_numbers(actions[WHICH], len(self.arms))

    def check_entries(self, actions: Any) -> None:
        """Refuse actions that are no mapping with an entry for each part of the space.

        Raises:
            DataError: They are not.
        """
        if isinstance(actions, Mapping) and actions.keys() == self._entries:
            return
        found = ", ".join(map(str, actions)) if isinstance(actions, Mapping) else shorter(actions)
        expected = ", ".join(self.space)  # type: ignore[arg-type]
        raise DataError(f"the action has {found}; expected a mapping with {expected}")

    def settings(self, actions: Any) -> Settings:
        """Read actions, one for each unit, in the form of the batched space.

        Raises:
            DataError: An action lies outside its space.
        """
        chosen = self.index(actions)
        values = self._values[chosen]
        for name, space in self.open.items():
            place = self.names.index(name)
            given, free = _numbers(name, actions[name], space), self._free[chosen, place]
            low, high = _bounds(space)
            if bool((free & ~((given >= low) & (given <= high))).any()):
                bad = given[free & ~((given >= low) & (given <= high))][0]
                raise DataError(f"{name} is set to {bad:g}; expected {low:g} to {high:g}")
            values[:, place] = np.where(free, given, values[:, place])
        return Settings(self.names, self._mask[chosen], values)

    def batch(self, action: Any) -> Any:
        """Turn the action of one unit into those of a batch of one.

        Raises:
            DataError: It holds several numbers, or entries are missing.
        """
        if not self.open:
            return _alone(action)
        self.check_entries(action)
        return {name: _alone(value) for name, value in action.items()}

    def allowed(self, scm: SCM) -> dict[str, Values]:
        """Find what the variables may be set to: what they can take, within their bounds if open.

        Args:
            scm: The model as it is where nobody acts.

        Raises:
            QueryError: A variable that takes finitely many values is open with bounds.
            DataError: An arm sets a variable to a value that it cannot take.
        """
        values = find_values(scm, self.names)
        found = dict(values)
        for name, space in self.open.items():
            low, high = _bounds(space)
            if isinstance(space, spaces.Discrete):
                values[name].check(np.arange(low, high + 1))
            elif values[name].levels is not None:
                raise QueryError(
                    f"{name} is open with bounds, but takes finitely many values; expected a "
                    "Discrete space of them"
                )
            else:
                values[name].check([np.nextafter(low, high), np.nextafter(high, low)])
            found[name] = values[name].within(low, high)
        for name, value in ((n, v) for arm in self.arms for n, v in arm.items() if not _is_open(v)):
            values[name].check(float(value))
            known = found[name]
            found[name] = known.within(min(known.low, value), max(known.high, value))
        return found

    def fixed(self, arms: Iterable[Mapping[str, float]]) -> Settings:
        """Return the settings of arms whose values are all given."""
        listed = list(arms)
        mask = np.array([[name in arm for name in self.names] for arm in listed], dtype=bool)
        values = [[float(arm.get(name, 0.0)) for name in self.names] for arm in listed]
        shape = (len(listed), len(self.names))
        return Settings(self.names, mask.reshape(shape), np.array(values).reshape(shape))

    def _open(self) -> dict[str, spaces.Space[Any]]:
        found: dict[str, spaces.Space[Any]] = {}
        for arm in self.arms:
            for name, value in arm.items():
                if not _is_open(value):
                    _number(name, value)
                    continue
                space = _one_number(name, value)
                if found.setdefault(name, space) != space:
                    raise QueryError(
                        f"{name} is open with {found[name]} and with {space}; expected the same "
                        "bounds in each arm"
                    )
        if WHICH in found and len(self.arms) > 1:
            raise QueryError(f"a variable is named {WHICH!r}, which is a key of the action")
        return {name: found[name] for name in self.names if name in found}

    def _space(self) -> spaces.Space[Any]:
        if not self.open:
            return spaces.Discrete(len(self.arms))
        which = {WHICH: spaces.Discrete(len(self.arms))} if len(self.arms) > 1 else {}
        return spaces.Dict({**which, **self.open})

    def _tables(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float64]]:
        free = np.zeros((len(self.arms), len(self.names)), dtype=bool)
        given = []
        for row, arm in enumerate(self.arms):
            opened = [name for name, value in arm.items() if _is_open(value)]
            free[row] = [name in opened for name in self.names]
            given.append({name: 0.0 if name in opened else v for name, v in arm.items()})
        settings = self.fixed(given)
        return settings.mask, free, settings.values


def arm_numbers(actions: Any, count: int) -> Index:
    """Read the numbers of arms, of any shape.

    Args:
        actions: Integers.
        count: How many arms there are.

    Raises:
        DataError: One is no integer (a truth value is none), or not the number of an arm.
    """
    if isinstance(actions, Mapping):
        raise DataError(
            f"the action is {shorter(dict(actions))}; expected the number of an arm, its place in "
            f"env.arms: 0 to {count - 1}"
        )
    given = number_array(actions)
    if given.dtype.kind not in "iu":
        raise DataError(
            f"action {_first(given)!r} was taken, which is no integer; expected 0 to {count - 1}"
        )
    chosen: Index = given.astype(np.int64, copy=False)
    if (chosen.view(np.uint64) >= count).any():  # one pass: negative numbers are large ones
        bad = chosen[(chosen < 0) | (chosen >= count)][0]
        raise DataError(f"action {bad} was taken; expected 0 to {count - 1}")
    return chosen


def check_distinct(arms: Iterable[Mapping[str, Any]]) -> None:
    """Refuse arms that are the same.

    Raises:
        QueryError: Two are.
    """
    seen: dict[Any, int] = {}
    for number, arm in enumerate(arms):
        first = seen.setdefault(frozenset((n, _key(v)) for n, v in arm.items()), number)
        if first != number:
            raise QueryError(
                f"arms {first} and {number} are the same, {shorter(dict(arm))}; expected each arm "
                "once"
            )


def _key(value: Any) -> Any:
    """A value as it can be looked up."""
    if isinstance(value, spaces.Space):
        return str(value)
    if isinstance(value, tuple | list):
        return tuple(value)
    return value.item() if isinstance(value, np.generic | Tensor) else value


def number_array(given: Any) -> NDArray[Any]:
    """Read an action, or one for each unit, as an array of any type.

    Raises:
        DataError: It is a list of lists that differ in length.
    """
    try:
        return np.asarray(given)
    except ValueError:  # lists of different lengths
        raise DataError(
            f"the action is {shorter(given)}; expected one number for each unit"
        ) from None


def _first(given: NDArray[Any]) -> Any:
    return next(iter(given.reshape(-1)[:1].tolist()), None)


def _alone(given: Any) -> NDArray[Any]:
    found = number_array(given)
    if found.ndim:
        raise DataError(f"the action is {shorter(given)}; expected one number")
    return found[None]


def _numbers(name: str, given: Any, space: spaces.Space[Any]) -> NDArray[np.float64]:
    found, is_whole = number_array(given), isinstance(space, spaces.Discrete)
    if found.dtype.kind not in ("iu" if is_whole else "iuf"):
        expected = "an integer" if is_whole else "a number"
        raise DataError(f"{name} is set to {_first(found)!r}; expected {expected}")
    return found.astype(np.float64, copy=False)


def _is_open(value: Any) -> bool:
    return isinstance(value, spaces.Space | tuple | list)


def _one_number(name: str, value: Any) -> spaces.Space[Any]:
    if isinstance(value, tuple | list):
        if len(value) != 2 or not value[0] < value[1]:
            raise QueryError(f"{name} is open with {value!r}; expected bounds (low, high)")
        return spaces.Box(float(value[0]), float(value[1]), (), np.float64)
    if isinstance(value, spaces.Discrete) or (isinstance(value, spaces.Box) and value.shape == ()):
        return value
    raise QueryError(f"{name} is open with {value}; expected a space of one number, or its bounds")


def _bounds(space: spaces.Space[Any]) -> tuple[float, float]:
    if isinstance(space, spaces.Discrete):
        return float(space.start), float(space.start + space.n - 1)
    assert isinstance(space, spaces.Box)
    return float(space.low), float(space.high)


def _number(name: str, value: Any) -> None:
    try:
        float(value)
    except (TypeError, ValueError):
        raise DataError(
            f"{name} is set to {value!r}; expected a number, a space or bounds (low, high)"
        ) from None
