"""One front for all questions to a diagram: from a query to a formula, or to a witness."""

from collections.abc import Iterable, Mapping

from causalppl.exceptions import (
    GraphError,
    QueryError,
)
from causalppl.given import told
from causalppl.graphs import ADMG
from causalppl.graphs.checked import HasDiagram, read_diagram
from causalppl.identification.estimand import Estimand
from causalppl.identification.search import Search
from causalppl.identification.sources import Domain, list_sources
from causalppl.queries import Contrast, Query, parse_query

__all__ = ["identify"]


def identify(
    graph: ADMG | str | HasDiagram,
    query: str | Query | Contrast,
    *,
    experiments: Iterable[Iterable[str]] = (),
    domains: Iterable[Domain] = (),
    observational: bool = True,
    policies: Mapping[str, Iterable[str]] | None = None,
) -> Estimand:
    """Express a causal query by the laws that data can supply, or show why that is impossible.

    All rungs go one way: the query is traced back to counterfactual variables, these fall into
    districts, and each district is one c-factor, which some source of data has to give. Short
    criteria (rule 2, back-door adjustment) are tried first where they apply.

    A refusal is final for interventional queries, for joint and for conditional counterfactuals
    with open values, and for transport: two models have the same data and different answers. A
    conditional counterfactual at fixed values is also tried at just these values, on which worlds
    may agree; nobody has proven that second step complete. A contrast is refused if one of its
    parts is. Verdicts are nonparametric: for variables with few values, or with a stated form of
    the mechanisms, more can be identifiable.

    Args:
        graph: The diagram, its text, or an SCM, whose diagram over its observed sites is meant.
        query: For example ``"P(Y | do(X))"``, ``"P(Y_{X=0} | X=1)"`` or ``"ATE(X: 1 vs 0 -> Y)"``.
        experiments: Sets of variables that were randomised in the target population, each at all
            its values, while the others were measured.
        domains: Other populations.
        observational: Whether the target population was observed.
        policies: For a soft intervention: variable to the variables that a plan looks at to set
            it; the plan's law is known and appears as ``pi(X | Z)``.

    Returns:
        The formula, with its derivation.

    Raises:
        NotIdentifiableError: There is no formula; ``error.hedge`` shows why, and can be checked.
        NotTransportableError: Likewise, where other populations were at hand.
        ImpossibleEvidenceError: The query conditions on what the diagram excludes.
        GraphError: The graph is no diagram, or a source names a variable that is not in it.
        QueryError: The query names a variable that is not in the graph.

    References:
        Shpitser and Pearl (2006); Lee, Correa and Bareinboim (2019, 2020); Correa, Lee and
        Bareinboim (2021); Correa and Bareinboim (2020).

    Example:
        >>> graph = ADMG.parse("Z -> X -> Y; Z -> Y")
        >>> identify(graph, "P(Y | do(X))")
        sum_Z P(Y | X, Z) P(Z)
        >>> identify(graph, "E[Y_{X=0} | X=1]")
        sum_Z P(Z | X=1) E[Y | Z, X=0]
    """
    diagram = read_diagram(graph, "identify(graph, query)")
    asked = parse_query(query) if isinstance(query, str) else query
    if not isinstance(asked, Query | Contrast):
        raise QueryError(f"the query is {told(query)}; expected text, a Query or a Contrast")
    if policies is not None and not isinstance(policies, Mapping):
        raise QueryError(f"policies is {policies!r}; expected a mapping, {{'X': ['Z']}}")
    if primed := [name for name in diagram.nodes if "'" in name]:
        raise GraphError(f"the node {primed[0]!r} has a prime, which formulas need; rename it")
    ordered = diagram.in_canonical_order()
    sources = list_sources(ordered, experiments, domains, observational=observational)
    search = Search(ordered, sources, _plans(ordered, policies or {}))
    body, axes = search.answer(asked)
    return Estimand(asked, body, ordered, tuple(search.steps), axes)


def _plans(graph: ADMG, policies: Mapping[str, Iterable[str]]) -> dict[int, tuple[int, ...]]:
    found = {}
    for name, inputs in policies.items():
        if not isinstance(inputs, Iterable):
            raise QueryError(
                f"the plan for {name} looks at {inputs!r}; expected a list of variables"
            )
        names = (inputs,) if isinstance(inputs, str) else tuple(dict.fromkeys(inputs))
        for other in (name, *names):
            graph.mask((other,))
        if name in names:
            raise QueryError(f"the plan for {name} looks at {name} itself; remove it")
        found[graph._index[name]] = tuple(sorted(graph._index[other] for other in names))
    return found
