"""Variables in worlds, and what they do: the parts that queries are made of."""

import itertools
import math
import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from causalppl.exceptions import QueryError

Value: TypeAlias = bool | int | float | str
"""A value of a variable: ``1`` in ``P(Y=1 | do(X='high'))``, or ``'high'``."""

Operator: TypeAlias = Literal["=", ">", ">=", "<", "<="]


HOLDS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


NAME = re.compile(r"[^\W\d][\w.]*")


CONSTANTS: dict[str, bool] = {"True": True, "False": False}


NOT_FINITE = frozenset({"nan", "inf", "infinity"})


class MisuseError(QueryError):
    """A value that cannot be built; knows the part at fault, so that a parser can point at it."""

    def __init__(self, message: str, culprit: object = None) -> None:
        super().__init__(message)
        self.culprit = culprit


class Expression:
    """What all parts of a query share: LaTeX, in notebooks too."""

    __slots__ = ()

    def to_latex(self) -> str:
        """Write the expression in LaTeX, without dollar signs."""
        raise NotImplementedError

    def _repr_latex_(self) -> str:
        return f"${self.to_latex()}$"


@dataclass(frozen=True, slots=True)
class Intervention(Expression):
    """One variable that is set.

    Attributes:
        name: The variable.
        value: What it is set to. None leaves the value open (``do(X)``); a `Term` of the same
            variable sets it to the value that it has in another world (``M_{X=0}``).

    Raises:
        QueryError: The name is not a name, the value is not finite, or the term is of another
            variable or without interventions.

    Example:
        >>> print(Intervention("X", 1), Intervention("M", Term("M", (Intervention("X", 0),))))
        X=1 M_{X=0}
    """

    name: str
    value: "Value | Term | None" = None

    def __post_init__(self) -> None:
        check_name(self.name)
        if isinstance(self.value, Term):
            if self.value.name != self.name or not self.value.interventions:
                raise MisuseError(
                    f"{self.name} is set to {self.value}; a nested world needs the same variable "
                    f"and a non-empty subscript, such as {self.name}_{{X=0}}",
                    self,
                )
        elif self.value is not None:
            object.__setattr__(self, "value", clean_value(self.value))

    def __str__(self) -> str:
        return (
            str(self.value)
            if isinstance(self.value, Term)
            else assignment_text(self.name, self.value)
        )

    def to_latex(self) -> str:
        """Write the intervention in LaTeX."""
        if isinstance(self.value, Term):
            return self.value.to_latex()
        return assignment_latex(self.name, self.value)


@dataclass(frozen=True, slots=True)
class Term(Expression):
    """A variable in a world: ``Y``, ``Y_{X=1}`` or ``Y_{X=1, M_{X=0}}``.

    Attributes:
        name: The variable.
        interventions: What is set in its world, nested ones last, each sorted by name; empty
            in the factual world.

    Raises:
        QueryError: A variable is set twice, or the variable itself is set.

    Example:
        >>> Term.parse("Y_{X=1, M_{X=0}}").interventions[1].value
        Term(name='M', interventions=(Intervention(name='X', value=0),))
    """

    name: str
    interventions: tuple[Intervention, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        object.__setattr__(self, "interventions", sorted_world(self.interventions))
        for intervention in self.interventions:
            if intervention.name == self.name:
                raise MisuseError(
                    f"{self} asks for {self.name} in a world where {self.name} itself is set; "
                    "its value there is no question, remove one of the two",
                    intervention,
                )

    def __str__(self) -> str:
        return f"{self.name}_{{{joined(self.interventions)}}}" if self.interventions else self.name

    @classmethod
    def parse(cls, text: str) -> "Term":
        """Read a term such as ``Y_{X=1}``."""
        from causalppl.queries.grammar import Parser

        return Parser(text).whole(Parser.term)

    @property
    def variables(self) -> frozenset[str]:
        """Every name in the term, subscripts included."""
        return frozenset({self.name}).union(*map(intervention_variables, self.interventions))

    @property
    def is_nested(self) -> bool:
        """Whether some variable takes the value that it has in another world."""
        return any(isinstance(i.value, Term) for i in self.interventions)

    def under(self, interventions: Iterable[Intervention]) -> "Term":
        """Return the term in the world that has these interventions as well, nested ones too.

        Example:
            >>> print(Term.parse("Y_{M_{X=0}}").under([Intervention("W", 1)]))
            Y_{W=1, M_{W=1, X=0}}
        """
        added = tuple(interventions)
        inner = tuple(
            replace(i, value=i.value.under(added)) if isinstance(i.value, Term) else i
            for i in self.interventions
        )
        return Term(self.name, inner + added)

    def to_latex(self) -> str:
        """Write the term in LaTeX."""
        name = _latex_name(self.name)
        if not self.interventions:
            return name
        return f"{name}_{{{', '.join(i.to_latex() for i in self.interventions)}}}"


@dataclass(frozen=True, slots=True)
class Event(Expression):
    """What a term does: ``Y_{X=0}=1``, ``Y > 1.5``, or ``Y`` with its value left open.

    Attributes:
        term: The variable and its world.
        value: None leaves it open.
        op: How the term compares with the value; not ``=`` only in outcomes of P queries.

    Example:
        >>> Event.parse("Y_{X=0} >= 2").op
        '>='
    """

    term: Term
    value: Value | None = None
    op: Operator = "="

    def __post_init__(self) -> None:
        if self.op not in HOLDS:
            raise MisuseError(f"the comparison is {self.op!r}; expected one of {', '.join(HOLDS)}")
        if self.value is not None:
            object.__setattr__(self, "value", clean_value(self.value))
        if self.op != "=" and (self.value is None or isinstance(self.value, bool | str)):
            raise MisuseError(f"{self.term} {self.op} {self.value!r}; an inequality needs a number")

    def __str__(self) -> str:
        return assignment_text(str(self.term), self.value, self.op)

    @classmethod
    def parse(cls, text: str) -> "Event":
        """Read an event such as ``Y_{X=0}=1``."""
        from causalppl.queries.grammar import Parser

        return Parser(text).whole(Parser.event)

    @property
    def name(self) -> str:
        """The name of the variable."""
        return self.term.name

    def to_latex(self) -> str:
        """Write the event in LaTeX."""
        if self.value is None:
            return self.term.to_latex()
        sign = {">=": r"\ge", "<=": r"\le"}.get(self.op, self.op)
        return f"{self.term.to_latex()} {sign} {_latex_value(self.value)}"


def check_name(name: str) -> None:
    """Refuse what the grammar could not read back as a name."""
    if not isinstance(name, str) or NAME.fullmatch(name) is None:
        raise MisuseError(
            f"the name {name!r} is not one; expected letters, digits, '_' and '.', "
            "starting with a letter or '_'; rename the column or the site"
        )


def clean_value(value: Any) -> Value:
    """Turn scalars of numpy and torch into plain values; refuse what is no value."""
    if not isinstance(value, bool | int | float | str) and callable(getattr(value, "item", None)):
        try:
            value = value.item()  # a scalar of numpy or torch
        except (TypeError, ValueError, RuntimeError):
            raise MisuseError(f"a value is {value!r}; expected one number, not an array") from None
    if isinstance(value, float):
        if not math.isfinite(value):
            raise MisuseError(f"a value is {value}; expected a finite number")
        return float(value)
    if isinstance(value, bool | int | str):
        return value if isinstance(value, bool) else (str if isinstance(value, str) else int)(value)
    raise MisuseError(f"a value is {value!r}; expected a number, True, False or a category's name")


def sorted_world(interventions: Iterable[Intervention]) -> tuple[Intervention, ...]:
    """Put interventions in their normal order; refuse repetitions."""
    ordered = tuple(sorted(interventions, key=lambda i: (isinstance(i.value, Term), i.name)))
    for first, second in itertools.pairwise(sorted(ordered, key=lambda i: i.name)):
        if first.name == second.name:
            raise MisuseError(
                f"{first.name} is set twice ({first} and {second}); set it once", second
            )
    return ordered


def intervention_variables(intervention: Intervention) -> frozenset[str]:
    """Every name in an intervention."""
    if isinstance(intervention.value, Term):
        return intervention.value.variables
    return frozenset({intervention.name})


def joined(parts: Iterable[object]) -> str:
    """Write parts with commas between them."""
    return ", ".join(map(str, parts))


def assignment_text(name: str, value: Value | None, op: str = "=") -> str:
    """Write a name with its value, if it has one."""
    if value is None:
        return name
    return f"{name}{op}{value_text(value)}" if op == "=" else f"{name} {op} {value_text(value)}"


def value_text(value: Value) -> str:
    """Write a value so that it is read back as the same type."""
    if not isinstance(value, str):
        return repr(value)
    plain = NAME.fullmatch(value) and value not in CONSTANTS and value.lower() not in NOT_FINITE
    if plain:
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def assignment_latex(name: str, value: Value | None) -> str:
    """Write a name with its value, if it has one, in LaTeX."""
    return _latex_name(name) if value is None else f"{_latex_name(name)} = {_latex_value(value)}"


def _latex_name(name: str) -> str:
    return name if len(name) == 1 and name != "_" else rf"\mathrm{{{_latex_escaped(name)}}}"


def _latex_value(value: Value) -> str:
    if isinstance(value, str):
        return rf"\text{{{_latex_escaped(value)}}}"
    if isinstance(value, bool):
        return rf"\mathrm{{{value}}}"
    mantissa, _, exponent = repr(value).partition("e")
    return rf"{mantissa} \times 10^{{{int(exponent)}}}" if exponent else mantissa


def _latex_escaped(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(
        special.get(letter, f"\\{letter}" if letter in "_%$#&{}" else letter) for letter in text
    )
