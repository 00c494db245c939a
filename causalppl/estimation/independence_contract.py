"""The contract of tests of independence: columns in, a result or an error out, never NaN."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from causalppl.data.column import listed
from causalppl.estimation.sample import Question, Sample
from causalppl.exceptions import DataError

__all__ = ["Found", "IndependenceResult", "IndependenceTest"]

Names: TypeAlias = Iterable[str]


@dataclass(frozen=True)
class IndependenceResult:
    """What one test found.

    Attributes:
        test, statistic: The test with its settings, and its statistic.
        p_value: The probability of a statistic at least as large, if the two are independent.
        num_rows, num_dropped: How many rows it used, and left out because of gaps.
        effect: Absolute (partial) correlation, or Cramér's V; None where there is no such measure.
        assumes: What the p-value takes for granted, besides rows drawn independently.
        doubt: What in these data speaks against that, and how the p-value allows for it; empty if
            nothing was seen.
    """

    test: str
    statistic: float
    p_value: float
    num_rows: int
    num_dropped: int = 0
    effect: float | None = None
    assumes: str = ""
    doubt: str = ""


class Found(NamedTuple):
    """What a test hands to the contract; ``how`` is added to its name."""

    statistic: float
    p_value: float
    effect: float | None = None
    how: str = ""
    doubt: str = ""


class IndependenceTest(ABC):
    """The contract of a test: columns in, `IndependenceResult` or `DataError` out."""

    @property
    def assumes(self) -> str:
        """What the test takes for granted, besides rows drawn independently."""
        return ""

    def test(self, data: Any, left: str, right: str, given: Names = ()) -> IndependenceResult:
        """Test whether two columns are independent given others.

        Args:
            data: A `Sample`, or anything that `Table.from_any` reads.
            left: One column.
            right: The other.
            given: What is conditioned on.

        Raises:
            DataError: A column is unknown, or the test cannot be made.
        """
        names = (left, right, *((given,) if isinstance(given, str) else given))
        if len(set(names)) < len(names):
            raise DataError(f"{', '.join(names)} names a column twice; expected different ones")
        sample = data if isinstance(data, Sample) else Sample(data, names)
        if unknown := [name for name in names if name not in sample.names]:
            known = listed(sample.names, limit=20)
            raise DataError(f"there is no column {unknown[0]!r}; the data have {known}")
        question = sample.ask(left, right, names[2:])
        found = self._run(question)
        if not (np.isfinite(found.statistic) and 0 <= found.p_value <= 1):
            raise DataError(f"{self} has no finite statistic on these {question.num_rows} rows")
        return IndependenceResult(
            f"{self} ({found.how})" if found.how else str(self),
            float(found.statistic),
            float(found.p_value),
            question.num_rows,
            sample.num_rows - question.num_rows,
            found.effect,
            self.assumes,
            found.doubt,
        )

    @abstractmethod
    def _run(self, question: Question) -> Found:
        """Return statistic, p-value and effect."""
