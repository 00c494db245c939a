"""Which arms are worth trying, by the diagram alone."""

from collections.abc import Sequence
from typing import Any

from causalppl.agents.agent import Arm
from causalppl.agents.arm_search import is_open
from causalppl.agents.choice import diagram_of
from causalppl.exceptions import QueryError
from causalppl.graphs import ADMG
from causalppl.identification import minimal_intervention_sets, possibly_optimal_sets
from causalppl.programs import SCM

__all__ = ["filter_arms"]


def filter_arms(
    model: SCM | ADMG,
    arms: Sequence[Arm],
    reward: str,
    which: str = "all",
    *,
    manipulable: Sequence[str] | None = None,
) -> tuple[dict[str, float], ...]:
    """Keep the arms that set a variable set worth setting.

    Args:
        model: The diagram, or a program with one.
        arms: What may be set, to which values.
        reward: The variable that matters.
        which: ``"all"``; ``"MIS"``, arms that set nothing in vain; or ``"POMIS"``, arms that are
            best under some mechanisms.
        manipulable: The variables that can be set at all; those that some arm sets when left out. A
            set can be best only because another cannot be set.

    Returns:
        The arms that are kept, smaller sets first, then sets in the order of the diagram, then
        values.

    Raises:
        GraphError: The model is neither a diagram nor a program.
        QueryError: ``which`` is none of these, an arm sets what is not in the diagram or leaves a
            value open, or arms would be dropped for better ones that are not there.

    References:
        Lee and Bareinboim (2018), Structural causal bandits: where to intervene?

    Example:
        >>> graph = ADMG.parse("Z -> X -> Y; X <-> Y")
        >>> arms = [{}, {"X": 0}, {"X": 1}, {"Z": 0}, {"Z": 1}, {"X": 0, "Z": 1}]
        >>> filter_arms(graph, arms, "Y", "POMIS")
        ({'Z': 0}, {'Z': 1}, {'X': 0}, {'X': 1})
        >>> len(filter_arms(graph, arms, "Y", "MIS"))
        5
    """
    graph = diagram_of(model)
    order = {name: place for place, name in enumerate(graph.nodes)}
    if any(is_open(value) for arm in arms for value in arm.values()):
        raise QueryError(
            "an arm leaves a value open; expected numbers; CausalBayesianOptimisation filters such "
            "arms itself, by its option sets"
        )
    if unknown := sorted({name for arm in arms for name in arm} - set(order)):
        raise QueryError(
            f"{', '.join(unknown)} is set, but is not in the diagram; it has {', '.join(order)}"
        )
    if which not in ("all", "MIS", "POMIS"):
        raise QueryError(f"which is {which!r}; expected 'all', 'MIS' or 'POMIS'")
    ordered = [{name: arm[name] for name in graph.in_order(arm)} for arm in arms]
    if which != "all":
        ordered = _worth_setting(graph, ordered, reward, which, manipulable)
    return tuple(
        sorted(ordered, key=lambda arm: (len(arm), [order[n] for n in arm], [*arm.values()]))
    )


def _worth_setting(
    graph: ADMG,
    arms: list[dict[str, Any]],
    reward: str,
    which: str,
    manipulable: Sequence[str] | None,
) -> list[dict[str, Any]]:
    find = possibly_optimal_sets if which == "POMIS" else minimal_intervention_sets
    allowed = {name for arm in arms for name in arm} if manipulable is None else manipulable
    sets = find(graph, reward, manipulable=graph.in_order(allowed))
    kept = [arm for arm in arms if frozenset(arm) in sets]
    missing = [found for found in sets if found not in map(frozenset, kept)]
    # what is dropped is no better than the best arm of all sets, which must be there then
    if missing and len(kept) < len(arms):
        names = ", ".join(graph.in_order(missing[0])) or "nothing, the arm {}"
        raise QueryError(
            f"of the {which} one sets {names}, which no arm does: arms would be dropped for better "
            "ones that cannot be played; add such arms, or say which='all'"
        )
    return kept
