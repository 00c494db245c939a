"""From text to value; the grammar is described in the package's own page."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

from causalppl.exceptions import QueryError
from causalppl.queries.contrast import ALIASES, Contrast, check_kind
from causalppl.queries.query import Query
from causalppl.queries.terms import (
    CONSTANTS,
    NAME,
    NOT_FINITE,
    Event,
    Intervention,
    MisuseError,
    Term,
    Value,
)

T = TypeVar("T")


_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.])")


_COEFFICIENT = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.])")


_STRING = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""", re.DOTALL)


_OPERATOR = re.compile(r">=|<=|≥|≤|=|>|<")


def parse_query(text: str | Query | Contrast) -> Query | Contrast:
    """Read a query or a contrast; a parsed one is returned as it is.

    Args:
        text: For example ``"P(Y | do(X=1))"`` or ``"ATE(X: 1 vs 0 -> Y)"``.

    Returns:
        A `Query` for P and E, a `Contrast` for the rest.

    Raises:
        QueryError: The text is malformed; the message points at the place.

    Example:
        >>> type(parse_query("E[Y | do(X=1)]")).__name__, parse_query("ATE(X -> Y)").kind
        ('Query', 'ATE')
    """
    if isinstance(text, Query | Contrast):
        return text
    parser = Parser(text)
    head = NAME.match(parser.text, parser.skip_spaces())
    is_contrast = head is not None and head.group() not in ("P", "E")
    return parser.whole(Parser.contrast) if is_contrast else parser.whole(Parser.query)


class Parser:
    """A recursive-descent reader of the grammar at the top of the module."""

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise QueryError(f"a query is {text!r}; expected text, a Query or a Contrast")
        self.text = text
        self.position = 0
        self.places: list[tuple[object, int]] = []

    def whole(self, rule: "Callable[[Parser], T]") -> T:
        """Apply a rule to the whole text."""
        with self._pointing(0):
            result = rule(self)
        self.skip_spaces()
        if self.position < len(self.text):
            self._fail("expected the end of the text")
        return result

    def query(self) -> Query:
        """Read ``P(...)`` or ``E[...]``."""
        start = self.skip_spaces()
        kind = self._name("P(...) or E[...]")
        if kind not in ("P", "E"):
            self._fail("expected P(...) or E[...]", start)
        closing = self._open()
        coefficients: tuple[float, ...] = ()
        if kind == "P":
            outcomes = self._list(Parser.outcome)
        else:
            coefficients, outcomes = self._signed_sum()
        do, given = self._conditions() if self._take("|") else ((), ())
        self._expect(closing)
        return Query("P" if kind == "P" else "E", outcomes, given, do, coefficients)

    def contrast(self) -> Contrast:
        """Read ``ATE(X: 1 vs 0 -> Y | given; mediators)``."""
        start = self.skip_spaces()
        kind = self._name("a query such as P(Y | do(X=1)) or ATE(X -> Y)")
        with self._pointing(start):
            check_kind(ALIASES.get(kind, kind))
        closing = self._open()
        treatment = self._name("the name of the treatment")
        treated, control = self._pair()
        if not (self._take("->") or self._take("→")):
            self._fail("expected '->' and the outcome")
        outcome = self._name("the name of the outcome")
        present, absent = self._pair()
        do, given = self._conditions() if self._take("|") else ((), ())
        mediators = self._list(Parser._mediator) if self._take(";") else ()
        self._expect(closing)
        known: Any = ALIASES.get(kind, kind)
        return Contrast(
            known, treatment, treated, control, outcome, given, mediators, do, present, absent
        )

    def outcome(self) -> Event:
        """Read an event; say what is wrong where ``do`` stands in its place."""
        if self._at_do():
            self._fail("expected an outcome; do(...) belongs behind the bar, as in P(Y | do(X=1))")
        return self.event()

    def event(self) -> Event:
        """Read ``Y_{X=0}=1``, ``Y > 2`` or ``Y``."""
        start = self.skip_spaces()
        term = self.term()
        found = _OPERATOR.match(self.text, self.skip_spaces())
        with self._pointing(start):
            if found is None:
                return self._placed(Event(term), start)
            self.position = found.end()
            op: Any = {"≥": ">=", "≤": "<="}.get(found.group(), found.group())
            return self._placed(Event(term, self._value(), op), start)

    def term(self) -> Term:
        """Read ``Y`` or ``Y_{X=1, M_{X=0}}``."""
        start = self.skip_spaces()
        name = self._name("the name of a variable")
        world: tuple[Intervention, ...] = ()
        if self._take("_", before="{"):
            self._expect("{")
            world = self._list(Parser.intervention)
            self._expect("}")
        with self._pointing(start):
            return Term(name, world)

    def intervention(self) -> Intervention:
        """Read ``X=1``, ``X`` or ``M_{X=0}``."""
        start = self.skip_spaces()
        term = self.term()
        with self._pointing(start):
            if term.interventions:
                return self._placed(Intervention(term.name, term), start)
            value = self._value() if self._take("=") else None
            return self._placed(Intervention(term.name, value), start)

    def skip_spaces(self) -> int:
        """Move to the next character that is not a space; return where it is."""
        while self.position < len(self.text) and self.text[self.position].isspace():
            self.position += 1
        return self.position

    def _mediator(self) -> str:
        return self._name("the name of a mediator")

    def _conditions(self) -> tuple[tuple[Intervention, ...], tuple[Event, ...]]:
        interventions: list[Intervention] = []
        events: list[Event] = []
        while True:
            if self._at_do():
                self._name("do")
                self._expect("(")
                interventions += self._list(Parser.intervention)
                self._expect(")")
            else:
                events.append(self.event())
            if not self._take(","):
                return tuple(interventions), tuple(events)

    def _signed_sum(self) -> tuple[tuple[float, ...], tuple[Event, ...]]:
        weights: list[float] = []
        events: list[Event] = []
        sign = -1.0 if self._take("-") else 1.0
        while True:
            found = _COEFFICIENT.match(self.text, self.skip_spaces())
            if found is not None:
                self.position = found.end()
                self._take("*")
            weights.append(sign * float(found.group() if found else 1))
            events.append(self.outcome())
            if self.text.startswith(",", self.skip_spaces()):
                self._fail("expected '+', '-', '|' or the end; an expectation has one outcome")
            if not (self._take("+") or self.text.startswith("-", self.skip_spaces())):
                return tuple(weights), tuple(events)
            sign = -1.0 if self._take("-") else 1.0

    def _pair(self) -> tuple[Value, Value]:
        if not self._take(":"):
            return 1, 0
        first = self._value()
        start = self.skip_spaces()
        if self._name("'vs' between two values") not in ("vs", "vs."):
            self._fail("expected 'vs' between two values", start)
        return first, self._value()

    def _value(self) -> Value:
        start = self.skip_spaces()
        if found := _STRING.match(self.text, start):
            self.position = found.end()
            body = found.group(1) if found.group(1) is not None else found.group(2)
            return re.sub(r"\\(.)", r"\1", body, flags=re.DOTALL)
        if found := _NUMBER.match(self.text, start):
            self.position = found.end()
            digits = found.group()
            return int(digits) if digits.lstrip("+-").isdecimal() else float(digits)
        if found := NAME.match(self.text, start):
            if found.group().lower() in NOT_FINITE:
                self._fail("expected a finite value; put quotes around a category's name")
            self.position = found.end()
            return CONSTANTS.get(found.group(), found.group())
        self._fail("expected a value: a number, a word or a quoted string")

    def _name(self, what: str) -> str:
        found = NAME.match(self.text, self.skip_spaces())
        if found is None and _STRING.match(self.text, self.position):
            self._fail(f"expected {what}, which has no quotes, only letters, digits, _ and .")
        if found is None:
            self._fail(f"expected {what}")
        name, self.position = found.group(), found.end()
        if name.endswith("_") and self.text.startswith("{", self.skip_spaces()):
            self.position, name = found.end() - 1, name[:-1]  # the last _ opens a subscript
        return name

    def _list(self, rule: "Callable[[Parser], T]") -> tuple[T, ...]:
        items = [rule(self)]
        while self._take(","):
            items.append(rule(self))
        return tuple(items)

    def _open(self) -> str:
        if self._take("("):
            return ")"
        self._expect("[", "'(' or '['")
        return "]"

    def _at_do(self) -> bool:
        return re.compile(r"do\s*\(").match(self.text, self.skip_spaces()) is not None

    def _take(self, token: str, before: str = "") -> bool:
        start = self.skip_spaces()
        if not self.text.startswith(token, start):
            return False
        self.position = start + len(token)
        if before and not self.text.startswith(before, self.skip_spaces()):
            self.position = start
            return False
        return True

    def _expect(self, token: str, what: str = "") -> None:
        if not self._take(token):
            self._fail(f"expected {what or repr(token)}")

    def _placed(self, value: T, start: int) -> T:
        self.places.append((value, start))
        return value

    @contextmanager
    def _pointing(self, start: int) -> Iterator[None]:
        """Show the place of an error that a constructor raised."""
        try:
            yield
        except MisuseError as error:
            places = [place for value, place in self.places if value is error.culprit]
            places += [place for value, place in self.places if value == error.culprit]
            where = places[0] if places else start
            raise QueryError(self._shown(str(error), where)) from None

    def _fail(self, expected: str, at: int | None = None) -> NoReturn:
        place = self.skip_spaces() if at is None else at
        found = repr(self.text[place]) if place < len(self.text) else "the end"
        raise QueryError(self._shown(f"found {found}; {expected}", place))

    def _shown(self, message: str, place: int) -> str:
        line = "".join(" " if letter.isspace() else letter for letter in self.text)
        return f"{message}\n  {line}\n  {' ' * place}^"
