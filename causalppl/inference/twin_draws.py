"""Draws of any values from draws of the finite latents, by simulating the worlds."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.distributions import Distribution

from causalppl.inference.twin_network import Node
from causalppl.inference.twin_plan import Plan
from causalppl.programs.interventions import Interventions, Shift, World
from causalppl.programs.simulate import simulate

__all__ = ["Simulated"]


class Simulated:
    """Abduct and predict by running the program, once the finite latents have been drawn.

    Needs evidence in the factual world only. Sites that the evidence does not bear on are drawn
    forward; the others are given. So the draws are exact whatever the couplings.

    Args:
        plan: The problem's network.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan, self._problem = plan, plan.problem

    def obstacle(self, keys: Sequence[str]) -> str | None:
        """Say why some keys cannot be drawn so; None if they can."""
        elsewhere = [self._plan.keys[node] for node in self._plan.evidence if node.world]
        if elsewhere:
            return f"there is evidence in another world ({', '.join(elsewhere)})"
        nodes = [self._plan.node(key) for key in keys]
        blocked: dict[Node, str] = {
            node: part.obstacle
            for part in self._plan.parts([])
            if part.obstacle is not None
            for node in part.latents
        }
        for part in self._plan.parts(nodes):
            if not part.latents & set(nodes):
                continue
            for node in part.latents & blocked.keys():
                return blocked[node]
        return self._without_coupling(keys) or self._free_parameters(nodes)

    def _without_coupling(self, keys: Sequence[str]) -> str | None:
        structure, laws = self._problem.scm.structure, self._plan.tables.sites
        for world in self._worlds(keys):
            reached = self._problem.reached(world)
            for name in reached:
                site = structure.sites[name]
                is_moved = any(parent in reached for parent in site.parents)
                if is_moved and site.kind == "sample" and laws[name].coupling is None:
                    return f"the family {site.family} of {name!r} has no coupling"
        return None

    def _free_parameters(self, nodes: Sequence[Node]) -> str | None:
        structure = self._problem.scm.structure
        names = {node.name for node in self._plan.network.ancestors(nodes)}
        free = sorted(structure.ancestors(names) & set(self._problem.free_parameters))
        if free:
            return f"the parameters {', '.join(free)} have no draws; fit the model first"
        return None

    def _worlds(self, keys: Sequence[str]) -> dict[str, Interventions]:
        """The worlds of some keys, and those that they take values from."""
        found: dict[str, Interventions] = {}
        stack = [self._problem.split(key)[1] for key in keys]
        while stack:
            world = stack.pop()
            if world and world not in found:
                found[world] = self._problem.worlds[world]
                changes = found[world].values()
                stack.extend(change.name for change in changes if isinstance(change, World))
        return {world: found[world] for world in self._problem.worlds if world in found}

    def draw(
        self, keys: Sequence[str], latents: Mapping[str, Tensor], units: Tensor, num_draws: int
    ) -> dict[str, Tensor]:
        """Draw values, from torch's global generator.

        Args:
            keys: What to draw.
            latents: Site to draws from its posterior,
                ``(parameter draws, draws, len(units), *event)``.
            units: Positions of the units.
            num_draws: Draws for each of them and each parameter draw.

        Returns:
            Key to draws, shaped as the latents.
        """
        outer = self._problem.num_parameter_draws
        size = num_draws * len(units)
        given: dict[str, Tensor] = {}
        for name, value in latents.items():
            flat = value.reshape(outer, size, *value.shape[3:])
            given[name] = flat if self._problem.scm.parameters else flat[0]
        for node in self._plan.evidence:
            known = self._plan.known(node)
            if node.is_draw and known is not None:
                own = known.values[known.codes[units]]
                given[node.name] = own.repeat((num_draws,) + (1,) * (own.dim() - 1))
        simulation = simulate(
            self._problem.scm,
            size,
            tuple(keys),
            worlds={
                world: {
                    name: self._repeated(change, units, num_draws)
                    for name, change in changes.items()
                }
                for world, changes in self._worlds(keys).items()
            },
            given=given,
        )
        found = {key: simulation[key] for key in keys}
        return {
            key: value.expand(outer, *value.shape[1:]).reshape(
                outer, num_draws, len(units), *value.shape[2:]
            )
            for key, value in found.items()
        }

    def _repeated(self, change: Any, units: Tensor, num_draws: int) -> Any:
        """Take some units of an intervention, as often as there are draws."""
        num_units = self._problem.num_units
        if isinstance(change, Shift):
            return Shift(self._repeated(change.by, units, num_draws))
        if isinstance(change, Distribution):
            if change.batch_shape.numel() <= 1:
                return change
            drawn = change.expand((num_units,)).sample((num_draws,))[:, units]
            return drawn.flatten(0, 1)
        if isinstance(change, Tensor) and change.dim() and len(change) == num_units > 1:
            return change[units].repeat((num_draws,) + (1,) * (change.dim() - 1))
        return change
