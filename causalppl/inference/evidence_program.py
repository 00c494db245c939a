"""The program that carries a problem's evidence, and the latents that the evidence leaves open.

It is the model itself where all evidence is factual, and the twin program where some of it sits in
another world. It runs for many rows at once; each row knows which parameter draw it belongs to.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pyro
import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from causalppl.exceptions import ImpossibleEvidenceError
from causalppl.inference.engine import Problem
from causalppl.inference.latent_site import LatentSite, is_static
from causalppl.inference.row_axis import RowAxis
from causalppl.programs.interventions import World
from causalppl.programs.scm import Given
from causalppl.programs.structure import is_delta
from causalppl.programs.worlds import TwinWorlds
from causalppl.programs.wrappers import unwrap
from causalppl.typing import Values


class EvidenceProgram:
    """The evidence program of a problem; see the module's text.

    Args:
        problem: What is asked; no evidence on deterministic sites.

    Attributes:
        axis: Where rows, units and plates stand.
        keys: What is asked for: targets, and what the events speak of.
        worlds: The worlds that matter, those with evidence first.
        is_twin: Whether evidence sits in another world.
        evidence: Key to values, in the order of the program's plates.
        sites: The latents, in the order in which they run.

    Raises:
        ImpossibleEvidenceError: A value lies outside its site's support whatever the latents are,
            or has probability zero.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem, self.scm = problem, problem.scm
        self.structure = problem.scm.structure
        self.axis = RowAxis(self.structure, problem.num_units)
        self.keys = tuple(
            dict.fromkeys((*problem.targets, *(event.key for event in problem.events)))
        )
        self._evidence_worlds = self._closure(problem.evidence)
        self.is_twin = bool(self._evidence_worlds)
        # worlds with evidence come first: the law of a copy in a later world follows from them
        order = dict.fromkeys((*self._evidence_worlds, *self._closure(self.keys)))
        self.worlds = {world: problem.worlds[world] for world in order}
        self.evidence = {
            key: self.axis.to_plates(problem.split(key)[0], value)
            for key, value in problem.evidence.items()
        }
        self._program = self._evidence_program()
        self._prediction = self._twin(self.worlds) if self.is_twin else self._program
        self._relevant: frozenset[str] = frozenset()
        with self.active():
            self.sites = self._read()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Enter once around many calls: learned parameters in, checks of values off."""
        with self.scm.running(), pyro.validation_enabled(False):
            yield

    def model(
        self,
        index: Tensor,
        handlers: Sequence[Messenger] = (),
        *,
        is_hiding: bool = True,
        is_conditioned: bool = True,
        is_predicting: bool = False,
    ) -> Callable[[], Any]:
        """Return the evidence program for some rows, as a function without arguments.

        Args:
            index: Parameter draw of each row.
            handlers: To enter around it, the outermost first.
            is_hiding: Hide the sites that the evidence does not depend on.
            is_conditioned: Put in the evidence.
            is_predicting: Run all worlds that are asked for.
        """
        rows = len(index)
        parameters = {
            name: self.axis.place(draws[index.to(draws.device)], self._event_shape(name))
            for name, draws in self.scm.parameters.items()
        }
        evidence = {
            key: self.axis.spread(value, self._event_shape(self.problem.split(key)[0]), rows)
            for key, value in self.evidence.items()
            if is_conditioned
        }
        program = self._prediction if is_predicting else self._program

        def model() -> Any:
            with ExitStack() as stack:
                if is_hiding:
                    stack.enter_context(pyro.poutine.block(hide_fn=self._is_hidden))
                for handler in handlers:
                    stack.enter_context(handler)
                stack.enter_context(pyro.condition(data=evidence))
                stack.enter_context(Given(parameters))
                stack.enter_context(self.axis.plate(rows))
                return program(self.problem.num_units)

        return model

    def given(self, values: Values, rows: slice = slice(None)) -> Given:
        """Return a handler that sets latents to some rows of their values.

        Args:
            values: Some latents' values, ``(rows, *batch, *event)``.
            rows: Which rows.
        """
        return Given(
            {
                site.name: self.axis.place(values[site.name][rows], site.event_shape)
                for site in self.sites
                if site.name in values
            }
        )

    def recorded(self, trace: Any, sites: Iterable[LatentSite], rows: int) -> dict[str, Tensor]:
        """Return latents' values in a trace, shape ``(rows, *batch, *event)``."""
        return {
            site.name: self.axis.collect(
                trace.nodes[site.name]["value"], site.batch_shape, site.event_shape, rows
            )
            for site in sites
        }

    def _event_shape(self, name: str) -> tuple[int, ...]:
        return self.structure.sites[name].event_shape

    def _is_hidden(self, msg: Any) -> bool:
        """Sites that the evidence does not depend on are drawn, but neither seen nor scored."""
        return msg["type"] == "sample" and msg["name"] not in self._relevant

    # -- worlds ------------------------------------------------------------------------------

    def _closure(self, keys: Iterable[str]) -> tuple[str, ...]:
        """Return the worlds of some keys, after those that they take values from."""
        found: dict[str, None] = {}

        def visit(world: str) -> None:
            if not world or world in found:
                return
            for intervention in self.problem.worlds[world].values():
                if isinstance(intervention, World):
                    visit(intervention.name)
            found[world] = None

        for key in keys:
            visit(self.problem.split(key)[1])
        return tuple(found)

    def _evidence_program(self) -> Any:
        if not self.is_twin:
            return self.scm.program
        if self._needs_all_worlds():
            return self._twin(self.worlds)
        return self._twin({world: self.worlds[world] for world in self._evidence_worlds})

    def _twin(self, worlds: Mapping[str, Any]) -> TwinWorlds:
        return TwinWorlds(
            self.scm.program, worlds, self.scm.couplings, self.structure, explicit=True
        )

    def _needs_all_worlds(self) -> bool:
        """Whether a site's noise is drawn at once for all worlds, evidence there or not."""
        if len(self.worlds) == len(self._evidence_worlds):
            return False
        bases = {self.problem.split(key)[0] for key in self.evidence}
        return any(
            site.is_discrete and site.kind == "sample" and not self.scm.coupling(name).is_chained
            for name, site in self.structure.sites.items()
            if site.is_unit
            and name in self.structure.ancestors(bases)
            and any(name in self.problem.reached(world) for world in self._evidence_worlds)
        )

    # -- reading -----------------------------------------------------------------------------

    def _read(self) -> tuple[LatentSite, ...]:
        """Run the program once and find the latents that the evidence depends on."""
        with torch.no_grad():
            model = self.model(torch.zeros(1, dtype=torch.long), is_hiding=False)
            trace = pyro.poutine.trace(model).get_trace()
        nodes = {
            name: node
            for name, node in trace.nodes.items()
            if node["type"] == "sample" and not site_is_subsample(node) and not is_delta(node["fn"])
        }
        split = {name: self.problem.split(name) for name in nodes}
        ancestors = self.structure.ancestors(
            {
                split[name][0]
                for name, node in nodes.items()
                if node["is_observed"] and split[name][0] not in self.scm.parameters
            }
        )
        worlds = {"", "noise", *self._evidence_worlds}
        self._relevant = frozenset(
            name
            for name, (base, world) in split.items()
            if base in ancestors and base not in self.scm.parameters and world in worlds
        )
        relevant = {name: node for name, node in nodes.items() if name in self._relevant}
        latent = [name for name, node in relevant.items() if not node["is_observed"]]
        sites = tuple(LatentSite.read(nodes[name], self.axis.units_dim) for name in latent)
        below = frozenset[str]().union(
            *(self.structure.descendants(split[name][0]) for name in latent)
        )
        for name, node in relevant.items():
            if node["is_observed"]:
                _check_possible(node, depends=split[name][0] in below)
        return sites


def _check_possible(node: Any, *, depends: bool) -> None:
    """Raise if a unit's evidence cannot happen, where no latent has a say in that."""
    fn, value = node["fn"], node["value"]
    if depends and not is_static(fn.support):
        return
    possible = fn.support.check(value)
    if not depends:
        possible = possible & (fn.log_prob(value) > -math.inf)
    if not bool(possible.all()):
        count = int((~possible).sum())
        raise ImpossibleEvidenceError(
            f"the evidence on {node['name']!r} is impossible for {count} of {possible.numel()} "
            f"values: it has probability zero under {type(unwrap(fn).base).__name__}; check the "
            "value, or give the site a mechanism that allows it"
        )
