"""Formulas as text and as LaTeX; parts that repeat and are long get a name."""

from collections import Counter
from collections.abc import Iterable

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
    walk,
)
from causalppl.queries.terms import _latex_escaped, _latex_name, _latex_value, value_text

__all__ = ["WIDE", "symbol_text", "to_latex", "to_text"]

WIDE = 60  # characters of text from which a formula fills a line of a notebook
_LONG_LIST = 32  # characters from which a list of symbols gets a name in LaTeX
_LONG = 400  # characters from which a part that is used twice gets a name of its own


def symbol_text(symbol: Symbol) -> str:
    """Write a symbol: ``X``, ``X'`` or ``X=1``."""
    if symbol.value is not None:
        return f"{symbol.variable}={value_text(symbol.value)}"
    return symbol.variable + "'" * symbol.primes


def to_text(root: Node) -> str:
    """Write a formula on one line, or with definitions of its long shared parts below."""
    return _Writer().whole(root)


def to_latex(root: Node) -> str:
    """Write a formula in LaTeX."""
    return _LatexWriter().whole(root)


class _Writer:
    """Plain text."""

    bar, times, equals = " | ", " ", " = "

    def __init__(self) -> None:
        self.texts: dict[int, str] = {}
        self.definitions: list[str] = []

    def whole(self, root: Node) -> str:
        uses = Counter(id(part) for node in walk(root) for part in node.parts)
        for node in walk(root):
            text = self.node(node)
            if uses[id(node)] > 1 and len(text) > _LONG and node is not root:
                name = self.name(len(self.definitions) + 1)
                self.definitions.append(f"{name}{self.equals}{text}")
                text = name
            self.texts[id(node)] = text
        return self.joined(self.texts[id(root)])

    def joined(self, text: str) -> str:
        if not self.definitions:
            return text
        return "\n".join([text, "where", *(f"  {line}" for line in self.definitions)])

    def name(self, number: int) -> str:
        return f"f{number}"

    def part(self, node: Node, *, in_product: bool = False) -> str:
        text = self.texts[id(node)]
        is_name = not isinstance(node, Probability | Policy) and "(" not in text
        if in_product and not is_name and isinstance(node, Quotient | Combination | Pin):
            return f"[{text}]"
        return text

    def node(self, node: Node) -> str:
        match node:
            case Probability(outcomes=outcomes, given=given, do=do, domain=domain):
                return self.probability("P", self.symbols(outcomes), given, do, domain)
            case Policy(outcome=outcome, given=given):
                return self.probability("pi", self.symbols((outcome,)), given, (), None)
            case Product(factors=factors):
                return self.product(factors)
            case Sum(over=over, body=body):
                return self.sum(over, body)
            case Quotient(numerator=numerator, denominator=denominator):
                return self.quotient(numerator, denominator)
            case Pin(over=over, body=body):
                return self.pin(over, body)
            case Level(symbol=symbol):
                return self.symbol(symbol)
            case Test(symbol=symbol, op=op, bound=bound):
                return f"1[{self.symbol(symbol)} {self.op(op)} {self.value(bound)}]"
            case Same(first=first, second=second):
                return f"1[{self.symbol(first)}{self.equals}{self.symbol(second)}]"
            case Combination(weights=weights, terms=terms):
                return self.combination(weights, terms)
        return "0"

    def symbols(self, symbols: Iterable[Symbol]) -> str:
        return ", ".join(self.listed(symbols))

    def listed(self, symbols: Iterable[Symbol]) -> list[str]:
        return [*map(self.symbol, symbols)]

    def symbol(self, symbol: Symbol) -> str:
        return symbol_text(symbol)

    def value(self, value: object) -> str:
        return value_text(value)  # type: ignore[arg-type]

    def op(self, op: str) -> str:
        return op

    def do(self, do: tuple[Symbol, ...]) -> str:
        return f"do({self.symbols(do)})"

    def probability(
        self,
        letter: str,
        outcomes: str,
        given: tuple[Symbol, ...],
        do: tuple[Symbol, ...],
        domain: str | None,
        brackets: str = "()",
    ) -> str:
        conditions = [self.do(do)] if do else []
        conditions += self.listed(given)
        bar = self.bar + ", ".join(conditions) if conditions else ""
        population = self.population(domain) if domain else ""
        return f"{letter}{population}{brackets[0]}{outcomes}{bar}{brackets[1]}"

    def population(self, domain: str) -> str:
        return f"^{domain}"

    def product(self, factors: tuple[Node, ...]) -> str:
        if not factors:
            return "1"
        last = len(factors) - 1
        texts = []
        for place, factor in enumerate(factors):
            text = self.part(factor, in_product=True)
            if isinstance(factor, Sum) and place < last and text.startswith(self.sum_sign):
                text = f"[{text}]"
            texts.append(text)
        return self.times.join(texts)

    sum_sign = "sum_"

    def sum(self, over: tuple[Symbol, ...], body: Node) -> str:
        mean = self.mean(over, body)
        if mean is not None:
            return mean
        return f"{self.sum_sign}{self.under(over)} {self.part(body, in_product=True)}"

    def under(self, over: tuple[Symbol, ...]) -> str:
        named = self.symbols(over)
        return named if len(over) == 1 else f"{{{named}}}"

    def mean(self, over: tuple[Symbol, ...], body: Node) -> str | None:
        """Write ``sum_Y Y P(Y | Z) g(Z)`` as ``E[Y | Z] g(Z)``, and ``1[Y > 0]`` likewise."""
        factors = body.factors if isinstance(body, Product) else ()
        weights = [factor for factor in factors if isinstance(factor, Level | Test)]
        if len(weights) != 1 or weights[0].symbol not in over:
            return None
        symbol = weights[0].symbol
        others = [factor for factor in factors if factor is not weights[0]]
        using = [factor for factor in others if symbol in factor.free]
        if len(using) != 1 or not isinstance(using[0], Probability):
            return None
        law = using[0]
        if law.outcomes != (symbol,):
            return None
        name = self.weighed(law, weights[0])
        rest = [name, *(self.part(f, in_product=True) for f in others if f is not law)]
        outer = tuple(other for other in over if other != symbol)
        text = self.times.join(rest)
        return f"{self.sum_sign}{self.under(outer)} {text}" if outer else text

    def weighed(self, law: Probability, weight: Level | Test) -> str:
        name = self.symbol(weight.symbol)
        if isinstance(weight, Test):
            event = f"{name} {self.op(weight.op)} {self.value(weight.bound)}"
            return self.probability("P", event, law.given, law.do, law.domain)
        return self.probability(self.mean_sign, name, law.given, law.do, law.domain, "[]")

    mean_sign = "E"

    def quotient(self, numerator: Node, denominator: Node) -> str:
        above, below = self.part(numerator), self.part(denominator)
        if not isinstance(numerator, Probability | Policy):
            above = f"({above})"
        if not isinstance(denominator, Probability | Policy):
            below = f"({below})"
        return f"{above} / {below}"

    def pin(self, over: tuple[Symbol, ...], body: Node) -> str:
        return f"{self.part(body)} at any {self.symbols(over)}"

    def combination(self, weights: tuple[float, ...], terms: tuple[Node, ...]) -> str:
        text = ""
        for weight, term in zip(weights, terms, strict=True):
            size = "" if abs(weight) == 1 else f"{abs(weight):g}{self.times}"
            sign = ("-" if weight < 0 else "") if not text else (" - " if weight < 0 else " + ")
            text += f"{self.break_before(text, terms)}{sign}{size}{self.part(term)}"
        return text

    def break_before(self, text: str, terms: tuple[Node, ...]) -> str:
        return ""


class _LatexWriter(_Writer):
    """LaTeX, without dollar signs.

    A long list of symbols gets a name too, and each term of a long difference a line of its own.
    """

    bar, times, sum_sign, mean_sign = r" \mid ", r"\, ", r"\sum_", r"\mathbb{E}"
    group: frozenset[Symbol] = frozenset()
    group_name = ""
    group_lines: list[str] = []  # noqa: RUF012
    term_lines: tuple[Node, ...] = ()

    def whole(self, root: Node) -> str:
        if isinstance(root, Combination) and len(to_text(root)) > WIDE:
            self.term_lines = root.terms
        members = _long_list(root)
        used = {symbol.variable for node in walk(root) for symbol in _symbols_of(node)}
        letter = next((letter for letter in "ZWVC" if letter not in used), "")
        if members and letter:
            names = [*map(self.symbol, members)]
            self.group, self.group_name = frozenset(members), rf"\mathbf{{{letter}}}"
            self.group_lines = _wrapped(rf"\text{{where }} {self.group_name} = \{{", names)
        return super().whole(root)

    def listed(self, symbols: Iterable[Symbol]) -> list[str]:
        found = tuple(symbols)
        if not self.group or not self.group <= {*found}:
            return super().listed(found)
        return [*super().listed(s for s in found if s not in self.group), self.group_name]

    def joined(self, text: str) -> str:
        lines = [text, *self.definitions, *(self.group_lines if self.group else ())]
        if len(lines) == 1 and not self.term_lines:
            return text
        body = " \\\\\n".join(f"& {line}" for line in lines)
        return f"\\begin{{aligned}}[t]\n{body}\n\\end{{aligned}}"

    def break_before(self, text: str, terms: tuple[Node, ...]) -> str:
        return "\\\\\n& \\quad" if text and terms is self.term_lines else ""

    def name(self, number: int) -> str:
        return f"f_{{{number}}}"

    def symbol(self, symbol: Symbol) -> str:
        name = _latex_name(symbol.variable) + "'" * symbol.primes
        return name if symbol.value is None else f"{name} = {_latex_value(symbol.value)}"

    def value(self, value: object) -> str:
        return _latex_value(value)  # type: ignore[arg-type]

    def op(self, op: str) -> str:
        return {">=": r"\ge", "<=": r"\le"}.get(op, op)

    def do(self, do: tuple[Symbol, ...]) -> str:
        return rf"\mathrm{{do}}({self.symbols(do)})"

    def population(self, domain: str) -> str:
        return rf"^{{\mathrm{{{_latex_escaped(domain)}}}}}"

    def under(self, over: tuple[Symbol, ...]) -> str:
        return f"{{{self.symbols(over)}}}"

    def quotient(self, numerator: Node, denominator: Node) -> str:
        return rf"\frac{{{self.part(numerator)}}}{{{self.part(denominator)}}}"

    def pin(self, over: tuple[Symbol, ...], body: Node) -> str:
        return rf"{self.part(body)} \text{{ at any }} {self.symbols(over)}"


def _symbols_of(node: Node) -> tuple[Symbol, ...]:
    match node:
        case Probability(outcomes=outcomes, given=given, do=do):
            return (*outcomes, *given, *do)
        case Policy(outcome=outcome, given=given):
            return (outcome, *given)
        case Sum(over=over) | Pin(over=over):
            return over
    return ()


def _long_list(root: Node) -> tuple[Symbol, ...]:
    """What is summed over and conditioned on together, where that list is long."""
    given = [node.given for node in walk(root) if isinstance(node, Probability)]
    found = [
        tuple(symbol for symbol in node.over if symbol in conditions)
        for node in walk(root)
        if isinstance(node, Sum)
        for conditions in given
    ]
    longest = max(found, key=lambda symbols: len(_symbols_text(symbols)), default=())
    return longest if len(_symbols_text(longest)) > _LONG_LIST else ()


def _symbols_text(symbols: Iterable[Symbol]) -> str:
    return ", ".join(map(symbol_text, symbols))


def _wrapped(start: str, names: list[str], per_line: int = 6) -> list[str]:
    """A list in braces, a few names to a line."""
    lines = [", ".join(names[k : k + per_line]) for k in range(0, len(names), per_line)]
    lines = [f"{line}," for line in lines[:-1]] + [rf"{lines[-1]}\}}"]
    return [f"{start}{lines[0]}", *(rf"\qquad {line}" for line in lines[1:])]
