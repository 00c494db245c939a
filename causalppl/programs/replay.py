"""Worlds one after the other, for programs that do not broadcast over a world axis.

The factual world runs first and passes through all handlers outside. Each other world is then a
further run in which every value is carried over from the factual one by the shared noise.
"""

from collections.abc import Mapping
from typing import Any

import pyro
import torch
from pyro.poutine.messenger import Messenger

from causalppl.exceptions import ProgramError
from causalppl.programs.interventions import Interventions, World, intervened_value
from causalppl.programs.structural import Coupling, coupling_for
from causalppl.programs.structure import Structure, is_delta
from causalppl.programs.targets import earlier, site_target
from causalppl.shapes import broadcast_shapes
from causalppl.typing import Program


def replay_worlds(
    program: Program,
    args: Any,
    kwargs: Any,
    structure: Structure,
    worlds: Mapping[str, Interventions],
    couplings: Mapping[str, Coupling],
) -> dict[str, list[torch.Tensor]]:
    """Run the factual world and then each other world.

    Returns:
        Site name to its values: the factual one first, then one for each world.
    """
    factual = _Recorder(structure)
    with factual:
        program(*args, **kwargs)
    runs: dict[str, _WorldReplay] = {}
    for world in _order(worlds):
        runs[world] = _WorldReplay(factual, worlds[world], couplings, runs)
        with pyro.poutine.block(), runs[world]:
            program(*args, **kwargs)
    return {
        name: [value, *(runs[world].values[name] for world in worlds)]
        if structure.sites[name].is_unit
        else [value]
        for name, value in factual.values.items()
    }


class _Recorder(Messenger):
    """Keep laws, values and parameters of the factual run."""

    def __init__(self, structure: Structure) -> None:
        super().__init__()
        self.structure = structure
        self.laws: dict[str, Any] = {}
        self.values: dict[str, torch.Tensor] = {}
        self.learned: dict[str, Any] = {}
        self.noise: dict[str, torch.Tensor] = {}

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] in self.structure.sites:
            self.laws[msg["name"]] = msg["fn"]
            self.values[msg["name"]] = msg["value"]

    def _pyro_post_param(self, msg: Any) -> None:
        self.learned[msg["name"]] = msg["value"]


class _WorldReplay(Messenger):
    """Run one intervened world on the noise of the factual run."""

    def __init__(
        self,
        factual: _Recorder,
        interventions: Interventions,
        couplings: Mapping[str, Coupling],
        others: Mapping[str, "_WorldReplay"],
    ) -> None:
        super().__init__()
        self._factual = factual
        self._interventions = interventions
        self._couplings = couplings
        self._others = others
        structure = factual.structure
        self._reached = frozenset[str]().union(
            *(structure.descendants(name) for name in interventions)
        )
        self.values: dict[str, torch.Tensor] = {}

    def _pyro_param(self, msg: Any) -> None:
        if msg["name"] in self._factual.learned:
            msg.update(value=self._factual.learned[msg["name"]], done=True)

    def _pyro_sample(self, msg: Any) -> None:
        name, fn = msg["name"], msg["fn"]
        site = self._factual.structure.sites.get(name)
        if site is None:
            return
        value = self._factual.values[name]
        if name in self._reached:
            if is_delta(fn):
                value = fn.sample() if msg["value"] is None else msg["value"]
            elif name not in self._interventions or _reads_natural(self._interventions[name]):
                value = self._carry(name, fn)
            if name in self._interventions:
                value = self._intervene(name, fn, value)
        self.values[name] = value
        msg.update(value=value, is_observed=True, done=True)

    def _carry(self, name: str, fn: Any) -> torch.Tensor:
        coupling = coupling_for(fn, self._couplings.get(name))
        value, law, noise = (
            self._factual.values[name],
            self._factual.laws[name],
            self._factual.noise,
        )
        if coupling.is_deterministic:
            return coupling.transport(value, law, fn)
        if name not in noise:  # one draw of the noise serves all worlds
            noise[name] = coupling.abduct(value, law)
        return coupling.push(noise[name], fn)

    def _intervene(self, name: str, fn: Any, natural: torch.Tensor) -> torch.Tensor:
        intervention = self._interventions[name]
        if isinstance(intervention, World):
            source = self._others[intervention.name] if intervention.name else self._factual
            return source.values[name]
        event_dim = self._factual.structure.sites[name].event_dim
        target = site_target(
            name,
            fn,
            natural.shape,
            event_dim,
            lambda: natural,
            lambda asked: earlier(self.values, asked),
        )
        value = intervened_value(intervention, target)
        if not isinstance(value, torch.Tensor):
            value = value.sample()
        return value.expand(broadcast_shapes(value.shape, natural.shape))


def _reads_natural(intervention: Any) -> bool:
    return not isinstance(intervention, bool | int | float | torch.Tensor | World)


def _order(worlds: Mapping[str, Interventions]) -> list[str]:
    """Order worlds so that each comes after those it takes values from."""
    order: list[str] = []

    def visit(world: str, path: tuple[str, ...]) -> None:
        if world in order or not world:
            return
        if world in path:
            raise ProgramError(
                f"the worlds {' <- '.join((*path, world))} take values from one another, and the "
                "program does not broadcast over worlds, so they cannot run one after the other; "
                "index event dimensions from the right (x[..., 0]) so that it does"
            )
        for intervention in worlds[world].values():
            if isinstance(intervention, World):
                visit(intervention.name, (*path, world))
        order.append(world)

    for world in worlds:
        visit(world, ())
    return order
