"""The worlds a user asks for: their names, what they set, and in which order they can be read."""

from collections.abc import Collection, Mapping
from typing import Any

from causalppl.exceptions import DataError, ProgramError
from causalppl.programs.interventions import Interventions, World
from causalppl.programs.structure import Structure
from causalppl.spelling import spelling

FACTUAL = ""
"""The name of the factual world, as in ``World("")``."""


def split_world(key: str, sites: Collection[str]) -> tuple[str, str]:
    """Split ``"Y@x0"`` into site and world; the world is empty for a factual site.

    Example:
        >>> split_world("Y@x0", ["Y"])
        ('Y', 'x0')
    """
    if key in sites:
        return key, FACTUAL
    name, mark, world = key.rpartition("@")
    return (name, world) if mark else (key, FACTUAL)


def check_sites(structure: Structure, worlds: Mapping[str, Interventions]) -> None:
    """Raise if a world intervenes on a site that the program does not have."""
    for world, interventions in worlds.items():
        for name in interventions:
            if name not in structure.sites:
                raise ProgramError(
                    f"world {world!r} intervenes on {name!r}, which the program does not have; its "
                    f"sites are {', '.join(structure.unit_sites)}"
                    f"{spelling(name, structure.unit_sites)}"
                )
            if not structure.sites[name].is_unit:
                raise ProgramError(
                    f"world {world!r} intervenes on {name!r}, a parameter that all units share; "
                    f"only unit sites differ between worlds: {', '.join(structure.unit_sites)}"
                )


def check_worlds(worlds: Mapping[str, Interventions]) -> None:
    """Raise if a name cannot be a world's, or if worlds take values from what is not there."""
    for world, interventions in worlds.items():
        if not world or "@" in world or world in ("natural", "noise"):
            raise DataError(
                f"{world!r} cannot be a world's name; use a word without '@', other than 'natural' "
                "and 'noise'"
            )
        for name, intervention in interventions.items():
            if isinstance(intervention, World) and intervention.name not in {FACTUAL, *worlds}:
                raise DataError(
                    f"world {world!r} takes {name!r} from the world {intervention.name!r}, which "
                    f"is not there; the worlds are {', '.join(worlds)}, and '' is the factual one"
                )
    interventions_by_site(worlds)


def interventions_by_site(
    worlds: Mapping[str, Interventions],
) -> dict[str, list[tuple[int, Any]]]:
    """Return site -> [(world's position, intervention)], each after those it reads from."""
    position = {world: w for w, world in enumerate(worlds, 1)}
    by_site: dict[str, dict[str, Any]] = {}
    for world, interventions in worlds.items():
        for name, intervention in interventions.items():
            by_site.setdefault(name, {})[world] = intervention
    ordered: dict[str, list[tuple[int, Any]]] = {}
    for name, wanted in by_site.items():
        ordered[name] = [
            (position[world], wanted[world]) for world in _readable_order(name, wanted)
        ]
    return ordered


def _readable_order(name: str, wanted: Mapping[str, Any]) -> list[str]:
    """Order worlds so that each takes the site's value from one that already has it."""
    order: list[str] = []

    def visit(world: str, path: tuple[str, ...]) -> None:
        if world in path:
            raise DataError(
                f"the worlds {' <- '.join((*path, world))} take {name!r} from one another in a "
                "circle; give one of them a value"
            )
        intervention = wanted.get(world)
        if isinstance(intervention, World):
            visit(intervention.name, (*path, world))
        if world in wanted and world not in order:
            order.append(world)

    for world in wanted:
        visit(world, ())
    return order
