"""Which arms are worth trying, by the diagram alone."""

from collections.abc import Sequence

from causalppl.agents.agent import Arm
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
        reward: The variable to be made large.
        which: ``"all"``; ``"MIS"``, arms that set nothing in vain; or ``"POMIS"``, arms that are
            best under some mechanisms.
        manipulable: The variables that can be set at all; all but the reward when left out. A set
            can be best only because another cannot be set.

    Returns:
        The arms that are kept, smaller sets first, then sets in the order of the diagram, then
        values.

    Raises:
        QueryError: ``which`` is none of these, or an arm sets what is not in the diagram.

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
    graph = model.graph if isinstance(model, SCM) else model
    order = {name: place for place, name in enumerate(graph.nodes)}
    if unknown := sorted({name for arm in arms for name in arm} - set(order)):
        raise QueryError(
            f"{', '.join(unknown)} is set, but is not in the diagram; it has {', '.join(order)}"
        )
    if which not in ("all", "MIS", "POMIS"):
        raise QueryError(f"which is {which!r}; expected 'all', 'MIS' or 'POMIS'")
    ordered = [{name: arm[name] for name in graph.in_order(arm)} for arm in arms]
    if which != "all":
        find = possibly_optimal_sets if which == "POMIS" else minimal_intervention_sets
        kept = set(find(graph, reward, manipulable=manipulable))
        ordered = [arm for arm in ordered if frozenset(arm) in kept]
    return tuple(
        sorted(ordered, key=lambda arm: (len(arm), [order[n] for n in arm], [*arm.values()]))
    )
