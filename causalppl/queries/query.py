"""One probability or expectation, as a value."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from causalppl.exceptions import QueryError
from causalppl.queries.terms import (
    HOLDS,
    Event,
    Expression,
    Intervention,
    MisuseError,
    Term,
    assignment_text,
    intervention_variables,
    joined,
    sorted_world,
)


@dataclass(frozen=True, slots=True)
class Query(Expression):
    """A probability or an expectation, in one world or across several.

    Attributes:
        kind: ``"P"`` or ``"E"``.
        outcomes: What is asked about, in the order written. In an E query, terms without values.
        given: What is conditioned on, sorted; each in the world of its own term.
        do: Interventions under which the whole query lives, outcomes and given alike, sorted:
            ``P(Y | do(X=1), Z)`` is ``P(Y_{X=1} | Z_{X=1})``, see `worlds`.
        coefficients: The weight of each outcome in an E query (ones when left out); empty for P.

    Raises:
        QueryError: No outcome; a variable twice; a variable both set and asked about or given;
            an outcome that contradicts the given part; an inequality in the given part.

    Example:
        >>> query = Query.parse("E[Y_{X=0} | X=1, Y=2.3]")
        >>> query.rung, sorted(query.variables), str(query)
        (3, ['X', 'Y'], 'E[Y_{X=0} | X=1, Y=2.3]')
    """

    kind: Literal["P", "E"]
    outcomes: tuple[Event, ...]
    given: tuple[Event, ...] = ()
    do: tuple[Intervention, ...] = ()
    coefficients: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "outcomes", tuple(self.outcomes))
        object.__setattr__(self, "given", sorted_given(self.given))
        object.__setattr__(self, "do", sorted_world(self.do))
        weights = self.coefficients
        if self.kind == "E" and not weights:
            weights = (1.0,) * len(self.outcomes)
        object.__setattr__(self, "coefficients", tuple(float(weight) for weight in weights))
        self._check_outcomes()
        _check_given(self.outcomes, self.given)
        self._check_do()

    @classmethod
    def parse(cls, text: "str | Query") -> "Query":
        """Read a query; a query is returned as it is.

        Args:
            text: For example ``"P(Y | do(X=1), Z)"``; the grammar is at the top of this module.

        Returns:
            The query.

        Raises:
            QueryError: The text is malformed; the message points at the place.

        Example:
            >>> print(Query.parse("P( Y | Z , do( X = 1 ) )"))
            P(Y | do(X=1), Z)
        """
        from causalppl.queries.grammar import Parser

        return text if isinstance(text, Query) else Parser(text).whole(Parser.query)

    def __str__(self) -> str:
        opening, closing = "()" if self.kind == "P" else "[]"
        body = joined(self.outcomes) if self.kind == "P" else self._signed_sum(str, "*")
        condition = condition_text(self.do, self.given)
        return f"{self.kind}{opening}{body}{condition}{closing}"

    def __repr__(self) -> str:
        return f"Query({self})"

    @property
    def variables(self) -> frozenset[str]:
        """Every name in the query, interventions included."""
        terms = (event.term.variables for event in self.outcomes + self.given)
        return frozenset().union(*terms, *map(intervention_variables, self.do))

    @property
    def worlds(self) -> "Query":
        """The same query with ``do`` pushed into every term.

        Example:
            >>> print(Query.parse("P(Y | do(X=1), Z=0)").worlds)
            P(Y_{X=1} | Z_{X=1}=0)
        """
        if not self.do:
            return self

        def moved(events: tuple[Event, ...]) -> tuple[Event, ...]:
            return tuple(replace(event, term=event.term.under(self.do)) for event in events)

        return replace(self, outcomes=moved(self.outcomes), given=moved(self.given), do=())

    @property
    def rung(self) -> Literal[1, 2, 3]:
        """The rung of the ladder that the text shows: 1 seeing, 2 doing, 3 imagining.

        A query of rung 2 lives in one world that differs from the factual one by interventions
        only. A diagram may bring a query down: ``P(Y_{X=1} | Z)`` mixes two worlds and counts as
        3 here, although it equals ``P(Y | do(X=1), Z)`` where X does not affect Z.

        References:
            Pearl and Mackenzie (2018), chapter 1.
        """
        query = self.worlds
        conditions = tuple(event.term for event in query.given)
        outcomes = tuple(event.term for event in query.outcomes)
        if self.kind == "P":
            return _rung(outcomes + conditions)
        return max(_rung((term, *conditions)) for term in outcomes)

    def expand(self) -> tuple[tuple[float, "Query"], ...]:
        """Split the signed sum in an expectation into queries with one outcome each.

        Returns:
            Pairs of weight and query; a P query is returned whole, with weight 1.

        Example:
            >>> [f"{w:+g} {q}" for w, q in Query.parse("E[Y_{X=1} - Y_{X=0} | Z]").expand()]
            ['+1 E[Y_{X=1} | Z]', '-1 E[Y_{X=0} | Z]']
        """
        if self.kind == "P":
            return ((1.0, self),)
        return tuple(
            (weight, replace(self, outcomes=(event,), coefficients=()))
            for weight, event in zip(self.coefficients, self.outcomes, strict=True)
        )

    def interventional(self) -> "Query":
        """Write the query with ``do`` instead of subscripts; the inverse of `worlds`.

        Raises:
            QueryError: The query spans more than one world.

        Example:
            >>> print(Query.parse("P(Y_{X=1} | Z_{X=1})").interventional())
            P(Y | do(X=1), Z)
        """
        query = self.worlds
        terms = [event.term for event in query.outcomes + query.given]
        if len({term.interventions for term in terms}) > 1:
            raise QueryError(
                f"{self} spans several worlds; expected one world for all its terms, "
                "use expand() for sums and a counterfactual method for the rest"
            )

        def bare(events: tuple[Event, ...]) -> tuple[Event, ...]:
            return tuple(replace(event, term=Term(event.name)) for event in events)

        return replace(
            query,
            outcomes=bare(query.outcomes),
            given=bare(query.given),
            do=terms[0].interventions,
        )

    def to_latex(self) -> str:
        r"""Write the query in LaTeX.

        Example:
            >>> print(Query.parse("P(Y=1 | do(X=1), Z)").to_latex())
            P(Y = 1 \mid \mathrm{do}(X = 1), Z)
        """
        opening, closing = ("P(", ")") if self.kind == "P" else (r"\mathbb{E}[", "]")
        body = (
            ", ".join(event.to_latex() for event in self.outcomes)
            if self.kind == "P"
            else self._signed_sum(Event.to_latex, r"\,")
        )
        conditions = [event.to_latex() for event in self.given]
        if self.do:
            inside = ", ".join(i.to_latex() for i in self.do)
            conditions.insert(0, rf"\mathrm{{do}}({inside})")
        bar = r" \mid " + ", ".join(conditions) if conditions else ""
        return f"{opening}{body}{bar}{closing}"

    def _signed_sum(self, write: Callable[[Event], str], times: str) -> str:
        parts: list[str] = []
        for weight, event in zip(self.coefficients, self.outcomes, strict=True):
            size = "" if abs(weight) == 1 else f"{_number_text(abs(weight))}{times}"
            sign = "-" if weight < 0 else "+"
            lead = (sign if sign == "-" else "") if not parts else f" {sign} "
            parts.append(f"{lead}{size}{write(event)}")
        return "".join(parts)

    def _check_outcomes(self) -> None:
        if self.kind not in ("P", "E"):
            raise MisuseError(f"the kind is {self.kind!r}; expected 'P' or 'E'")
        if not self.outcomes:
            raise MisuseError("the query has no outcome; expected at least one, such as P(Y | X=1)")
        if self.kind == "P" and self.coefficients:
            raise MisuseError("a P query has no coefficients; use an E query for a weighted sum")
        if self.kind == "E":
            self._check_expectation()
        for position, event in enumerate(self.outcomes):
            for earlier in self.outcomes[:position]:
                if earlier.term == event.term and not _is_interval(earlier, event):
                    raise MisuseError(
                        f"{event.term} is an outcome twice ({earlier} and {event}); name it once",
                        event,
                    )

    def _check_expectation(self) -> None:
        if len(self.coefficients) != len(self.outcomes):
            raise MisuseError(
                f"{len(self.outcomes)} outcomes have {len(self.coefficients)} coefficients; "
                "expected one for each"
            )
        for weight, event in zip(self.coefficients, self.outcomes, strict=True):
            if not math.isfinite(weight) or weight == 0:
                raise MisuseError(
                    f"the coefficient of {event} is {weight}; expected a number not 0"
                )
            if event.value is not None:
                raise MisuseError(
                    f"an expectation of the event {event}; expected a variable without a value, "
                    f"use P({event}) for the probability of the event",
                    event,
                )

    def _check_do(self) -> None:
        setters = {i.name: i for i in self.do}
        for event in self.outcomes + self.given:
            for name in sorted(event.term.variables & setters.keys()):
                where = "an outcome" if event in self.outcomes else "given"
                if event.name != name:
                    hint = "a variable is set once, either by do or in a subscript"
                elif where == "given":
                    hint = (
                        "in the world of do its value is known, remove it; to condition on the "
                        f"value it had in fact, use a subscript: P(Y_{{{setters[name]}}} | {event})"
                    )
                else:
                    hint = "its value in that world is no question, remove one of the two"
                raise MisuseError(
                    f"{name} is set by do({setters[name]}) and appears in {event}, {where}; {hint}",
                    event,
                )


def sorted_given(events: Iterable[Event]) -> tuple[Event, ...]:
    """Put conditions in their normal order; refuse inequalities and repetitions."""
    ordered = tuple(sorted(events, key=lambda event: (event.name, str(event))))
    for position, event in enumerate(ordered):
        if event.op != "=":
            raise MisuseError(
                f"{event} is given; conditioning on an inequality is not supported yet, "
                "give a value or make the inequality an outcome",
                event,
            )
        if any(earlier.term == event.term for earlier in ordered[:position]):
            raise MisuseError(f"{event.term} is given twice; condition on it once", event)
    return ordered


def _check_given(outcomes: tuple[Event, ...], given: tuple[Event, ...]) -> None:
    known = {event.term: event.value for event in given}
    for event in outcomes:
        value = known.get(event.term)
        if value is None or event.value is None:
            continue
        if isinstance(value, str) != isinstance(event.value, str):
            holds = False
        else:
            holds = HOLDS[event.op](value, event.value)
        if not holds:
            raise MisuseError(
                f"the outcome {event} contradicts the given "
                f"{assignment_text(str(event.term), value)}; "
                "its probability is zero, use a subscript if another world is meant",
                event,
            )


def _is_interval(first: Event, second: Event) -> bool:
    """Whether two events on one term are a lower and an upper bound with room between them."""
    low, high = sorted((first, second), key=lambda event: event.op.startswith("<"))
    if not (low.op.startswith(">") and high.op.startswith("<")):
        return False
    return float(low.value or 0) < float(high.value or 0)


def _rung(terms: tuple[Term, ...]) -> Literal[1, 2, 3]:
    if len({term.interventions for term in terms}) > 1 or any(term.is_nested for term in terms):
        return 3
    return 2 if terms[0].interventions else 1


def _number_text(number: float) -> str:
    return str(int(number)) if number.is_integer() and number < 1e15 else repr(number)


def condition_text(do: tuple[Intervention, ...], given: tuple[Event, ...]) -> str:
    """Write what stands behind the bar, the bar included."""
    parts = ([f"do({joined(do)})"] if do else []) + [str(event) for event in given]
    return f" | {', '.join(parts)}" if parts else ""
