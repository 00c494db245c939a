"""Does the data contradict the diagram? Every independence that it implies is put to a test."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.estimation.independence_tests import (
    IndependenceResult,
    IndependenceTest,
    Sample,
    choose_test,
    verma_test,
)
from causalppl.exceptions import DataError, GraphError
from causalppl.graphs import ADMG, Independence, is_separated
from causalppl.graphs.local_markov import (
    DormantIndependence,
    Edge,
    dormant_independences,
    edges_of,
    explaining_edges,
    independence_without,
    markov_basis,
)
from causalppl.inference.progress import is_shown, progress_bar
from causalppl.programs import SCM
from causalppl.seeding import spawn_seeds
from causalppl.typing import Program

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "CheckedIndependence",
    "Falsification",
    "GraphComparison",
    "PermutationBaseline",
    "benjamini_hochberg",
    "compare_graphs",
    "falsify",
    "holm",
]

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]
Fact: TypeAlias = Independence | DormantIndependence
Adjust: TypeAlias = Callable[[Array], Array]


def holm(p_values: Array) -> Array:
    """Adjust p-values so that the chance of any false alarm is at most the level (Holm 1979).

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    stepped = np.sort(p_values) * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(stepped))
    return adjusted


def benjamini_hochberg(p_values: Array) -> Array:
    """Adjust p-values so that the expected share of false alarms among alarms is at most a level.

    For independent tests and under positive dependence (Benjamini and Hochberg 1995).

    Example:
        >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03])).tolist()
        [0.03, 0.04, 0.04]
    """
    order = np.argsort(p_values, kind="stable")
    stepped = np.sort(p_values) * len(p_values) / np.arange(1, len(p_values) + 1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1, np.minimum.accumulate(stepped[::-1])[::-1])
    return adjusted


@dataclass(frozen=True)
class CheckedIndependence:
    """One implied independence, and what the data say to it.

    Attributes:
        fact: What the diagram implies: an independence, or a Verma constraint.
        result: The test.
        adjusted: Its p-value, adjusted for the number of tests.
        is_violated: Whether that is at most the level.
    """

    fact: Fact
    result: IndependenceResult
    adjusted: float
    is_violated: bool


@dataclass(frozen=True, eq=False)
class PermutationBaseline:
    """The diagram among those with the same edges and its nodes exchanged.

    Attributes:
        violations: How many of its independences are violated, each tested at the level.
        permuted: The same for each permutation.
        equivalent: How many permutations imply nothing that the diagram does not.
    """

    violations: int
    permuted: Codes
    equivalent: int

    @property
    def p_value(self) -> float:
        """The chance that a random one has no more violations: small if the diagram is better."""
        return float((1 + (self.permuted <= self.violations).sum()) / (1 + len(self.permuted)))

    @property
    def p_informative(self) -> float:
        """The chance that a random one says the same: large if the diagram cannot be told apart."""
        return (1 + self.equivalent) / (1 + len(self.permuted))


@dataclass(frozen=True, eq=False)
class Falsification:
    """What `falsify` found. True if the data do not contradict the diagram (as for `verify`).

    Attributes:
        graph: The diagram.
        checks: The independences that were tested.
        skipped: Those that could not be, and why.
        edges: For each edge that can be tested, the independence that its absence would imply: the
            data need the edge if that is violated. These tests are not adjusted.
        level: The level of the tests.
        adjust: The adjustment for their number that the verdicts use.
        baseline: The comparison with random diagrams; None if it was not asked for.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=500)
        >>> data = {"X": x, "Y": x + rng.normal(size=500)}
        >>> report = falsify(ADMG.parse("X; Y"), data)
        >>> report.passed, [" ".join(edge) for edge in report.suggested_edges().index]
        (False, ['X -> Y', 'Y -> X', 'X <-> Y'])
    """

    graph: ADMG
    checks: tuple[CheckedIndependence, ...]
    skipped: Mapping[Fact, str]
    edges: Mapping[Edge, CheckedIndependence]
    level: float
    adjust: Adjust
    baseline: PermutationBaseline | None = None

    @property
    def violations(self) -> tuple[CheckedIndependence, ...]:
        """The independences that the data contradict, the clearest first."""
        found = (check for check in self.checks if check.is_violated)
        return tuple(sorted(found, key=lambda check: check.result.p_value))

    @property
    def passed(self) -> bool:
        """Whether no tested independence is contradicted; true as well if nothing is testable."""
        return not self.violations

    def __bool__(self) -> bool:
        return self.passed

    def summary(self) -> "pd.DataFrame":
        """Return a table with a row for each implied independence, skipped ones included."""
        import pandas as pd

        p = np.array([check.result.p_value for check in self.checks])
        both = holm(p), benjamini_hochberg(p)
        rows = [
            {
                "independence": str(check.fact),
                "test": check.result.test,
                "statistic": check.result.statistic,
                "effect": np.nan if check.result.effect is None else check.result.effect,
                "rows": check.result.num_rows,
                "p": check.result.p_value,
                "p_holm": by_holm,
                "p_bh": by_bh,
                "verdict": "violated" if check.is_violated else "not violated",
            }
            for check, by_holm, by_bh in zip(self.checks, *both, strict=True)
        ]
        rows += [
            {"independence": str(fact), "rows": 0, "verdict": f"not tested: {reason}"}
            for fact, reason in self.skipped.items()
        ]
        names = "independence test statistic effect rows p p_holm p_bh verdict".split()
        return pd.DataFrame(rows, columns=names).set_index("independence")

    def suggested_edges(self) -> "pd.DataFrame":
        """Return a table of edges whose addition would explain violated independences.

        ``gives_up``: how many of the other independences the larger diagram would not imply. Verma
        constraints are not looked at.
        """
        import pandas as pd

        def facts(*, violated: bool) -> list[Independence]:
            tested = [c.fact for c in self.checks if c.is_violated == violated]
            return [fact for fact in tested if isinstance(fact, Independence)]

        wrong = facts(violated=True)
        found = explaining_edges(self.graph, wrong, facts(violated=False))
        index = pd.Index([edge for edge, *_ in found], name="edge", tupleize_cols=False)
        rows = [(len(explained), len(wrong), lost) for _, explained, lost in found]
        return pd.DataFrame(rows, index=index, columns=["explains", "violated", "gives_up"])

    def droppable_edges(self) -> tuple[Edge, ...]:
        """List the edges that the data do not show to be needed; see ``edges``."""
        return tuple(edge for edge, check in self.edges.items() if not check.is_violated)

    def interpret(self) -> str:
        """Say in plain words what was tested and what came of it."""
        sentences = [self._verdict()]
        if self.skipped:
            fact, reason = next(iter(self.skipped.items()))
            sentences.append(f"{len(self.skipped)} could not be tested ({fact}: {reason}).")
        if not self.passed and len(suggested := self.suggested_edges()):
            best = suggested.iloc[0]
            edges = [" ".join(e) for e in suggested.index[(suggested == best).all(axis=1)][:4]]
            sentences.append(
                f"Of {best['violated']} violated, {best['explains']} would be explained by adding "
                f"{' or '.join(edges)}."
            )
        if droppable := self.droppable_edges():
            listed = ", ".join(map(" ".join, droppable))
            sentences.append(f"The data do not show a need for {listed}.")
        if any(check.result.test == "partial correlation" for check in self.checks):
            sentences.append(
                "Partial correlation takes numbers to be linear in each other: where they are not, "
                "pass test=ResidualCovariance()."
            )
        if self.baseline is not None:
            sentences.append(self._compared(self.baseline))
        return " ".join(sentences)

    def _verdict(self) -> str:
        if not self.checks:
            return "The diagram implies nothing that was tested: no data could contradict it."
        method = getattr(self.adjust, "__name__", repr(self.adjust)).replace("_", " ").title()
        count, rows = len(self.checks), max(check.result.num_rows for check in self.checks)
        tested = f"{count} implied constraint{'s' if count > 1 else ''} on up to {rows:,} rows"
        if self.passed:
            return (
                f"The data do not contradict the diagram: none of {tested} is violated at level "
                f"{self.level:g} ({method}). That does not prove it right."
            )
        worst = self.violations[0]
        return (
            f"The data contradict the diagram: of {tested}, {len(self.violations)} violated at "
            f"level {self.level:g} ({method}), most clearly {worst.fact} "
            f"(adjusted p = {worst.adjusted:.2g})."
        )

    def _compared(self, baseline: PermutationBaseline) -> str:
        better = "is better" if baseline.p_value <= self.level else "is not better"
        telling = "informative" if baseline.p_informative <= self.level else "not informative"
        return (
            f"With {baseline.violations} violations it {better} than the same diagram with "
            f"exchanged names (p = {baseline.p_value:.2g}); that comparison is {telling}: "
            f"{baseline.equivalent} of {len(baseline.permuted)} exchanges imply nothing else."
        )

    def __repr__(self) -> str:
        return self.interpret()

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.interpret())}</p>{self.summary().to_html()}"


def falsify(
    model: ADMG | SCM | Program,
    data: Any,
    *,
    level: float = 0.05,
    adjust: Adjust = holm,
    test: IndependenceTest | None = None,
    independences: Iterable[Independence] | None = None,
    verma: bool = True,
    permutations: int = 0,
    seed: int | None = None,
    progress: bool | None = None,
) -> Falsification:
    """Ask whether data contradict a diagram.

    With the default adjustment the chance of contradicting a true diagram is at most the level,
    as far as each test is valid: `choose_test` says which is taken, and tests state their
    conditions. A diagram that is not contradicted need not be true.

    Args:
        model: A diagram, or a program whose diagram over its observed sites is meant.
        data: Anything that `Table.from_any` reads; other columns are not looked at.
        level: The chance of a false alarm.
        adjust: The adjustment for the number of tests: `holm`, `benjamini_hochberg`, or any
            function from p-values to p-values.
        test: The test for all independences; None: chosen for each by the kinds of its columns.
        independences: What to test; None: `markov_basis`, one for each pair that can be separated.
            ``local_independences(graph)`` assumes less and needs more data.
        verma: Test Verma constraints too, which only tables of discrete columns allow; on others
            they are listed as not tested. One is tested for each pair that has one and no
            independence, so not all that the nested Markov model implies.
        permutations: How many random exchanges of the nodes to compare with; 0: none.
        seed: Seed of the exchanges.
        progress: Show a progress bar; None: at a terminal or in a notebook.

    Returns:
        The report; true if the diagram is not contradicted.

    Raises:
        DataError: A column is missing, or there are independences and none could be tested.
        GraphError: An independence is not implied by the diagram.

    References:
        Eulig et al. (2023), Toward falsifying causal graphs using a permutation-based test.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=500)
        >>> z = x + rng.normal(size=500)
        >>> data = {"X": x, "Z": z, "Y": z + rng.normal(size=500)}
        >>> bool(falsify(ADMG.parse("X -> Z -> Y"), data))
        True
        >>> print(falsify(ADMG.parse("X -> Z <- Y"), data).interpret())
        The data contradict the diagram: of 1 implied constraint on up to 500 rows, 1 violated ...
    """
    if not 0 < level < 1:
        raise DataError(f"level is {level!r}; expected a number between 0 and 1, such as 0.05")
    if permutations < 0:
        raise DataError(f"permutations is {permutations}; expected 0 or more")
    graph = _graph_of(model).in_canonical_order()
    asked = tuple(markov_basis(graph) if independences is None else independences)
    for fact in asked:
        if not is_separated(graph, fact.left, fact.right, fact.given):
            raise GraphError(f"{fact} does not follow from the diagram; expected what it implies")
    tester = _Tester(Sample(data, graph.nodes), test)
    facts: list[Fact] = [*asked, *(dormant_independences(graph) if verma else ())]
    outcomes = {fact: tester.run(fact) for fact in dict.fromkeys(facts)}
    found = {fact: r for fact, r in outcomes.items() if isinstance(r, IndependenceResult)}
    skipped = {fact: reason for fact, reason in outcomes.items() if isinstance(reason, str)}
    if asked and not found:
        first, reason = next(iter(skipped.items()))
        raise DataError(f"none of {len(skipped)} constraints could be tested; {first}: {reason}")
    adjusted = adjust(np.array([result.p_value for result in found.values()]))
    checks = [
        CheckedIndependence(fact, result, float(p), bool(p <= level))
        for (fact, result), p in zip(found.items(), adjusted, strict=True)
    ]
    absent = {edge: independence_without(graph, edge) for edge in edges_of(graph)}
    edges = {edge: c for edge, fact in absent.items() if (c := tester.check(fact, level))}
    baseline = None
    if permutations and (tested := [fact for fact in found if isinstance(fact, Independence)]):
        orders = _orders(len(graph.nodes), permutations, seed, progress=is_shown(progress))
        baseline = tester.baseline(graph, tested, level, orders)
    return Falsification(graph, tuple(checks), skipped, edges, level, adjust, baseline)


class _Tester:
    """Tests on one sample, each made once."""

    def __init__(self, sample: Sample, test: IndependenceTest | None) -> None:
        self._sample, self._test = sample, test
        self._place = {name: i for i, name in enumerate(sample.names)}
        self._known: dict[Fact, IndependenceResult | str] = {}

    def run(self, fact: Fact) -> IndependenceResult | str:
        """Make a test, or say why it cannot be made."""
        if fact not in self._known:
            try:
                self._known[fact] = self._made(fact)
            except DataError as error:
                self._known[fact] = str(error)
        return self._known[fact]

    def _made(self, fact: Fact) -> IndependenceResult:
        if isinstance(fact, DormantIndependence):
            return verma_test(self._sample, fact)
        test = self._test or choose_test(self._sample, fact.left, fact.right, fact.given)
        return test.test(self._sample, fact.left, fact.right, fact.given)

    def is_violated(self, fact: Independence, level: float) -> bool:
        """Say whether one independence, written in any order, is rejected by itself."""
        left, right = sorted((fact.left, fact.right), key=self._place.__getitem__)
        given = tuple(sorted(fact.given, key=self._place.__getitem__))
        check = self.check(Independence(left, right, given), level)
        return check is not None and check.is_violated

    def check(self, fact: Independence | None, level: float) -> CheckedIndependence | None:
        """Make one test by itself, if there is something to test."""
        result = "" if fact is None else self.run(fact)
        if fact is None or isinstance(result, str):
            return None
        return CheckedIndependence(fact, result, result.p_value, result.p_value <= level)

    def baseline(
        self, graph: ADMG, facts: Sequence[Independence], level: float, orders: Iterable[Codes]
    ) -> PermutationBaseline:
        """Count violations for each order in which the nodes take each other's places."""
        permuted, equivalent = [], 0
        for order in orders:
            name = {a: graph.nodes[j] for a, j in zip(graph.nodes, order, strict=True)}
            moved = [
                Independence(name[f.left], name[f.right], tuple(name[n] for n in f.given))
                for f in facts
            ]
            permuted.append(sum(self.is_violated(fact, level) for fact in moved))
            equivalent += all(is_separated(graph, f.left, f.right, f.given) for f in moved)
        violations = sum(self.is_violated(fact, level) for fact in facts)
        return PermutationBaseline(violations, np.array(permuted), equivalent)


def _orders(size: int, count: int, seed: int | None, *, progress: bool) -> Iterator[Codes]:
    rng = np.random.default_rng(spawn_seeds(seed, 1)[0])
    with progress_bar(count, "exchanging nodes", progress=progress) as bar:
        for _ in range(count):
            yield rng.permutation(size)
            bar.update()


def _graph_of(model: ADMG | SCM | Program) -> ADMG:
    if isinstance(model, ADMG):
        return model
    return model.graph if isinstance(model, SCM) else SCM(model).graph


# two diagrams


@dataclass(frozen=True)
class GraphComparison:
    """How a diagram given by hand differs from one read from a program. True if it does not.

    Attributes:
        missing: Edges that were read and not given.
        extra: Edges that were given and not read.
        reversed: Edges that were read, and given the other way round.
        only_read: Variables that were not given.
        only_given: Variables that were not read.

    Example:
        >>> print(compare_graphs(ADMG.parse("Z -> X -> Y"), ADMG.parse("Z <- X; X <-> Y")))
        missing: X -> Y; extra: X <-> Y; reversed: Z -> X
    """

    missing: tuple[Edge, ...]
    extra: tuple[Edge, ...]
    reversed: tuple[Edge, ...]
    only_read: tuple[str, ...]
    only_given: tuple[str, ...]

    def __bool__(self) -> bool:
        return not any(vars(self).values())

    def __str__(self) -> str:
        parts = {
            name.replace("_", " "): ", ".join(e if isinstance(e, str) else " ".join(e) for e in es)
            for name, es in vars(self).items()
        }
        listed = [f"{name}: {entries}" for name, entries in parts.items() if entries]
        return "; ".join(listed) or "the diagrams are the same"


def compare_graphs(read: ADMG | SCM | Program, given: ADMG) -> GraphComparison:
    """Compare the diagram of a program with one given by hand.

    Variables that only one of them has are named, and then forgotten by latent projection.

    Args:
        read: A program, or the diagram read from it.
        given: The diagram that was meant.

    Raises:
        GraphError: ``given`` is not a diagram.

    Example:
        >>> read = ADMG.parse("X -> M -> Y; X -> Y")
        >>> print(compare_graphs(read, ADMG.parse("X -> Y")))
        only read: M
    """
    if not isinstance(given, ADMG):
        raise GraphError(f"the diagram given is {given!r}; expected an ADMG; use ADMG.parse")
    first = _graph_of(read).in_canonical_order()
    shared = [node for node in first.nodes if node in given]
    found = edges_of(first.latent_projection(shared))
    meant = set(edges_of(given.latent_projection(shared)))
    meant |= {e[::-1] for e in meant if e[1] == "<->"}
    turned = [e for e in found if e[1] == "->" and e not in meant and e[::-1] in meant]
    seen = {
        *found,
        *((b, arrow, a) for a, arrow, b in found if arrow == "<->" or (a, arrow, b) in turned),
    }
    return GraphComparison(
        tuple(e for e in found if e not in meant and e not in turned),
        tuple(e for e in edges_of(given.latent_projection(shared)) if e not in seen),
        tuple(turned),
        tuple(node for node in first.nodes if node not in given),
        tuple(node for node in given.in_canonical_order().nodes if node not in first),
    )
