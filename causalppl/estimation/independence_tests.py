"""Tests of conditional independence, each valid at its level under the conditions that it states.

`choose_test` takes one by the kinds of columns. What cannot be tested is a `DataError`, never NaN.
"""

from collections.abc import Iterable
from typing import TypeAlias

from causalppl.estimation.contingency_tests import (
    MIN_ROWS,
    ChiSquared,
    StratifiedPermutation,
    expected_in,
    tables_of,
)
from causalppl.estimation.independence_contract import IndependenceResult, IndependenceTest
from causalppl.estimation.rank_tests import RankScores
from causalppl.estimation.residual_tests import PartialCorrelation, ResidualCovariance
from causalppl.estimation.sample import Sample
from causalppl.estimation.verma_constraint import verma_test

__all__ = [
    "ChiSquared",
    "IndependenceResult",
    "IndependenceTest",
    "PartialCorrelation",
    "RankScores",
    "ResidualCovariance",
    "Sample",
    "StratifiedPermutation",
    "choose_test",
    "verma_test",
]

Names: TypeAlias = Iterable[str]


def choose_test(sample: Sample, left: str, right: str, given: Names = ()) -> IndependenceTest:
    """Choose a test by the kinds of the columns.

    All discrete: `ChiSquared`, or `StratifiedPermutation` where fewer than five rows are expected
    in a cell; otherwise `RankScores` if nothing is given, and `ResidualCovariance` if something is.
    `PartialCorrelation` is never chosen: it contradicts what is true where numbers are not linear
    in each other.

    Example:
        >>> sample = Sample({"dose": [0.5, 1.5, 0.1], "arm": ["b", "a", "b"]})
        >>> choose_test(sample, "dose", "arm")
        RankScores()
    """
    question = sample.ask(left, right, given)
    if not all(sample.is_discrete(name) for name in question.names):
        return ResidualCovariance() if question.given else RankScores()
    expected = expected_in(tables_of(question))
    is_dense = expected[expected > 0].min() >= MIN_ROWS
    return ChiSquared() if is_dense else StratifiedPermutation()
