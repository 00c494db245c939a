"""What the data say to each constraint that a diagram implies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.estimation.falsify_plot import draw_p_values
from causalppl.estimation.independence_contract import IndependenceResult
from causalppl.estimation.multiple_testing import Adjust, benjamini_hochberg, holm
from causalppl.graphs import ADMG, Independence
from causalppl.graphs.local_markov import DormantIndependence, Edge, explaining_edges

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CheckedIndependence", "Fact", "Falsification", "PermutationBaseline"]

Codes: TypeAlias = NDArray[np.int64]
Fact: TypeAlias = Independence | DormantIndependence
_MOST_NAMED = 4  # facts in a sentence


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
        >>> from causalppl.estimation import falsify
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
                "assumes": check.result.assumes,
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
        names = "independence test assumes statistic effect rows p p_holm p_bh verdict".split()
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

    def plot(self, ax: Any = None) -> Any:
        """Draw the p-value of each tested constraint, the smallest on top, and the level.

        Args:
            ax: The axes to draw on; None makes a figure.

        Returns:
            The axes.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        return draw_p_values(self, ax)

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
        sentences += self._assumed()
        sentences += self._doubted()
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

    def _assumed(self) -> list[str]:
        """Name each kind of test that was told of, and what it takes for granted."""
        edges = [self.edges[edge] for edge in self.droppable_edges()]
        results = [check.result for check in (*self.checks, *edges)]
        kinds = {r.test.split(" (")[0]: r.assumes for r in results if r.assumes}
        listed = "; ".join(f"{test}, {assumes}" for test, assumes in kinds.items())
        return [f"What the tests take for granted: {listed}."] if listed else []

    def _doubted(self) -> list[str]:
        """Name the tests in which the data speak against what is taken for granted."""
        doubts: dict[str, list[str]] = {}
        for check in self.checks:
            if check.result.doubt:
                doubts.setdefault(check.result.doubt, []).append(str(check.fact))
        return [f"In {_listed(facts)} {doubt}." for doubt, facts in doubts.items()]

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
        table = self.summary()
        return f"<p>{escape(self.interpret())}</p>{table.to_html() if len(table) else ''}"


def _listed(facts: Sequence[str]) -> str:
    """The first few facts, and how many more there are."""
    more = f" and {len(facts) - _MOST_NAMED} others" if len(facts) > _MOST_NAMED else ""
    return "; ".join(facts[:_MOST_NAMED]) + more
