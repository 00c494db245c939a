"""The contract of estimators: what they are given, and what they must return."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from causalppl.data import Table
from causalppl.estimation.estimate import Estimate
from causalppl.identification import Estimand

__all__ = ["Estimator", "Problem"]


@dataclass(frozen=True, eq=False)
class Problem:
    """What an estimator is asked.

    Attributes:
        estimand: The formula, with its query and diagram.
        table: The observed data, complete in the columns that the formula names.
        sources: Other data: ``(population, variables set)`` to its table, see `estimate`.
        weights: One non-negative weight for each row (counts, or sampling weights), by source as
            in ``sources``, the observed data under ``(None, frozenset())``; empty: all equal.
        policies: For a plan: variable to its law, as for `evaluate`.

    Example:
        >>> from causalppl.graphs import back_door
        >>> from causalppl.identification import identify
        >>> table = Table.from_any({"Z": [0, 1], "X": [0, 1], "Y": [0.5, 1.5]})
        >>> Problem(identify(back_door(), "ATE(X -> Y)"), table).table.num_rows
        2
    """

    estimand: Estimand
    table: Table
    sources: Mapping[Any, Table] = field(default_factory=dict)
    weights: Mapping[Any, Any] = field(default_factory=dict)
    policies: Mapping[str, Any] = field(default_factory=dict)


class Estimator(ABC):
    """One way from a formula and data to a number.

    Subclasses are frozen dataclasses whose fields are the settings, checked at construction.

    Attributes:
        name: Its name in results.

    Example:
        >>> class Nothing(Estimator):
        ...     name = "Nothing"
        ...
        ...     def refusal(self, problem):
        ...         return "it never answers"
        ...
        ...     def solve(self, problem, *, seed, progress=False):
        ...         raise NotImplementedError
        >>> Nothing().refusal(None), Nothing().extra_columns(None)
        ('it never answers', ())
    """

    name: ClassVar[str]

    def extra_columns(self, estimand: Estimand) -> tuple[str, ...]:
        """Name the columns that are needed beside those of the formula."""
        return ()

    def keeps_incomplete(self, estimand: Estimand) -> frozenset[str]:
        """Name the columns in which a missing value does not make a row useless."""
        return frozenset()

    @abstractmethod
    def refusal(self, problem: Problem) -> str | None:
        """Say why the estimator cannot answer; None if it can. Cheap, and without side effects."""

    @abstractmethod
    def solve(self, problem: Problem, *, seed: int, progress: bool = False) -> Estimate:
        """Answer the problem; called only if `refusal` is None.

        Args:
            problem: What is asked.
            seed: Seed of all randomness (folds, bootstrap, draws).
            progress: Show a progress bar.
        """
