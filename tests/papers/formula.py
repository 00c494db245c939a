"""The formulas of the cases as numbers: a reader of the notation in `case`, on tables of numpy.

Nothing here is shared with the package's own formulas or their evaluation.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Study = tuple[str | None, frozenset[str]]

TOKEN = re.compile(
    r"sum_\{[^}]*\}|P(?:\^\{\w+\})?(?:_\{[^}]*\})?\([^)]*\)|pi\([^)]*\)|[01]|[\[\]/]"
)
PROBABILITY = re.compile(r"P(?:\^\{(\w+)\})?(?:_\{([^}]*)\})?\(([^)|]*)(?:\|([^)]*))?\)")
POLICY = re.compile(r"pi\(([^)|]*)(?:\|([^)]*))?\)")


@dataclass(frozen=True)
class Table:
    """Numbers, and the symbol (``X``, ``X'``) of each axis."""

    symbols: tuple[str, ...]
    values: Array

    def over(self, symbols: tuple[str, ...]) -> Array:
        """Lay the axes out in a wider order; those that are missing have length one."""
        order = [self.symbols.index(symbol) for symbol in symbols if symbol in self.symbols]
        assert len(order) == len(self.symbols), (self.symbols, symbols)
        missing = [i for i, symbol in enumerate(symbols) if symbol not in self.symbols]
        return np.expand_dims(self.values.transpose(order), missing)

    def join(self, other: "Table", is_divided: bool = False) -> "Table":
        symbols = tuple(dict.fromkeys((*self.symbols, *other.symbols)))
        mine, theirs = self.over(symbols), other.over(symbols)
        return Table(symbols, mine / theirs if is_divided else mine * theirs)

    def sum(self, symbols: Iterable[str]) -> "Table":
        gone = tuple(symbols)
        assert set(gone) <= set(self.symbols), f"a sum over {gone}, of {self.symbols}"
        kept = tuple(symbol for symbol in self.symbols if symbol not in gone)
        axes = tuple(self.symbols.index(symbol) for symbol in gone)
        return Table(kept, self.values.sum(axes))


ONE = Table((), np.ones(()))


@dataclass(frozen=True)
class Data:
    """What formulas are evaluated on.

    Attributes:
        nodes: The variables, in the order of the axes of every law.
        laws: Domain and variables set, to the law: for each value of these, one of the others.
        policies: Variable to what its policy looks at, and ``P(variable | inputs)``, the
            variable's axis last.
    """

    nodes: tuple[str, ...]
    laws: Mapping[Study, Array]
    policies: Mapping[str, tuple[tuple[str, ...], Array]]

    def probability(self, text: str) -> Table:
        match = PROBABILITY.fullmatch(text)
        assert match, text
        domain, do, outcomes, given = match.groups()
        set_to, asked, known = slots(do), slots(outcomes), slots(given)
        law = self.laws[domain, frozenset(name for name, _, _ in set_to)]
        joint = self._marginal(law, [*asked, *known, *set_to])
        return joint.join(self._marginal(law, [*known, *set_to]), True) if known else joint

    def _marginal(self, law: Array, chosen: list[tuple[str, str, int | None]]) -> Table:
        names = [name for name, _, _ in chosen]
        assert len(set(names)) == len(names), f"a variable twice in {names}"
        rest = tuple(i for i, node in enumerate(self.nodes) if node not in names)
        values = law.sum(rest)
        symbols = {name: (symbol, value) for name, symbol, value in chosen}
        ordered = [symbols[node] for node in self.nodes if node in symbols]
        return cut(values, ordered)

    def policy(self, text: str) -> Table:
        match = POLICY.fullmatch(text)
        assert match, text
        (action,), seen = slots(match[1]), slots(match[2])
        inputs, values = self.policies[action[0]]
        assert {name for name, _, _ in seen} == set(inputs), f"{text}; it looks at {inputs}"
        symbols = {name: (symbol, value) for name, symbol, value in (action, *seen)}
        return cut(values, [symbols[name] for name in (*inputs, action[0])])


def cut(values: Array, axes: list[tuple[str, int | None]]) -> Table:
    """Take the fixed values, and name the other axes."""
    index = tuple(slice(None) if value is None else value for _, value in axes)
    return Table(tuple(symbol for symbol, value in axes if value is None), values[index])


def slots(text: str | None) -> list[tuple[str, str, int | None]]:
    """Read ``X', Z=0`` as variable, symbol and value."""
    read: list[tuple[str, str, int | None]] = []
    for part in (text or "").split(","):
        if part.strip():
            symbol, _, value = part.strip().partition("=")
            read.append((symbol.rstrip("'"), symbol, int(value) if value else None))
    return read


def evaluate_formula(text: str, data: Data) -> Table:
    """Compute a formula; its free symbols are the axes of the answer."""
    assert not TOKEN.sub("", text).strip(), f"{TOKEN.sub('', text)!r} in {text!r}"
    tokens = TOKEN.findall(text)
    value = _product(tokens, data)
    assert not tokens, f"{tokens} is left of {text!r}"
    return value


def _product(tokens: list[str], data: Data) -> Table:
    """Read factors from left to right until a bracket closes."""
    value, is_divided = ONE, False
    while tokens and tokens[0] != "]":
        if tokens[0] == "/":
            tokens.pop(0)
            is_divided = True
            continue
        value, is_divided = value.join(_factor(tokens, data), is_divided), False
    return value


def _factor(tokens: list[str], data: Data) -> Table:
    token = tokens.pop(0)
    if token == "[":
        value = _product(tokens, data)
        assert tokens.pop(0) == "]"
        return value
    if token.startswith("sum_"):
        over = [symbol for _, symbol, _ in slots(token[len("sum_{") : -1])]
        return _product(tokens, data).sum(over)
    if token.startswith("pi"):
        return data.policy(token)
    return Table((), np.array(float(token))) if token in "01" else data.probability(token)
