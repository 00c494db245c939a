"""Does the data contradict the diagram? Every independence that it implies is put to a test."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.estimation.compare_graphs import GraphComparison, compare_graphs, graph_of
from causalppl.estimation.falsification import (
    CheckedIndependence,
    Fact,
    Falsification,
    PermutationBaseline,
)
from causalppl.estimation.independence_contract import IndependenceResult, IndependenceTest
from causalppl.estimation.independence_tests import choose_test, verma_test
from causalppl.estimation.multiple_testing import (
    Adjust,
    benjamini_hochberg,
    find_adjustment,
    holm,
)
from causalppl.estimation.sample import Sample
from causalppl.exceptions import DataError, GraphError
from causalppl.given import check_kind
from causalppl.graphs import ADMG, Independence, is_separated
from causalppl.graphs.local_markov import (
    DormantIndependence,
    dormant_independences,
    edges_of,
    independence_without,
    markov_basis,
)
from causalppl.inference.progress import is_shown, progress_bar
from causalppl.programs import SCM
from causalppl.seeding import checked_seed, spawn_seeds
from causalppl.typing import Program

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

Codes: TypeAlias = NDArray[np.int64]


def falsify(
    model: ADMG | str | SCM | Program,
    data: Any,
    *,
    level: float = 0.05,
    adjust: Adjust | str = "holm",
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
        model: A diagram, its text, or a program whose diagram over its observed sites is meant.
        data: Anything that `Table.from_any` reads; other columns are not looked at.
        level: The chance of a false alarm.
        adjust: The adjustment for the number of tests: `holm`, `benjamini_hochberg`, one of these
            by name ("holm", "benjamini-hochberg"), or any function from p-values to p-values.
        test: The test for all independences; None: chosen for each by the kinds of its columns, so
            that effects may be curved. The report says what was taken and what that assumes.
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
        DataError: A column is missing, there are independences and none could be tested, or
            ``level``, ``adjust``, ``test``, ``permutations`` or ``seed`` are none.
        GraphError: An independence is not implied by the diagram.
        ProgramError: ``model`` is a program that cannot be read as a causal model.

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
    _check_settings(level, test, permutations)
    used = checked_seed(seed)
    adjusting = find_adjustment(adjust)
    graph = graph_of(model).in_canonical_order()
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
    adjusted = adjusting(np.array([result.p_value for result in found.values()]))
    checks = [
        CheckedIndependence(fact, result, float(p), bool(p <= level))
        for (fact, result), p in zip(found.items(), adjusted, strict=True)
    ]
    absent = {edge: independence_without(graph, edge) for edge in edges_of(graph)}
    edges = {edge: c for edge, fact in absent.items() if (c := tester.check(fact, level))}
    baseline = None
    if permutations and (tested := [fact for fact in found if isinstance(fact, Independence)]):
        orders = _orders(len(graph.nodes), permutations, used, progress=is_shown(progress))
        baseline = tester.baseline(graph, tested, level, orders)
    return Falsification(graph, tuple(checks), skipped, edges, level, adjusting, baseline)


def _check_settings(level: Any, test: Any, permutations: Any) -> None:
    if not isinstance(level, float | np.floating) or not 0 < level < 1:
        raise DataError(f"level is {level!r}; expected a number between 0 and 1, such as 0.05")
    if not isinstance(permutations, int | np.integer) or permutations < 0:
        raise DataError(f"permutations is {permutations!r}; expected a whole number, 0 or more")
    if test is not None:
        check_kind(test, IndependenceTest, "test", "a test such as ChiSquared(), or None")


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


def _orders(size: int, count: int, seed: int, *, progress: bool) -> Iterator[Codes]:
    rng = np.random.default_rng(spawn_seeds(seed, 1)[0])
    with progress_bar(count, "exchanging nodes", progress=progress) as bar:
        for _ in range(count):
            yield rng.permutation(size)
            bar.update()
