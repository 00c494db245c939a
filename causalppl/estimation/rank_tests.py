"""A test of independence by ranks, with nothing given: it takes nothing for granted."""

from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from causalppl.estimation.independence_contract import Found, IndependenceTest
from causalppl.estimation.nested_curves import normal_scores
from causalppl.estimation.sample import Question
from causalppl.exceptions import DataError

__all__ = ["RankScores"]

Array: TypeAlias = NDArray[np.float64]


@final
@dataclass(frozen=True)
class RankScores(IndependenceTest):
    """Correlations of normal scores and of squared ranks, jointly; nothing may be given.

    The law under independence does not depend on the laws of two continuous columns, however far
    their values lie. Squares show dependence that rises and falls, which correlation does not.
    Categories count as indicators. The statistic is Pillai's trace of the scores, times rows less
    one, whose mean over all permutations is the number of pairs of scores; its law is replaced by
    Pillai's F law.

    References:
        van der Waerden (1952), Order tests for the two-sample problem and their power; Kallenberg
        and Ledwina (1999), Data-driven rank tests for independence, for more than one score.

    Example:
        >>> x, noise = np.random.default_rng(0).normal(size=(2, 500))
        >>> [RankScores().test({"x": x, "y": y}, "x", "y").p_value < 0.01 for y in (x**2, noise)]
        [True, False]
    """

    @property
    def assumes(self) -> str:
        """What the test takes for granted, besides rows drawn independently."""
        return "nothing but independent rows"

    def __str__(self) -> str:
        return "rank scores"

    def _run(self, question: Question) -> Found:
        if question.given:
            raise DataError(f"{question.given[0]!r} is given; rank scores test only pairs")
        first, second = (_scores(question, name) for name in (question.left, question.right))
        sizes = first.shape[1], second.shape[1]
        least, spread = min(sizes), abs(sizes[0] - sizes[1])
        if (free := question.num_rows - 1 - max(sizes)) < 1:
            raise DataError(f"{question.num_rows} rows for {sum(sizes)} scores; expected more")
        trace = min(float(np.square(first.T @ second).sum()), least * (1 - 1e-12))
        ratio = trace / (least - trace) * free / (spread + least)
        p_value = special.fdtrc(least * (spread + least), least * free, ratio)
        is_ordered = not {question.left, question.right} & question.sample.unordered
        effect = min(1.0, abs(float(first[:, 0] @ second[:, 0]))) if is_ordered else None
        return Found(trace * (question.num_rows - 1), float(p_value), effect)


def _scores(question: Question, name: str) -> Array:
    """Orthonormal scores of a column, each with mean zero, shape ``(rows, scores)``."""
    key = "scores", name, question.gapped
    return question.sample.kept(key, lambda: _made_scores(question, name))


def _made_scores(question: Question, name: str) -> Array:
    if name in question.sample.unordered:
        features = question.one_hot(name)[:, 1:]
    else:
        score = normal_scores(question.values(name))
        # squares of ranks, not of scores: the few largest would decide
        features = np.stack([score, np.square(special.ndtr(score) - 0.5)], 1)
    basis, size = np.linalg.qr(features - features.mean(0))
    kept = np.abs(np.diag(size)) > 1e-7 * np.sqrt(np.square(features).sum(0))
    return np.asarray(basis[:, kept])
