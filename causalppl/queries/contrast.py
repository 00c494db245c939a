"""Named effects, and the queries they stand for."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from causalppl.exceptions import QueryError
from causalppl.queries.query import Query, condition_text, sorted_given
from causalppl.queries.terms import (
    Event,
    Expression,
    Intervention,
    MisuseError,
    Term,
    Value,
    check_name,
    clean_value,
    intervention_variables,
    sorted_world,
    value_text,
)

ContrastKind: TypeAlias = Literal[
    "ATE", "TE", "CATE", "ETT", "ATC", "CDE", "NDE", "NIE", "PN", "PS", "PNS"
]


ALIASES: dict[str, ContrastKind] = {"ATT": "ETT"}


@dataclass(frozen=True, slots=True)
class Contrast(Expression):
    """A named effect of one variable on another.

    ======  ==============================================================================
    kind    meaning (x = treated, x' = control, y = present, y' = absent)
    ======  ==============================================================================
    ATE     ``E[Y_x] - E[Y_x']``; TE is the same, named as in mediation
    CATE    ``E[Y_x | given] - E[Y_x' | given]``
    ETT     ``E[Y_x | X=x] - E[Y_x' | X=x]``; ATT is an alias
    ATC     ``E[Y_x | X=x'] - E[Y_x' | X=x']``
    CDE     ``E[Y_{x, m}] - E[Y_{x', m}]``, the mediators held at ``do(M=m)``
    NDE     ``E[Y_{x, M_x'}] - E[Y_x']``
    NIE     ``E[Y_{x', M_x}] - E[Y_x']``
    PN      ``P(Y_x'=y' | X=x, Y=y)``, necessity
    PS      ``P(Y_x=y | X=x', Y=y')``, sufficiency
    PNS     ``P(Y_x=y, Y_x'=y')``, both
    ======  ==============================================================================

    Attributes:
        kind: One of the table.
        treatment: The variable that is set.
        treated: Its first value, 1 unless said.
        control: Its second value, 0 unless said.
        outcome: The variable that is read.
        given: Factual conditions that restrict the units; required by CATE, refused by ATE.
        mediators: For NDE and NIE; left out, a diagram or a program must supply them.
        do: For CDE: the values at which the mediators are held.
        present: For PN, PS and PNS: the value of the outcome when the event occurs.
        absent: Likewise when it does not.

    References:
        Pearl (2001), Direct and indirect effects; Tian and Pearl (2000), Probabilities of
        causation; Shpitser and Pearl (2009), Effects of treatment on the treated.

    Example:
        >>> for weight, query in Contrast.parse("ETT(X: 1 vs 0 -> Y)").expand():
        ...     print(weight, query)
        1.0 E[Y_{X=1} | X=1]
        -1.0 E[Y_{X=0} | X=1]
    """

    kind: ContrastKind
    treatment: str
    treated: Value
    control: Value
    outcome: str
    given: tuple[Event, ...] = ()
    mediators: tuple[str, ...] = ()
    do: tuple[Intervention, ...] = ()
    present: Value = 1
    absent: Value = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", ALIASES.get(self.kind, self.kind))
        check_kind(self.kind)
        for name in (self.treatment, self.outcome, *self.mediators):
            check_name(name)
        for field in ("treated", "control", "present", "absent"):
            object.__setattr__(self, field, clean_value(getattr(self, field)))
        object.__setattr__(self, "given", sorted_given(self.given))
        object.__setattr__(self, "do", sorted_world(self.do))
        object.__setattr__(self, "mediators", tuple(sorted(self.mediators)))
        self._check_names()
        self._check_parts()
        self._expand_with(self._through())  # the queries check what is left

    @classmethod
    def parse(cls, text: "str | Contrast") -> "Contrast":
        """Read a contrast; a contrast is returned as it is.

        Args:
            text: ``"ATE(X -> Y)"`` (1 against 0), ``"CATE(X: a vs b -> Y | Z=1)"``,
                ``"CDE(X: 1 vs 0 -> Y | do(M=0))"``, ``"NDE(X: 1 vs 0 -> Y; M)"``,
                ``"PN(X: 1 vs 0 -> Y: yes vs no)"``.

        Returns:
            The contrast.

        Raises:
            QueryError: The text is malformed; the message points at the place.

        Example:
            >>> print(Contrast.parse("ATT(X -> Y | Z=1)"))
            ETT(X: 1 vs 0 -> Y | Z=1)
        """
        from causalppl.queries.grammar import Parser

        return text if isinstance(text, Contrast) else Parser(text).whole(Parser.contrast)

    def __str__(self) -> str:
        pair = f"{value_text(self.treated)} vs {value_text(self.control)}"
        levels = ""
        if (self.present, self.absent) != (1, 0):
            levels = f": {value_text(self.present)} vs {value_text(self.absent)}"
        condition = condition_text(self.do, self.given)
        through = f"; {', '.join(self.mediators)}" if self.mediators else ""
        head = f"{self.treatment}: {pair} -> {self.outcome}{levels}"
        return f"{self.kind}({head}{condition}{through})"

    def __repr__(self) -> str:
        return f"Contrast({self})"

    @property
    def variables(self) -> frozenset[str]:
        """Every name in the contrast."""
        conditions = (event.term.variables for event in self.given)
        return frozenset({self.treatment, self.outcome, *self.mediators}).union(
            *conditions, *map(intervention_variables, self.do)
        )

    @property
    def rung(self) -> Literal[1, 2, 3]:
        """The highest rung of its queries, see `Query.rung`."""
        return max(query.rung for _, query in self._expand_with(self._through()))

    def expand(self, mediators: Iterable[str] = ()) -> tuple[tuple[float, Query], ...]:
        """Write the contrast as a weighted sum of queries.

        Args:
            mediators: For NDE and NIE, where the contrast names none itself.

        Returns:
            Pairs of weight and query; the contrast is the sum of their products.

        Raises:
            QueryError: NDE or NIE without mediators, or with two different sets of them.

        Example:
            >>> Contrast.parse("NDE(X: 1 vs 0 -> Y)").expand(["M"])
            ((1.0, Query(E[Y_{X=1, M_{X=0}}])), (-1.0, Query(E[Y_{X=0}])))
        """
        supplied = tuple(sorted(mediators))
        if self.kind not in ("NDE", "NIE"):
            return self._expand_with(())
        if supplied and self.mediators and supplied != self.mediators:
            raise QueryError(
                f"{self} names the mediators {', '.join(self.mediators)} but was expanded with "
                f"{', '.join(supplied)}; give them in one place"
            )
        if not supplied and not self.mediators:
            raise QueryError(
                f"{self} names no mediator; write {self.kind}({self.treatment} -> "
                f"{self.outcome}; M) or pass expand(mediators=[...])"
            )
        return self._expand_with(self.mediators or supplied)

    def to_latex(self) -> str:
        r"""Write the contrast and its definition in LaTeX.

        Example:
            >>> print(Contrast.parse("ATE(X -> Y)").to_latex())
            \mathrm{ATE} = \mathbb{E}[Y_{X = 1}] - \mathbb{E}[Y_{X = 0}]
        """
        parts: list[str] = []
        for weight, query in self._expand_with(self._through()):
            sign = "-" if weight < 0 else "+"
            parts.append(f"{sign} {query.to_latex()}" if parts else query.to_latex())
        return rf"\mathrm{{{self.kind}}} = {' '.join(parts)}"

    def _expand_with(self, mediators: tuple[str, ...]) -> tuple[tuple[float, Query], ...]:
        x = Intervention(self.treatment, self.treated)
        other = Intervention(self.treatment, self.control)
        seen, unseen = Event(Term(x.name), self.treated), Event(Term(x.name), self.control)
        given = self.given
        if self.kind in ("PN", "PS", "PNS"):
            return ((1.0, self._probability(x, other, seen, unseen)),)
        if self.kind == "NDE":
            return self._difference((x, *_in_world(mediators, other)), (other,), given)
        if self.kind == "NIE":
            return self._difference((other, *_in_world(mediators, x)), (other,), given)
        if self.kind == "ETT":
            given = (*given, seen)
        if self.kind == "ATC":
            given = (*given, unseen)
        return self._difference((x, *self.do), (other, *self.do), given)

    def _through(self) -> tuple[str, ...]:
        """The mediators, or a stand-in where a diagram has yet to supply them."""
        free = (name for name in ("M", "W", "V", "U") if name not in self.variables)
        return self.mediators or (next(free),)

    def _difference(
        self,
        first: tuple[Intervention, ...],
        second: tuple[Intervention, ...],
        given: tuple[Event, ...],
    ) -> tuple[tuple[float, Query], ...]:
        return tuple(
            (weight, Query("E", (Event(Term(self.outcome, world)),), given))
            for weight, world in ((1.0, first), (-1.0, second))
        )

    def _probability(
        self, x: Intervention, other: Intervention, seen: Event, unseen: Event
    ) -> Query:
        occurs = Event(Term(self.outcome, (x,)), self.present)
        averted = Event(Term(self.outcome, (other,)), self.absent)
        if self.kind == "PNS":
            return Query("P", (occurs, averted), self.given)
        present, absent = (Event(Term(self.outcome), v) for v in (self.present, self.absent))
        if self.kind == "PN":
            return Query("P", (averted,), (*self.given, seen, present))
        return Query("P", (occurs,), (*self.given, unseen, absent))

    def _check_names(self) -> None:
        roles = (self.treatment, self.outcome, *self.mediators)
        repeated = next((name for name in roles if roles.count(name) > 1), None)
        if repeated is not None:
            raise MisuseError(
                f"{repeated} has two roles in the {self.kind}; treatment, outcome and mediators "
                "must be different variables"
            )
        for first, second in ((self.treated, self.control), (self.present, self.absent)):
            if first == second:
                raise MisuseError(
                    f"{first!r} is compared with itself; expected two different values"
                )

    def _check_parts(self) -> None:
        if self.mediators and self.kind not in ("NDE", "NIE"):
            raise MisuseError(f"{self.kind} takes no mediators; only NDE and NIE do")
        if self.do and self.kind != "CDE":
            raise MisuseError(f"{self.kind} takes no do(...); the controlled effect CDE does")
        if self.kind == "CDE" and not self.do:
            raise MisuseError("CDE holds mediators fixed; add them, such as CDE(X -> Y | do(M=0))")
        if self.kind == "CATE" and not self.given:
            raise MisuseError("CATE conditions on something; add it, such as CATE(X -> Y | Z=1)")
        if self.kind == "ATE" and self.given:
            raise MisuseError("ATE is over all units; use CATE to condition", self.given[0])
        if (self.present, self.absent) != (1, 0) and self.kind not in ("PN", "PS", "PNS"):
            raise MisuseError(f"{self.kind} takes no outcome values; only PN, PS and PNS do")


def check_kind(kind: str) -> None:
    """Refuse a kind that is not in the table of `Contrast`."""
    kinds = get_args(ContrastKind)
    if kind not in kinds:
        close = difflib.get_close_matches(str(kind).upper(), ("P", "E", *kinds), n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise MisuseError(f"no contrast is named {kind!r}; expected P, E, {', '.join(kinds)}{hint}")


def _in_world(names: tuple[str, ...], world: Intervention) -> tuple[Intervention, ...]:
    return tuple(Intervention(name, Term(name, (world,))) for name in names)
