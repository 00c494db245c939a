"""Witnesses: the part of a diagram because of which a query has no formula."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape

from causalppl.graphs import ADMG
from causalppl.identification.factorisation import Conflict
from causalppl.identification.sources import Study
from causalppl.queries import Contrast, Query

OBSERVATION = Study()

__all__ = ["Conflict", "Hedge", "Witness"]


@dataclass(frozen=True)
class Hedge:
    """Two nested sets of variables on which two models can agree in the data and differ in truth.

    The query needs the c-factor ``Q[inner]``, the law of ``inner`` when all else is set. The data
    has only laws in which ``outer``, a larger set, hangs together: bidirected edges connect it and
    all of it are causes of ``inner``. With an experiment ``do``, the diagram is the one without
    the variables that were set.

    Attributes:
        graph: The diagram.
        inner: The variables whose c-factor is needed.
        outer: The larger set; empty where the study sets or shifts a variable of ``inner``.
        study: The data that do not suffice; observation when left out.

    References:
        Shpitser and Pearl (2006), Identification of joint interventional distributions in
        recursive semi-Markovian causal models, definition 6.

    Example:
        >>> from causalppl.graphs import bow
        >>> Hedge(bow(), inner=("Y",), outer=("X", "Y")).check()
        True
    """

    graph: ADMG
    inner: tuple[str, ...]
    outer: tuple[str, ...]
    study: Study = OBSERVATION

    def check(self) -> bool:
        """Confirm, by the definition, that the sets are a hedge."""
        inner, outer = set(self.inner), set(self.outer)
        if not inner:
            return False
        if not outer:
            return bool(inner & {*self.study.do, *self.study.shifted}) and self._is_connected(inner)
        part = self.graph.subgraph(outer)
        return (
            inner < outer
            and not outer & set(self.study.do)
            and self._is_connected(inner)
            and self._is_connected(outer)
            and part.ancestors(inner) == outer
        )

    def _is_connected(self, nodes: set[str]) -> bool:
        return len(self.graph.subgraph(nodes).districts()) == 1

    @property
    def source_text(self) -> str:
        """The source of data, in words."""
        do, domain = self.study.do, self.study.domain
        where = f" in {domain}" if domain else ""
        return (f"the experiment do({', '.join(do)})" if do else "observation") + where

    def __str__(self) -> str:
        inner, outer = ", ".join(self.inner), ", ".join(self.outer)
        if not outer:
            is_set = set(self.inner) & set(self.study.do)
            verb = "sets" if is_set else "has other mechanisms for"
            some = sorted(is_set or set(self.inner) & set(self.study.shifted))
            return f"{self.source_text} {verb} {', '.join(some)}, part of {{{inner}}}"
        return (
            f"in {self.source_text}, {{{inner}}} cannot be told from {{{outer}}}, which latent "
            "causes hold together"
        )

    def _repr_html_(self) -> str:
        """The diagram with the larger set marked, and the sentence."""
        from causalppl.graphs.drawing import to_svg

        picture = to_svg(self.graph, highlight=self.outer or self.inner)
        return f"<div>{picture}<p>{escape(str(self))}</p></div>"


@dataclass(frozen=True)
class Witness:
    """Why a query has no formula: what it needs, and for each source of data why that is missing.

    Attributes:
        query: The query.
        graph: The diagram.
        studies: The data at hand.
        hedges: One for each study (several are called a thicket); empty for a conflict.
        conflict: Two worlds that would have to be seen in one unit; None for hedges.
        planned: The variables that plans set, each with what its plan looks at.

    References:
        Lee, Correa and Bareinboim (2019), General identifiability with arbitrary surrogate
        experiments (thickets); Correa, Lee and Bareinboim (2021) for conflicts.

    Example:
        >>> from causalppl.exceptions import NotIdentifiableError
        >>> from causalppl.graphs import bow
        >>> from causalppl.identification import identify
        >>> try:
        ...     identify(bow(), "P(Y_{X=0} | X=1)")
        ... except NotIdentifiableError as error:
        ...     print(error.hedge.check(), error.hedge.conflict.variable)
        True X
    """

    query: Query | Contrast
    graph: ADMG
    studies: tuple[Study, ...]
    hedges: tuple[Hedge, ...] = ()
    conflict: Conflict | None = None
    planned: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        """Each hedge with its picture; for a conflict the diagram."""
        shown = [hedge._repr_html_() for hedge in self.hedges] or [self.graph._repr_svg_()]
        why = "" if self.conflict is None else f"<p>{escape(str(self.conflict))}</p>"
        return f"<div><p>{escape(str(self.query))} has no formula.</p>{''.join(shown)}{why}</div>"

    def check(self) -> bool:
        """Confirm every part: by its definition, and that the query needs it.

        A conflict must be one of the query's districts. Hedges must be about one c-factor that
        the query needs, and there must be one for each study.
        """
        if self.conflict is not None:
            return self.conflict.check() and self.conflict in self._needed()
        inner = {frozenset(hedge.inner) for hedge in self.hedges}
        return (
            len(inner) == 1
            and inner <= {frozenset(c) for c in self._needed() if isinstance(c, tuple)}
            and {hedge.study for hedge in self.hedges} == set(self.studies)
            and all(hedge.graph == self.graph and hedge.check() for hedge in self.hedges)
        )

    def _needed(self) -> list[tuple[str, ...] | Conflict]:
        """List the c-factors and the conflicts of the query's districts."""
        from causalppl.identification.search import needed_districts

        return needed_districts(self.graph, self.query, self.planned)

    def __str__(self) -> str:
        if self.conflict is not None:
            return str(self.conflict)
        return "; ".join(map(str, self.hedges))
