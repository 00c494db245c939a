"""Formulas evaluated on exact tables of probabilities."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from causalppl.data import Factor, contract
from causalppl.exceptions import AssumptionError, DataError
from causalppl.given import told
from causalppl.identification import Estimand
from causalppl.identification.expression import (
    Combination,
    Level,
    Node,
    Pin,
    Policy,
    Probability,
    Product,
    Quotient,
    Same,
    Sum,
    Symbol,
    Test,
    Zero,
    walk,
)
from causalppl.identification.rendering import to_text
from causalppl.queries import Contrast, Value
from causalppl.queries.terms import HOLDS

__all__ = ["Law", "SourceKey", "evaluate"]

Law: TypeAlias = Factor | Iterable[Factor]
"""A law as one table of probabilities, or as the tables whose product it is."""

SourceKey: TypeAlias = tuple[str | None, frozenset[str]]
"""What a source of data shows: its domain (None is the target population), and what is set there.

``(None, frozenset())`` is observation, ``("trial", frozenset({"X"}))`` an experiment elsewhere.
"""


def evaluate(
    estimand: Estimand,
    law: Law | Mapping[SourceKey, Law],
    *,
    policies: Mapping[str, Factor] | None = None,
    tolerance: float = 1e-9,
) -> Factor | float | Tensor:
    """Compute an estimand on exact laws of finite variables.

    Args:
        estimand: From ``identify``.
        law: The observational law: one table, or factors whose product it is (a Bayesian network),
            contracted without the joint table. With experiments or several populations, a mapping
            from ``(domain, variables set)`` to laws, the target's domain being None; the law of an
            experiment has the variables that were set among its names and sums to one for each
            of their values. The law of selected units goes under ``("S=1", frozenset())``.
        policies: For soft interventions, the law of each planned variable given its inputs.
        tolerance: By how much the answer may depend on probabilities that the law leaves
            undefined.

    Returns:
        For a P query a table over the values that it leaves open, named and ordered as
        ``estimand.axes``; for an E query or a contrast a number, or a tensor over these values.

    Raises:
        AssumptionError: The answer needs a conditional probability in a stratum of probability
            zero (positivity fails); the message names the strata.
        DataError: A law, a variable or a value is missing.

    Example:
        >>> import torch
        >>> from causalppl.data import Factor
        >>> from causalppl.graphs import back_door
        >>> from causalppl.identification import identify
        >>> joint = Factor(("Z", "X", "Y"), torch.tensor(
        ...     [[[0.30, 0.10], [0.05, 0.05]], [[0.05, 0.05], [0.10, 0.30]]]))
        >>> round(evaluate(identify(back_door(), "P(Y=1 | do(X=1))"), joint).values.item(), 3)
        0.625
    """
    if not isinstance(estimand, Estimand):
        raise DataError(
            f"the estimand is {told(estimand)}; expected what identify returned, first: "
            "evaluate(estimand, law)"
        )
    laws = _keyed(law) if isinstance(law, Mapping) else {(None, frozenset()): law}
    tables = Tables(laws, policies or {}, selected_on=estimand.selected_on, tolerance=tolerance)
    if not is_number(estimand):
        return tables.labelled(tables.of(estimand.body), estimand)
    value = expectation(estimand, tables)
    return value if value.dim() else float(value)


def is_number(estimand: Estimand) -> bool:
    """Whether the answer is an expectation or a contrast, which can be negative."""
    query = estimand.query
    return isinstance(query, Contrast) or query.kind == "E"


def expectation(estimand: Estimand, tables: "Tables") -> Tensor:
    """Compute an expectation or a contrast, shape ``(*batch, *axes)``."""
    body = estimand.body
    if not isinstance(body, Combination):
        return _number(body, tables, estimand)
    terms = [_number(term, tables, estimand) for term in body.terms]
    return torch.stack([w * t for w, t in zip(body.weights, terms, strict=True)]).sum(0)


def _number(node: Node, tables: "Tables", estimand: Estimand) -> Tensor:
    """Compute an expectation; levels are shifted to be non-negative, as tables must be."""
    levels = [part.symbol for part in walk(node) if isinstance(part, Level)]
    if not levels:
        return tables.labelled(tables.of(node), estimand).values
    lowest = min(0.0, *(min(tables.levels(symbol)) for symbol in levels))
    shifted = replace(tables, shift=lowest)
    above = shifted.labelled(shifted.of(node), estimand).values
    if not lowest:
        return above
    ones = replace(tables, shift=None)
    return above + lowest * ones.labelled(ones.of(node), estimand).values


@dataclass
class Tables:
    """The table of each node, by the names of its free symbols.

    Undefined probabilities (0/0) are filled at random in two ways, along a leading axis of length
    two; what agrees at the end did not depend on them. No two fillings are alike, so that they do
    not cancel.
    """

    laws: Mapping[SourceKey, Law]
    policies: Mapping[str, Factor]
    shift: float | None = 0.0
    selected_on: str | None = None
    tolerance: float = 1e-9

    def __post_init__(self) -> None:
        self._undefined: set[str] = set()
        self._num_fillings = 0
        self._known: dict[int, Factor] = {}
        self._leaves: dict[object, Factor] = {}
        self._factors = {key: _as_factors(key, law) for key, law in self.laws.items()}
        self._states = {
            name: states
            for factors in self._factors.values()
            for factor in factors
            for name, states in factor.states.items()
        }

    def of(self, root: Node) -> Factor:
        """Compute a node's table."""
        for node in walk(root):
            if id(node) not in self._known and not self._is_inside_sum(node, root):
                self._known[id(node)] = self._table(node)
        return self._known[id(root)]

    def labelled(self, table: Factor, estimand: Estimand) -> Factor:
        """Name and order the axes as the query does; a value that does not matter gets one too.

        Raises:
            AssumptionError: The answer differs between the two fillings.
        """
        if table.batch_shape:
            table = self._settled(table, estimand)
        known = [(label, s) for label, s in estimand.axes if self.has(s.variable)]
        states = {str(symbol): self.states_of(symbol.variable) for _, symbol in known}
        shape = tuple(len(found) for found in states.values())
        values = table._spread(tuple(states))
        values = values.expand((*table.batch_shape, *shape))
        labels = tuple(label for label, _ in known)
        return Factor(labels, values, dict(zip(labels, states.values(), strict=True)))

    def _settled(self, table: Factor, estimand: Estimand) -> Factor:
        """Drop the axis of trial fillings, if the answer is the same under both."""
        first, second = table.values
        if float((first - second).abs().max()) > self.tolerance:
            listed = "; ".join(sorted(self._undefined)[:5])
            raise AssumptionError(
                f"{estimand.query} needs probabilities given what never happens: {listed}; "
                "expected every such stratum to have positive probability; restrict the question "
                "to strata that occur, or bound it"
            )
        return Factor(table.names, first, table.states)

    @staticmethod
    def _is_inside_sum(node: Node, root: Node) -> bool:
        # products are contracted as a whole by the sum above them
        return isinstance(node, Product) and node is not root

    def levels(self, symbol: Symbol) -> list[float]:
        """List a variable's values as numbers."""
        states = self.states_of(symbol.variable)
        if any(isinstance(state, str) for state in states):
            raise DataError(
                f"an expectation of {symbol.variable}, whose values are {states}; expected numbers"
            )
        return [float(state) for state in states]

    def _table(self, node: Node) -> Factor:
        match node:
            case Probability():
                return self._probability(node)
            case Policy(outcome=outcome, given=given):
                return self._renamed(self._policy(node), (outcome, *given))
            case Product() | Sum():
                body = node.body if isinstance(node, Sum) else node
                return self._contracted(body, node.free)
            case Quotient(numerator=numerator, denominator=denominator):
                above, below = self._get(numerator), self._get(denominator)
                return self._ratio(above, below, "a quotient")
            case Pin(body=body, over=over):
                return self._pinned(self._get(body), over)
            case Zero():
                return Factor((), torch.zeros((), dtype=torch.float64))
        return self._weights(node)

    def _get(self, node: Node) -> Factor:
        if id(node) not in self._known:
            self._known[id(node)] = self._table(node)
        return self._known[id(node)]

    def _contracted(self, body: Node, free: Iterable[Symbol]) -> Factor:
        factors = body.factors if isinstance(body, Product) else (body,)
        if not factors:
            return Factor((), torch.ones((), dtype=torch.float64))
        result = contract(map(self._get, factors), sorted(map(str, free)))
        return Factor(result.names, plain(result), result.states)

    def _probability(self, node: Probability) -> Factor:
        slots = (*node.outcomes, *node.given, *node.do)
        key = node.domain, tuple(s.variable for s in slots), len(node.outcomes), len(node.do)
        if key not in self._leaves:
            self._leaves[key] = self._leaf(node)
        return self._renamed(self._leaves[key], slots)

    def _leaf(self, node: Probability) -> Factor:
        """Compute the table of a law: over outcomes, conditions and interventions, in order."""
        names = [symbol.variable for symbol in (*node.outcomes, *node.given, *node.do)]
        law = self._law(node)
        self._check_units(node, law)
        present = {name for factor in law for name in factor.names}
        if missing := sorted(set(names) - present):
            raise DataError(
                f"the formula needs {to_text(node)}, but the law of {_said(node)} lacks "
                f"{', '.join(missing)}; it has {', '.join(sorted(present))}"
            )
        joint = contract(law, names)
        joint = Factor(joint.names, plain(joint), joint.states)
        rest = names[: len(node.outcomes)]
        if not node.given:
            return joint
        return self._ratio(joint, joint.marginalise(rest), f"P({', '.join(rest)}) given", rest)

    def _law(self, node: Probability) -> tuple[Factor, ...]:
        do = frozenset(symbol.variable for symbol in node.do)
        key = node.domain, do
        key_of_selected = f"{self.selected_on}=1", do
        if self._is_of_selected(node) and key_of_selected in self._factors:
            law, name = self._factors[key_of_selected], str(self.selected_on)
            if any(name in factor.names for factor in law):
                return law
            return (*law, Factor((name,), torch.ones(1), {name: (1,)}))
        if key not in self._factors:
            raise DataError(
                f"the formula needs the law of {_said(node)}; no such law was given; pass "
                f"{{({node.domain!r}, frozenset({sorted(key[1])})): table}}"
            )
        return self._factors[key]

    def _check_units(self, node: Probability, law: tuple[Factor, ...]) -> None:
        """Refuse to take a law of all units from selected ones."""
        name = self.selected_on
        if name is None or self._is_of_selected(node):
            return
        if not any(name in factor.names for factor in law):
            return
        if float(contract(law, [name]).normalise().probability({name: 1})) > 1 - 1e-12:
            raise DataError(
                f"the formula needs a law of {', '.join(s.variable for s in node.outcomes)} among "
                f"all units, but the law given has only units with {name}=1; pass "
                f"{{('{name}=1', frozenset()): selected, (None, frozenset()): external}}"
            )

    def _is_of_selected(self, node: Probability) -> bool:
        return any(symbol.variable == self.selected_on for symbol in (*node.given, *node.outcomes))

    def _policy(self, node: Policy) -> Factor:
        name = node.outcome.variable
        if name not in self.policies:
            raise DataError(f"the plan for {name} has no law; pass policies={{{name!r}: table}}")
        law = plan_law(name, self.policies[name])
        return law.align([name, *(symbol.variable for symbol in node.given)])

    def _renamed(self, table: Factor, slots: Iterable[Symbol]) -> Factor:
        """Cut a table over variables at fixed values, and name its axes by symbols."""
        symbols = {symbol.variable: symbol for symbol in slots}
        fixed = {v: s.value for v, s in symbols.items() if s.value is not None}
        cut = table.condition(fixed)
        names = tuple(str(symbols[name]) for name in cut.names)
        states = {str(symbols[name]): cut.states[name] for name in cut.names}
        return Factor(names, cut.values, states)

    def _ratio(
        self, above: Factor, below: Factor, what: str, outcomes: Sequence[str] = ()
    ) -> Factor:
        keep = tuple(dict.fromkeys((*above.names, *below.names)))
        top, bottom = above._spread(keep), below._spread(keep)
        states = {**above.states, **below.states}
        empty = bottom == 0
        values = top / torch.where(empty, torch.ones_like(bottom), bottom)
        if not bool(empty.any()):
            return Factor(keep, values, states)
        self._report(below, what)
        empty = empty.expand(torch.broadcast_shapes(empty.shape, values.shape))
        if values.dim() == len(keep):
            values, empty = values.expand(2, *values.shape), empty.expand(2, *empty.shape)
        fill = self._filling(values, [keep.index(name) + 1 for name in outcomes])
        return Factor(keep, torch.where(empty, fill, values), states)

    def _filling(self, like: Tensor, outcomes: list[int]) -> Tensor:
        """Draw what stands for undefined numbers: laws, where the outcomes' axes are known."""
        self._num_fillings += 1
        generator = torch.Generator().manual_seed(self._num_fillings)
        drawn = 0.1 + 0.8 * torch.rand(like.shape, generator=generator, dtype=like.dtype)
        if outcomes:
            drawn = drawn / drawn.sum(outcomes, keepdim=True)
        return drawn.to(like.device)

    def _report(self, below: Factor, what: str) -> None:
        values = below.values if not below.batch_shape else below.values[0]
        for cell in (values == 0).nonzero()[:5].tolist():
            named = zip(below.names, cell, strict=True)
            shown = ", ".join(f"{name}={below.states[name][code]}" for name, code in named)
            self._undefined.add(f"{what} {shown}" if shown else what)

    def _pinned(self, table: Factor, over: Iterable[Symbol]) -> Factor:
        """Take the first value of the pinned symbols at which all is defined."""
        gone = [str(symbol) for symbol in over]
        kept = [name for name in table.names if name not in gone]
        values = table.align([*gone, *kept]).values
        lead = 1 if table.batch_shape else 0
        flat = values.reshape(*values.shape[:lead], -1, *values.shape[lead + len(gone) :])
        if not lead:
            return Factor(tuple(kept), flat[0], table.states)
        spread = (flat[0] - flat[1]).abs()
        worst = spread.reshape(spread.shape[0], -1).amax(dim=1)
        return Factor(tuple(kept), flat[:, int(worst.argmin())], table.states)

    def _weights(self, node: Node) -> Factor:
        match node:
            case Level(symbol=symbol):
                values = torch.tensor(self.levels(symbol), dtype=torch.float64)
                shifted = torch.ones_like(values) if self.shift is None else values - self.shift
                return self._over((symbol,), shifted)
            case Test(symbol=symbol, op=op, bound=bound):
                states = self.states_of(symbol.variable)
                if op != "=" and any(isinstance(state, str) for state in states):
                    raise DataError(
                        f"{symbol.variable} {op} {bound} is asked of values {states}; expected "
                        "numbers, or a query about single values"
                    )
                holds = [float(HOLDS[op](state, bound)) for state in states]
                return self._over((symbol,), torch.tensor(holds, dtype=torch.float64))
            case Same(first=first, second=second):
                size = len(self.states_of(first.variable))
                table = self._over(
                    (Symbol(first.variable, 0), Symbol(first.variable, 1)),
                    torch.eye(size, dtype=torch.float64),
                )
                for name, symbol in zip(tuple(table.names), (first, second), strict=True):
                    if symbol.value is not None:
                        table = table.condition({name: symbol.value})
                names = tuple(str(s) for s in (first, second) if s.value is None)
                return Factor(
                    names, table.values, dict.fromkeys(names, self._states[first.variable])
                )
        raise AssertionError(f"no table for {node}")

    def _over(self, symbols: tuple[Symbol, ...], values: Tensor) -> Factor:
        names = tuple(map(str, symbols))
        states = {str(s): self.states_of(s.variable) for s in symbols}
        return Factor(names, values, states)

    def has(self, name: str) -> bool:
        """Whether some law has the variable."""
        return name in self._states

    def states_of(self, name: str) -> tuple[Value, ...]:
        """List a variable's values."""
        if name not in self._states:
            raise DataError(f"no law has the variable {name!r}; it has {sorted(self._states)}")
        return self._states[name]


def _said(node: Probability) -> str:
    do = ", ".join(sorted(symbol.variable for symbol in node.do))
    return (f"do({do})" if do else "observation") + (f" in {node.domain}" if node.domain else "")


def _keyed(laws: Mapping[SourceKey, Law]) -> dict[SourceKey, Law]:
    """Check and normalise the keys of laws: a population, and the variables that were set."""
    found: dict[SourceKey, Law] = {}
    for key, law in laws.items():
        is_pair = isinstance(key, tuple) and len(key) == 2
        domain, do = key if is_pair else (key, None)
        if not (domain is None or isinstance(domain, str)) or not isinstance(do, Iterable):
            raise DataError(
                f"a law was given under {key!r}; expected a pair of population (None: the target) "
                "and the variables set, such as (None, frozenset()) or ('trial', {'X'})"
            )
        found[domain, frozenset({do} if isinstance(do, str) else do)] = law
    return found


def plan_law(name: str, law: Factor) -> Factor:
    """Normalise the law of a planned variable given what the plan looks at.

    Raises:
        DataError: It is not such a law.
    """
    if not isinstance(law, Factor) or name not in law.names:
        raise DataError(f"the plan for {name} is {law!r}; expected a Factor with {name} in it")
    inputs = [other for other in law.names if other != name]
    table = law.align([*inputs, name])
    total = plain(table).sum(-1, keepdim=True)
    if not torch.allclose(total, torch.ones_like(total), atol=1e-6):
        raise DataError(
            f"the plan for {name} sums to {float(total.min()):.6g} to {float(total.max()):.6g}; "
            f"expected 1 for each value of what it looks at"
        )
    return Factor(table.names, plain(table) / total, table.states)


def _as_factors(key: SourceKey, law: Law) -> tuple[Factor, ...]:
    factors = (law,) if isinstance(law, Factor) else tuple(law if law is not None else ())
    if not factors or not all(isinstance(factor, Factor) for factor in factors):
        raise DataError(f"the law of {key} is {law!r}; expected a Factor, or several")
    present = {name for factor in factors for name in factor.names}
    total = plain(contract(factors, sorted(present & key[1])))
    if not torch.allclose(total, torch.ones_like(total), atol=1e-6):
        raise DataError(
            f"the law of {key} sums to {float(total.min()):.6g} to {float(total.max()):.6g}; "
            "expected 1; normalise it"
        )
    return factors


def plain(factor: Factor) -> Tensor:
    """Return the numbers of a table, its scale multiplied in."""
    scale = factor.log_scale.exp()
    return factor.values * scale[(..., *[None] * len(factor.names))]
