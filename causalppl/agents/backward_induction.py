"""The best regime by known laws, from the last stage to the first."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from causalppl.agents.agent import Array, Integers

if TYPE_CHECKING:
    from causalppl.agents.dtr_model import DTRModel

__all__ = ["backward_induction", "next_values", "pooled"]


def backward_induction(
    model: "DTRModel", transitions: Sequence[Array], rewards: Sequence[Array]
) -> list[Array]:
    """Compute what each arm is worth in each state if the best regime follows.

    Args:
        model: The stages.
        transitions: Probability of each outcome, shape ``(runs, states, arms, outcomes)``, one for
            each stage but the last.
        rewards: Mean reward, shape ``(runs, states, arms)``, one for each stage.

    Returns:
        One array for each stage, shape ``(runs, states, arms)``.

    References:
        Bellman (1957), Dynamic programming.

    Example:
        >>> from causalppl.agents import DTRModel
        >>> from causalppl.envs import Stage
        >>> model = DTRModel([Stage([{"X": 0}, {"X": 1}])], {}, outcome="Y")
        >>> [q] = backward_induction(model, [], [np.array([[[0.2, 0.7]]])])
        >>> q.max()
        np.float64(0.7)
    """
    found = [rewards[-1]]
    for stage in reversed(range(len(model) - 1)):
        after = next_values(model, stage, found[0])
        found.insert(0, rewards[stage] + (transitions[stage] * after).sum(-1))
    return found


def next_values(model: "DTRModel", stage: int, q: Array) -> Array:
    """Find the value of what may follow, shape ``(runs, states, arms, outcomes)``.

    Args:
        model: The stages.
        stage: The stage; not the last.
        q: What arms are worth at the next stage, shape ``(runs, states, arms)``.
    """
    ended = np.zeros((len(q), 1))
    after = np.concatenate([q.max(-1), ended], 1)
    return after[:, model.following[stage]]


def pooled(values: Array, cells: Integers, ufunc: np.ufunc = np.add) -> Array:
    """Join what belongs to the same law, to shape ``(runs, laws, ...)``.

    Args:
        values: What is joined, shape ``(runs, states, arms, ...)``.
        cells: The number of the law, shape ``(states, arms)``.
        ufunc: How: the sum, or ``np.maximum`` or ``np.minimum``.
    """
    initial = {"add": 0.0, "maximum": -np.inf, "minimum": np.inf}[ufunc.__name__]
    found = np.full((len(values), int(cells.max()) + 1, *values.shape[3:]), initial)
    place: Any = (slice(None), cells)
    ufunc.at(found, place, values)
    return found
