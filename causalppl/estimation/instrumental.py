"""Effects by instruments: a direct entry, since the diagram alone gives no formula.

With an instrument Z for the effect of X on Y the nonparametric effect is not identified, so
`identify` refuses it. One more assumption makes it a number, and which effect it is depends on the
assumption:

* *monotonicity* (Z moves the treatment of nobody the other way): the effect among the compliers,
  ``E[Y_{X=1} - Y_{X=0} | X_{Z=0}=0, X_{Z=1}=1]``, called LATE;
* *homogeneity* (the effect of a unit of X is the same for all, or unrelated to how far Z moves X):
  the average effect in the population, ATE.

Both are the same number from the data; what is reported as the query says which one is meant.

======================  ==========================================================================
method                  for
======================  ==========================================================================
`Wald`                  one instrument of two values, no covariates
`TwoStageLeastSquares`  covariates, and any number of instruments
`LIML`                  many instruments, or weak ones: less biased than two stages
`GMM`                   several instruments and unequal variances, or clusters: surer than two
                        stages; tests whether the instruments agree (Hansen's J)
======================  ==========================================================================
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from causalppl.data import Table
from causalppl.estimation.estimate import Estimate
from causalppl.estimation.instrument_columns import InstrumentColumns
from causalppl.estimation.instrument_methods import (
    GMM,
    LIML,
    InstrumentMethod,
    TwoStageLeastSquares,
    Wald,
    average_effect,
)
from causalppl.exceptions import AssumptionError, DataError, NotIdentifiableError
from causalppl.given import check_kind
from causalppl.graphs import ADMG
from causalppl.graphs.checked import HasDiagram, read_diagram
from causalppl.identification import find_instruments, is_instrument
from causalppl.seeding import checked_seed

__all__ = ["GMM", "LIML", "InstrumentMethod", "TwoStageLeastSquares", "Wald", "estimate_iv"]


def estimate_iv(
    graph: ADMG | str | HasDiagram,
    data: Any,
    treatment: str,
    outcome: str,
    instrument: str | Sequence[str] | None = None,
    given: Iterable[str] | None = None,
    *,
    method: InstrumentMethod | None = None,
    cluster: str | None = None,
    seed: int | None = None,
) -> Estimate:
    """Estimate the effect of a treatment by an instrument.

    Args:
        graph: The diagram, its text, or an SCM; it must show that the instrument is one.
        data: A table of any kind (see `Table.from_any`). Rows with missing values in the columns
            used are left out.
        treatment: The cause; numbers.
        outcome: The effect; numbers.
        instrument: One instrument, or several; None takes the first that `find_instruments` lists
            among the columns. Text becomes one indicator for each category but the first.
        given: What to condition on; None takes what `find_instruments` lists for the instrument.
        method: `Wald`, `TwoStageLeastSquares`, `LIML` or `GMM`; None takes Wald where instrument
            and treatment have two values and nothing is conditioned on, else two stages.
        cluster: The column that says which rows may depend on each other, such as a school; errors,
            the weights of GMM, tests and the Anderson-Rubin set are then by cluster. At least 4
            clusters; errors are bias-reduced (CR2) and intervals Student's, whose
            ``degrees_of_freedom`` the diagnostics hold, so that they hold with few clusters.
        seed: Taken as by all estimates; nothing is drawn, so that the answer does not depend on it.

    Returns:
        The effect of moving the treatment by 1 (between its two values, where it has two).
        ``diagnostics`` hold ``first_stage_f``; ``effective_f``, which measures the bias of two
        stages under unequal variances too, with its ``effective_f_critical`` for a bias of at most
        a tenth of the worst; and ``anderson_rubin``: the intervals that make up the 95 %
        Anderson-Rubin set, which is right however weak the instruments are, and can be unbounded.

    Raises:
        AssumptionError: The diagram says that the instrument is none given these columns, or the
            method does not fit it.
        NotIdentifiableError: The diagram has no instrument among the columns.
        GraphError: A name is not in the diagram.
        DataError: A column is missing, constant, no number, or a combination of others; there are
            fewer than 4 clusters; ``seed`` is no seed.
        MissingExtraError: Files need DuckDB, which is not installed.

    Warns:
        HeuristicWarning: The effective first-stage F is below 10, or there are fewer than 30
            clusters.

    References:
        Wald (1940); Imbens and Angrist (1994), Identification and estimation of local average
        treatment effects; Anderson and Rubin (1949); Montiel Olea and Pflueger (2013), A robust
        test for weak instruments; Andrews, Stock and Sun (2019) for the bound on it;
        Bell and McCaffrey (2002) and Pustejovsky and Tipton (2018) for few clusters.

    Example:
        >>> graph = ADMG.parse("Z -> X -> Y; X <-> Y")
        >>> data = {"Z": [0, 0, 0, 0, 1, 1, 1, 1] * 9, "X": [0, 0, 0, 1, 0, 1, 1, 1] * 9,
        ...         "Y": [1, 2, 1, 4, 2, 4, 5, 3] * 9}
        >>> estimate = estimate_iv(graph, data, "X", "Y")
        >>> print(estimate.query, round(float(estimate), 6))
        E[Y_{X=1} - Y_{X=0} | X_{Z=0}=0, X_{Z=1}=1] 3.0
    """
    checked_seed(seed)
    diagram = read_diagram(graph, "estimate_iv(graph, data, treatment, outcome)")
    table = Table.from_any(data, dtype=torch.float64)
    instruments, covariates = _chosen(diagram, table, treatment, outcome, instrument, given)
    names = (outcome, treatment, *instruments, *covariates)
    if cluster is not None and cluster not in names:
        names = (*names, cluster)
    complete = table.select(names).drop_missing()
    columns = InstrumentColumns(complete, treatment, outcome, instruments, covariates, cluster)
    if method is None:
        method = Wald() if Wald().refusal(columns) is None else TwoStageLeastSquares()
    check_kind(method, InstrumentMethod, "method", "one such as TwoStageLeastSquares(), or None")
    if reason := method.refusal(columns):
        raise AssumptionError(f"{type(method).__name__} cannot be used: {reason}")
    return method.solve(columns)


def _chosen(
    graph: ADMG,
    table: Table,
    treatment: str,
    outcome: str,
    instrument: str | Sequence[str] | None,
    given: Iterable[str] | None,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Choose instruments and conditions, and check them against the diagram."""
    within = [node for node in graph.nodes if node in table]
    listed = {i.node: i for i in find_instruments(graph, treatment, outcome, within=within)}
    if instrument is None and not listed:
        raise NotIdentifiableError(
            f"the diagram has no instrument for {treatment} on {outcome} among the columns "
            f"({', '.join(within)}); expected a column that moves {treatment} and is tied to "
            f"{outcome} through {treatment} alone; bound the effect instead",
            query=average_effect(treatment, outcome, 0, 1),
        )
    named = [instrument] if isinstance(instrument, str) else instrument
    chosen = tuple(named) if named is not None else (next(iter(listed)),)
    if not chosen:
        raise DataError("instrument is empty; expected the name of a column, or None")
    if given is None:
        wanted = {name for node in chosen if node in listed for name in listed[node].given}
        given = [node for node in graph.nodes if node in wanted and node not in chosen]
    covariates = (given,) if isinstance(given, str) else tuple(given)
    for node in chosen:
        if not is_instrument(graph, node, treatment, outcome, covariates):
            raise AssumptionError(_no_instrument(node, treatment, outcome, covariates, listed))
    return chosen, covariates


def _no_instrument(
    node: str, treatment: str, outcome: str, covariates: tuple[str, ...], listed: dict[str, Any]
) -> str:
    where = f" given {', '.join(covariates)}" if covariates else ""
    known = "; ".join(map(str, listed.values())) or "none"
    return (
        f"in the diagram {node} is no instrument for {treatment} on {outcome}{where}; expected a "
        f"node tied to {treatment}, and to {outcome} through {treatment} alone, that {outcome} "
        f"does not affect; instruments among the columns: {known}"
    )
