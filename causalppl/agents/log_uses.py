"""What a log can tell about the laws of a dynamic treatment regime, by its diagram."""

from collections.abc import Sequence
from itertools import product
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.agents.dtr_model import DTRModel
from causalppl.exceptions import AssumptionError
from causalppl.graphs import is_separated

__all__ = ["LogUse", "is_told_by_state", "log_uses", "told_arms"]

LogUse: TypeAlias = Literal["counts", "local bounds", "history bounds", "nothing"]
"""What a log tells about a law: the law itself, bounds on it (two ways), or nothing."""

_Names: TypeAlias = frozenset[str]
_MOST_WAYS = 256


def log_uses(model: DTRModel, do: Sequence[str] = ()) -> list[tuple[LogUse, LogUse]]:
    """Say what a log tells about the outcomes and the reward of each stage.

    A law is identified here if the second rule of do-calculus lets all natural actions so far be
    seen instead of set (they may then be forgotten, where the state does not hold them). If it
    does so for the earlier ones only, bounds on the present action are local. Else bounds go back
    through the history, which the state must then be. Where arms differ in what they set, this
    must hold for whatever they may have set.

    Args:
        model: The stages, with their diagram.
        do: The variables that were set from outside in the log.

    Raises:
        AssumptionError: What was set in the log is no action.

    Example:
        >>> from causalppl.envs import make_env
        >>> log_uses(DTRModel.for_env(make_env("TwoStageDTR")))
        [('counts', 'counts'), ('counts', 'history bounds')]
    """
    if others := sorted(set(do) - _acted(model, len(model) - 1)):
        raise AssumptionError(
            f"{', '.join(others)} was set in the log, but is no action of a stage; expected "
            "natural data, or such in which actions were set"
        )
    found: list[tuple[LogUse, LogUse]] = []
    for stage in range(len(model)):
        outcomes, rewards = (
            _use(model, stage, targets, frozenset(do) & _acted(model, stage))
            for targets in _targets(model, stage)
        )
        found.append((outcomes, rewards))
    return found


def told_arms(
    model: DTRModel, do: Sequence[str]
) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Say of which arms a trial log shows the law of outcomes and the mean reward, at each stage.

    Where some arm leaves to nature what the trial has set, the log as a whole is no sample of what
    the agent will meet, and `log_uses` says "nothing". It still is one for each arm under which
    it makes no difference, by rules 1 and 2 of do-calculus, whether a variable was set by the
    trial, by the agent, or by nature.

    Args:
        model: The stages, with their diagram.
        do: The variables that were set from outside in the log.

    Returns:
        Shape ``(arms,)`` each.

    Example:
        >>> from causalppl.envs import Stage
        >>> from causalppl.graphs import ADMG
        >>> model = DTRModel([Stage([{}, {"X": 1}])], {}, outcome="Y", graph=ADMG.parse("X -> Y"))
        >>> log_uses(model, ["X"]), told_arms(model, ["X"])[0][1].tolist()
        ([('counts', 'nothing')], [False, True])
    """
    found = []
    for stage in range(len(model)):
        arms = [frozenset(arm) for arm in model.stages[stage].arms]
        outcomes, rewards = (
            np.array([_is_told(model, stage, targets, frozenset(do), arm) for arm in arms])
            for targets in _targets(model, stage)
        )
        found.append((outcomes, rewards))
    return found


def _is_told(model: DTRModel, stage: int, targets: _Names, do: _Names, arm: _Names) -> bool:
    """Whether what follows an arm, whatever was set before, is as in the log where it was taken."""
    do = do & _acted(model, stage)
    ways = {before | arm for before in (_ways(model, stage - 1) if stage else {frozenset[str]()})}
    if not targets or all(do == way for way in ways):
        return True
    if len(ways) > _MOST_WAYS or any(targets & (do - way) for way in ways):
        return False  # what nature does with a variable that was set cannot be seen
    state = frozenset(model.variables(stage)) | arm
    return model.graph is not None and all(
        # first set, besides, what nature would have set; then let the log's own ones be seen
        _is_exchanged(model, targets, do - way, way, state)
        and _is_exchanged(model, targets, way - do, do, state)
        for way in ways
    )


def is_told_by_state(model: DTRModel) -> bool:
    """Whether states say all that matters of whether earlier actions were set or left to nature.

    It is so where all arms of a stage set the same variables, or where the diagram shows that for
    what follows a state an action that was seen is as good as one that was set.

    Example:
        >>> from causalppl.envs import Stage
        >>> stages = [Stage([{}, {"X": 1}]), Stage([{"Z": 0}, {"Z": 1}], ["X"])]
        >>> is_told_by_state(DTRModel(stages, {"X": [0, 1]}, outcome="Y"))
        False
    """
    for stage in range(1, len(model)):
        ways, every = _ways(model, stage - 1), _acted(model, stage - 1)
        if ways == {every}:
            continue
        if model.graph is None or len(ways) > _MOST_WAYS:
            return False
        for targets, set_now, way in product(_targets(model, stage), _sets(model, stage), ways):
            given = frozenset(model.variables(stage)) | set_now
            if targets and not _is_exchanged(model, targets, every - way, way | set_now, given):
                return False
    return True


def _use(model: DTRModel, stage: int, targets: _Names, do: _Names) -> LogUse:
    acted, present = _acted(model, stage), frozenset(model.actions[stage])
    ways = _ways(model, stage)
    if not targets:
        return "counts"
    if not all(do <= way for way in ways) or len(ways) > _MOST_WAYS:
        return "nothing"  # what was set in the log some arm leaves to nature
    if acted <= do:
        return "counts"
    if model.graph is not None and all(_is_seen(model, stage, targets, w - do, do) for w in ways):
        return "counts"
    if model.graph is not None and all(
        _is_seen(model, stage, targets, way - present - do, do | way & present) for way in ways
    ):
        return "local bounds"
    is_full = all(model.is_full_history(earlier) for earlier in range(stage + 1))
    return "history bounds" if is_full else "nothing"


def _is_seen(model: DTRModel, stage: int, targets: _Names, seen: _Names, do: _Names) -> bool:
    """Whether some actions tell, where they were seen, what they would if set; others are set."""
    state = frozenset(model.variables(stage)) | seen & frozenset(model.actions[stage])
    state |= do & frozenset(model.actions[stage])
    return _is_exchanged(model, targets, seen, do, state)


def _is_exchanged(
    model: DTRModel, targets: _Names, seen: _Names, do: _Names, state: _Names
) -> bool:
    """Whether P(targets | state, do(seen), do(do)) is that given the state, with ``do`` set.

    By rule 2 of do-calculus, and rule 1 for those that the state does not hold.
    """
    assert model.graph is not None
    graph = model.graph.remove_incoming(do)
    targets, gone = targets - seen - do, (seen | do) - state
    given = (state | do) - seen
    return is_separated(graph.remove_outgoing(seen), targets, seen, given) and is_separated(
        graph, targets, gone, state
    )


def _targets(model: DTRModel, stage: int) -> tuple[_Names, _Names]:
    paid = model.paid[stage]
    return frozenset(model.drawn[stage]), frozenset([paid] if paid else [])


def _acted(model: DTRModel, stage: int) -> _Names:
    return frozenset(name for actions in model.actions[: stage + 1] for name in actions)


def _sets(model: DTRModel, stage: int) -> set[_Names]:
    """The sets of variables that arms of a stage set."""
    return {frozenset(arm) for arm in model.stages[stage].arms}


def _ways(model: DTRModel, stage: int) -> set[_Names]:
    """The sets of variables that may have been set by the end of a stage."""
    found = {frozenset[str]()}
    for k in range(stage + 1):
        found = {before | own for before in found for own in _sets(model, k)}
    return found
