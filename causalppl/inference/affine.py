"""A program's worlds as affine functions of one standard normal noise vector.

The coefficients are read from one run of the program on trial values, one unit for each
coordinate; further units verify that the program is affine. Interventions are read likewise.
"""

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyro
import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch.distributions import Distribution

from causalppl.exceptions import CausalPPLError, DataError
from causalppl.inference.engine import Problem
from causalppl.programs.do import prototype
from causalppl.programs.interventions import Target, World, intervened_value
from causalppl.programs.scm import SCM
from causalppl.programs.structural import ContinuousQuantile, LocationScale, Whitened
from causalppl.programs.structure import Site, is_delta, is_discrete, unwrap
from causalppl.seeding import forked_rng

Array: TypeAlias = npt.NDArray[np.float64]
Node: TypeAlias = tuple[str, str]
"""A site and the world it stands in; the factual world where no intervention reaches it."""

FAMILIES: Final = frozenset({"Normal", "MultivariateNormal", "LowRankMultivariateNormal"})
_COUPLINGS: Final = (LocationScale, ContinuousQuantile, Whitened)  # one and the same for normals
_NATURAL: Final = ""


class NotAffineError(Exception):
    """The engine cannot answer; the text says why."""


@dataclass(frozen=True)
class _Precision:
    """What counts as equal, by the dtype in which the program ran."""

    dtype: torch.dtype
    affine: float
    rank: float
    scales: tuple[float, ...]


DOUBLE: Final = _Precision(torch.float64, 1e-9, 1e-12, (1.0, 30.0, 1e3, 1e6))


# -- where a program's values hold units, plates and events ---------------------------------------


class _Layout:
    """Turn a site's values into rows (one per unit) of coordinates, and back."""

    def __init__(self, scm: SCM) -> None:
        self.structure = scm.structure
        self.nesting = scm.structure.plate_nesting
        assert scm.structure.units_dim is not None
        self.units = self.nesting + scm.structure.units_dim
        self._plates: dict[str, dict[int, int]] = {}
        own = [site.plates for site in self.structure.sites.values()]
        if any(set(plates) - {"units"} for plates in own):
            try:
                self._plates = _plate_sizes(scm, self.nesting)
            except Exception as error:
                raise NotAffineError(f"the program does not run for two units ({error})") from error

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of one unit's value, other plates first."""
        plates = self._plates.get(name, {})
        return tuple(plates[d] for d in sorted(plates)) + self.structure.sites[name].event_shape

    def size(self, name: str) -> int:
        """Number of coordinates of a site."""
        return math.prod(self.shape(name))

    def to_rows(
        self, value: torch.Tensor, name: str, rows: int, extra: tuple[int, ...] = ()
    ) -> torch.Tensor:
        """Arrange a program's tensor as ``(draws, rows, coordinates)``."""
        event = (*self.structure.sites[name].event_shape, *extra)
        missing = 1 + self.nesting + len(event) - value.dim()
        value = value.reshape((1,) * missing + value.shape)
        value = value.expand(value.shape[0], *self._batch(name, rows), *event)
        return value.movedim(1 + self.units, 1).reshape(len(value), rows, -1)

    def to_program(self, rows: torch.Tensor, name: str) -> torch.Tensor:
        """Arrange ``(rows, coordinates)`` as the program expects the site's value."""
        batch = self._batch(name, len(rows))
        others = batch[: self.units] + batch[self.units + 1 :]
        event = self.structure.sites[name].event_shape
        value = rows.reshape(len(rows), *others, *event).movedim(0, self.units)
        while value.dim() > len(event) + self.nesting - self.units and value.shape[0] == 1:
            value = value[0]
        return value

    def rows_of(self, value: torch.Tensor, name: str) -> int:
        """Number of units that a value tells apart."""
        dim = self.units - self.nesting - len(self.structure.sites[name].event_shape)
        return value.shape[dim] if value.dim() >= -dim else 1

    def with_draws(self, value: torch.Tensor, name: str) -> torch.Tensor:
        """Put the draw axis of a parameter to the left of all plates."""
        missing = 1 + self.nesting + self.structure.sites[name].event_dim - value.dim()
        return value.reshape(value.shape[:1] + (1,) * missing + value.shape[1:])

    def _batch(self, name: str, rows: int) -> tuple[int, ...]:
        plates = self._plates.get(name, {})
        return tuple(rows if d == self.units else plates.get(d, 1) for d in range(self.nesting))


def _plate_sizes(scm: SCM, nesting: int) -> dict[str, dict[int, int]]:
    """Run the program on two units to see the sizes of its inner plates."""
    sizes: dict[str, dict[int, int]] = {}

    class Reader(Messenger):
        def _pyro_post_sample(self, msg: Any) -> None:
            frames = [f for f in msg["cond_indep_stack"] if f.vectorized and f.name != "units"]
            sizes[msg["name"]] = {nesting + f.dim: f.size for f in frames}

    with quiet(scm), Reader():
        scm.program(2)
    return sizes


@contextlib.contextmanager
def quiet(scm: SCM, dtype: torch.dtype | None = None) -> Iterator[None]:
    """Run a program without a trace of it: no validation, gradients or change of global state."""
    before = torch.get_default_dtype()
    with forked_rng(0), scm.running(), torch.no_grad(), pyro.validation_enabled(False):
        torch.set_default_dtype(dtype or before)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


# -- reading coefficients from a run --------------------------------------------------------------


@dataclass(frozen=True)
class _Mechanism:
    """``value = const + sum of slopes[parent] @ parent + scale @ noise``.

    Attributes:
        const: Shape ``(draws or 1, d)``.
        slopes: Parent to ``(draws or 1, d, d of parent)``.
        scale: Shape ``(draws or 1, d, d)``; None without noise.
    """

    const: Array
    slopes: Mapping[str, Array]
    scale: Array | None


def _trial_values(size: int, scales: tuple[float, ...]) -> Array:
    """Zero, each unit vector, and spread points of both signs at several scales."""
    golden, root = (math.sqrt(5) - 1) / 2, math.sqrt(2)
    step = np.arange(1, size + 1)[None, :] * np.arange(1, len(scales) + 1)[:, None]
    signs = np.where(np.modf(step * root)[0] > 0.5, 1.0, -1.0)
    points = np.array(scales)[:, None] * signs * (0.5 + np.modf(step * golden)[0])
    return np.concatenate([np.zeros((1, size)), np.eye(size), points, -points])


def _is_affine(values: Array, inputs: Array, tolerance: float) -> bool:
    """Whether values ``(..., rows, d)`` at trial inputs are those of their affine part."""
    if not np.isfinite(values).all():
        return False
    size = inputs.shape[1]
    const = values[..., :1, :]
    slopes = values[..., 1 : size + 1, :] - const
    points, found = inputs[size + 1 :], values[..., size + 1 :, :]
    allowed = np.abs(const) + np.abs(points) @ np.abs(slopes)
    return bool((np.abs(const + points @ slopes - found) <= tolerance * allowed).all())


def _law_rows(
    layout: _Layout, fn: Any, name: str, rows: int
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Mean and scale of a normal law in rows; the last number is the side of a scale block."""
    base = unwrap(fn)[0]
    loc = layout.to_rows(base.loc, name, rows)
    if type(base).__name__ == "Normal":
        return loc, layout.to_rows(base.scale, name, rows), 1
    side = base.event_shape[-1]
    return loc, layout.to_rows(base.scale_tril, name, rows, (side,)), side


def _scale_matrix(entries: Array, size: int, side: int) -> Array:
    """Make ``(draws, d, d)`` out of the blocks on the diagonal, ``(draws, d * side)``."""
    matrix = np.zeros((len(entries), size, size))
    blocks = entries.reshape(len(entries), size // side, side, side)
    for i in range(size // side):
        at = slice(i * side, (i + 1) * side)
        matrix[:, at, at] = blocks[:, i]
    return matrix


class _Reading(Messenger):
    """One run on trial values: sets the sites in ``columns`` and records ``mechanisms``."""

    def __init__(
        self, twin: "AffineWorlds", inputs: Array, given: Mapping[str, torch.Tensor]
    ) -> None:
        super().__init__()
        self._twin, self._given = twin, given
        self._rows = len(inputs)
        self._inputs = torch.as_tensor(inputs)
        # site -> mean rows, scale rows (None without noise), side of a scale block
        self.found: dict[str, tuple[Array, Array | None, int]] = {}

    def _pyro_sample(self, msg: Any) -> None:
        name, site = msg["name"], self._twin.layout.structure.sites.get(msg["name"])
        if site is None or site_is_subsample(msg):
            return
        if name in self._given:
            msg.update(value=self._given[name], is_observed=True)
            return
        is_fixed = is_delta(msg["fn"])
        if msg["is_observed"] and not is_fixed and name not in self._twin.factual_evidence:
            raise NotAffineError(
                f"{site.line}: the program itself observes {name!r}; pass the value as evidence"
            )
        natural = self._natural(msg, is_fixed)
        if name in self._twin.mechanisms:
            self._record(site, msg, natural)
        if name in self._twin.columns:
            columns = self._inputs[:, self._twin.columns[name]]
            columns = columns.to(natural.device, self._twin.precision.dtype)
            natural = self._twin.layout.to_program(columns, name)
        msg.update(value=natural, is_observed=True)

    def _natural(self, msg: Any, is_fixed: bool) -> torch.Tensor:
        """The value itself where it is deterministic, else the law's location or any value."""
        if is_fixed:
            value: torch.Tensor = msg["fn"].sample() if msg["value"] is None else msg["value"]
            return value
        base = unwrap(msg["fn"])[0]
        return base.loc if type(base).__name__ in FAMILIES else _any_value(msg["fn"])

    def _record(self, site: Site, msg: Any, natural: torch.Tensor) -> None:
        layout, fn = self._twin.layout, msg["fn"]
        self._twin.device = natural.device
        if is_delta(fn):
            value = layout.to_rows(natural, site.name, self._rows)
            self.found[site.name] = (_numpy(value), None, 1)
            return
        if msg["mask"] is not None or unwrap(fn)[1] or _is_scaled(msg["scale"]):
            raise NotAffineError(
                f"{site.line}: the density of {site.name!r} is masked or scaled, so the program is "
                "not a plain Gaussian"
            )
        loc, scale, side = _law_rows(layout, fn, site.name, self._rows)
        self.found[site.name] = (_numpy(loc), _numpy(scale), side)


def _any_value(fn: Any) -> torch.Tensor:
    """A value for a site that does not matter; trial values may be too wild to draw one."""
    like = prototype(fn)
    if like is None or not is_discrete(fn, like):
        with contextlib.suppress(Exception):
            value: torch.Tensor = fn.sample()
            return value
    like = torch.empty(0) if like is None else like
    return torch.zeros(fn.shape(), dtype=like.dtype, device=like.device)


def _is_scaled(scale: Any) -> bool:
    return bool((scale != 1).any()) if isinstance(scale, torch.Tensor) else scale != 1


def _numpy(tensor: torch.Tensor) -> Array:
    return tensor.detach().to("cpu", torch.float64).numpy()


# -- interventions --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Change:
    """What an intervention makes of a site: affine in its natural value and in other sites.

    Attributes:
        source: The world the value is taken from; the rest is then empty.
        const: Shape ``(units or 1, d)``.
        slopes: Site (or `_NATURAL`) to ``(d, d of that site)``.
        scale: Shape ``(d, d)``: noise of its own; None without.
    """

    source: str | None = None
    const: Array = field(default_factory=lambda: np.zeros((1, 0)))
    slopes: Mapping[str, Array] = field(default_factory=dict)
    scale: Array | None = None


class _Probe:
    """Call an intervention on trial values, and note which values it asks for."""

    def __init__(self, twin: "AffineWorlds", name: str, world: str) -> None:
        self.layout, self.name, self.world = twin.layout, name, world
        self.asked: list[str] = []
        self.intervention = twin.problem.worlds[world][name]
        self._units, self._order = twin.problem.num_units, list(twin.layout.structure.sites)
        self._device = twin.device

    def size(self, asked: str) -> int:
        return self.layout.size(self.name if asked == _NATURAL else asked)

    def __call__(self, values: Mapping[str, Array]) -> tuple[Array, Array | None]:
        def value_of(asked: str) -> torch.Tensor:
            if asked != _NATURAL and asked not in self._order[: self._order.index(self.name)]:
                raise self.refused(f"asks for {asked!r}, which does not run before it")
            if asked not in self.asked:
                self.asked.append(asked)
            row = torch.as_tensor(values.get(asked, np.zeros(self.size(asked))))
            rows = row.to(self._device).expand(self._units, -1)
            return self.layout.to_program(rows, asked or self.name)

        site = self.layout.structure.sites[self.name]
        empty = torch.zeros(1, dtype=torch.float64, device=self._device)
        shape = self.layout.to_program(
            empty.expand(self._units, self.layout.size(self.name)), self.name
        ).shape
        target = Target(
            self.name, shape, site.event_dim, empty, lambda: value_of(_NATURAL), value_of
        )
        try:
            value = intervened_value(self.intervention, target)
        except (CausalPPLError, NotAffineError):
            raise
        except Exception as error:
            raise self.refused(f"cannot be called on trial values ({error})") from error
        return self._rows(value)

    def _rows(self, value: torch.Tensor | Distribution) -> tuple[Array, Array | None]:
        if isinstance(value, torch.Tensor):
            rows = self.layout.rows_of(value, self.name)
            return _numpy(self.layout.to_rows(value.double(), self.name, rows))[0], None
        if type(unwrap(value)[0]).__name__ not in FAMILIES:
            raise self.refused(f"draws from {type(unwrap(value)[0]).__name__}, not a normal law")
        loc, entries, side = _law_rows(self.layout, value, self.name, self._units)
        scales = _numpy(entries)[0]
        if np.ptp(scales, axis=0).max(initial=0.0) > 0:
            raise self.refused("has a standard deviation that differs between units")
        return _numpy(loc)[0], _scale_matrix(scales[:1], loc.shape[-1], side)[0]

    def refused(self, why: str) -> NotAffineError:
        return NotAffineError(f"the intervention on {self.name!r} in world {self.world!r} {why}")


def _read_change(twin: "AffineWorlds", name: str, world: str) -> _Change:
    """Find the affine form of an intervention, by as many calls as it has inputs and a few."""
    probe = _Probe(twin, name, world)
    if isinstance(probe.intervention, World):
        if probe.intervention.name not in {"", *twin.problem.worlds}:
            raise probe.refused(
                f"takes its value from an unknown world {probe.intervention.name!r}"
            )
        return _Change(probe.intervention.name)
    const, scale = probe({})
    if not probe.asked:
        return _Change(None, const, {}, scale)
    edges = np.cumsum([0, *(probe.size(asked) for asked in probe.asked)])
    spans = {a: slice(*edges[i : i + 2]) for i, a in enumerate(probe.asked)}
    inputs = _trial_values(int(edges[-1]), DOUBLE.scales[:3])
    results = [probe({a: row[at] for a, at in spans.items()}) for row in inputs]
    spread = [np.zeros((1, 1)) if s is None else s for s in (scale, *(s for _, s in results))]
    if not all(np.allclose(s, spread[0], DOUBLE.affine, 0.0) for s in spread):
        raise probe.refused("has a standard deviation that depends on other values")
    units = max(len(rows) for rows, _ in results)
    values = np.stack([np.broadcast_to(r, (units, r.shape[1])) for r, _ in results], axis=1)
    if not _is_affine(values, inputs, DOUBLE.affine):
        raise probe.refused("is not affine in the values it takes")
    slopes = values[:, 1 : edges[-1] + 1] - values[:, :1]
    largest = np.abs(slopes).max(initial=0.0) + np.abs(values[:, 0]).max(initial=0.0)
    if np.ptp(slopes, axis=0).max(initial=0.0) > DOUBLE.affine * largest:
        raise probe.refused("has slopes that differ between units")
    return _Change(None, const, {a: slopes[0, at].T for a, at in spans.items()}, scale)


# -- the worlds as affine functions of one noise vector -------------------------------------------


class AffineWorlds:
    """What a problem needs of its program, as ``v = const + A noise`` per site and world.

    Attributes:
        mechanisms: Sites whose own law is needed, in program order.
        columns: Their parents, each with its columns in the trial values.
        values: Node to ``const``, shape ``(draws or 1, units or 1, d)``, and ``A``, shape
            ``(draws or 1, d, noise)``; the noise that all units share comes first.
        shared: Length of the shared noise.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem, self.precision = problem, DOUBLE
        scm = problem.scm
        tensors = (*problem.evidence.values(), *scm.parameters.values())
        self.device = next((t.device for t in tensors), torch.get_default_device())
        self.layout, self.sites = _Layout(scm), scm.structure.sites
        self._reached = {world: problem.reached(world) for world in problem.worlds}
        self.factual_evidence = {
            name: key
            for key in problem.evidence
            for name, world in [problem.split(key)]
            if not world
        }
        self.keys = tuple(
            dict.fromkeys((*problem.targets, *(event.key for event in problem.events)))
        )
        self._changes: dict[Node, _Change] = {}
        # evidence whose parents are evidence says nothing about any other noise: it is a constant
        self.cut = {name for name in self.factual_evidence if self._is_cut(self.sites[name])}
        with quiet(scm, torch.float64):
            while not self._collect():
                pass
        self.mechanisms = [name for name in self.sites if name in self._needed]
        parents = {p for name in self.mechanisms for p in self._parents(name)}
        self.columns: dict[str, slice] = {}
        start = 0
        for name in (name for name in self.sites if name in parents):
            self.columns[name] = slice(start, start + self.layout.size(name))
            start += self.layout.size(name)
        self._laws = self._read(start) if self.mechanisms else {}
        self.values = self._substitute()

    def node(self, key: str) -> Node:
        """Return the node that a key stands for."""
        return self._node(*self.problem.split(key))

    def _node(self, name: str, world: str) -> Node:
        return name, world if world and name in self._reached[world] else ""

    def _is_given(self, name: str) -> bool:
        """Whether a site is a parameter, or a function of parameters, that has draws."""
        return bool(self.problem.scm.parameters) and not self.sites[name].is_unit

    def _parents(self, name: str) -> tuple[str, ...]:
        return tuple(p for p in self.sites[name].parents if not self._is_given(p))

    def _is_cut(self, site: Site) -> bool:
        known = all(p in self.factual_evidence for p in self._parents(site.name))
        return site.kind == "sample" and site.is_unit and known

    # which nodes are needed

    def _collect(self) -> bool:
        """Walk from what is asked and known to all that it needs; False if it must start again."""
        self._needed: set[str] = set()
        self.nodes: set[Node] = set()
        stack = [self.node(key) for key in (*self.keys, *self.problem.evidence)]
        cut = len(self.cut)
        while stack:
            node = stack.pop()
            if node not in self.nodes:
                self.nodes.add(node)
                stack.extend(self._needed_by(*node))
        return len(self.cut) == cut

    def _needed_by(self, name: str, world: str) -> Iterable[Node]:
        if self._is_given(name):
            if name not in self.problem.scm.parameters:
                raise NotAffineError(f"{name!r} is a function of parameters, and has no draws")
            return
        change = self.change(name, world)
        if change is not None and change.source is not None:
            yield self._node(name, change.source)
            return
        if change is not None:
            yield from (self._node(asked, world) for asked in change.slopes if asked != _NATURAL)
            if _NATURAL not in change.slopes:
                return
        elif not world and name in self.cut:
            return
        self._need_mechanism(name)
        yield from (self._node(parent, world) for parent in self._parents(name))

    def _need_mechanism(self, name: str) -> None:
        site = self.sites[name]
        coupling = self.problem.scm.couplings.get(name)
        if site.kind == "sample" and site.family not in FAMILIES:
            raise NotAffineError(
                f"{site.line}: the site {name!r} is {site.family}; expected a normal law or a "
                "deterministic value"
            )
        if coupling is not None and not isinstance(coupling, _COUPLINGS):
            raise NotAffineError(f"{site.line}: the coupling of {name!r} is {coupling.name}")
        self.cut.discard(name)  # its noise matters in another world
        self._needed.add(name)

    def change(self, name: str, world: str) -> _Change | None:
        """Return what a world does to a site, if anything."""
        if not world or name not in self.problem.worlds[world]:
            return None
        if (name, world) not in self._changes:
            self._changes[name, world] = _read_change(self, name, world)
        return self._changes[name, world]

    # coefficients

    def _read(self, size: int) -> dict[str, _Mechanism]:
        """Read all mechanisms: in float64, or in the program's own dtype if that fails."""
        native = torch.get_default_dtype()
        try:
            return self._read_in(size)
        except Exception as error:
            if isinstance(error, NotAffineError):
                raise
            failure = error
        if native != torch.float64:
            self.precision = _Precision(native, 1e-4, 1e-5, (1.0, 30.0))
            try:
                return self._read_in(size)
            except Exception as error:
                if isinstance(error, NotAffineError):
                    raise
                failure = error
        raise NotAffineError(
            f"the program does not run on trial values ({type(failure).__name__}: {failure})"
        )

    def _read_in(self, size: int) -> dict[str, _Mechanism]:
        inputs = _trial_values(size, self.precision.scales)
        draws = {
            name: value.to(self.precision.dtype) if value.is_floating_point() else value
            for name, value in self.problem.scm.parameters.items()
        }
        count = self.problem.num_parameter_draws
        single = {d: None for d in (0, count - 1)}
        runs = [self._run(inputs, {k: v[d] for k, v in draws.items()}) for d in single]
        if count > len(runs):
            found = self._run_batched(inputs, draws, runs)
            if found is None:
                middle = range(1, count - 1)
                more = [self._run(inputs, {k: v[d] for k, v in draws.items()}) for d in middle]
                found = _stacked([runs[0], *more, runs[-1]])
        else:
            found = _stacked(runs)
        return {name: self._mechanism(name, inputs, *found[name]) for name in self.mechanisms}

    def _run(self, inputs: Array, given: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        reading = _Reading(self, inputs, given)
        with quiet(self.problem.scm, self.precision.dtype), reading:
            self.problem.scm.program(len(inputs))
        return reading.found

    def _run_batched(
        self, inputs: Array, draws: Mapping[str, torch.Tensor], runs: list[dict[str, Any]]
    ) -> dict[str, Any] | None:
        """All parameter draws in one run; None if that differs from running them one by one."""
        given = {name: self.layout.with_draws(value, name) for name, value in draws.items()}
        try:
            found = self._run(inputs, given)
        except Exception:  # whatever a program says of a shape it does not expect
            return None
        for d, run in zip((0, -1), runs, strict=True):
            for name, parts in run.items():
                for one, many in zip(parts[:2], found[name][:2], strict=True):
                    if one is not None and not np.allclose(
                        one[0], many[d], 1e3 * self.precision.affine, 0.0, equal_nan=True
                    ):
                        return None
        return found

    def _mechanism(
        self, name: str, inputs: Array, loc: Array, entries: Array | None, side: int
    ) -> _Mechanism:
        site, parents = self.sites[name], self._parents(name)
        among = f"its parents {', '.join(parents)}" if parents else "anything but its units"
        if not _is_affine(loc, inputs, self.precision.affine):
            what = "value" if entries is None else "mean"
            raise NotAffineError(f"{site.line}: the {what} of {name!r} is not affine in {among}")
        scale = None
        if entries is not None:
            first = entries[:, :1]
            allowed = self.precision.affine * np.abs(first).max(-1, keepdims=True)
            if not (np.abs(entries - first) <= allowed).all():
                raise NotAffineError(f"{site.line}: the scale of {name!r} depends on {among}")
            scale = _scale_matrix(first[:, 0], loc.shape[-1], side)
        slopes = loc[:, 1 : inputs.shape[1] + 1] - loc[:, :1]
        return _Mechanism(
            loc[:, 0],
            {p: slopes[:, self.columns[p]].swapaxes(1, 2) for p in parents},
            scale,
        )

    # substitution

    def _substitute(self) -> dict[Node, tuple[Array, Array]]:
        noise = self._noise_columns()
        self.width = max((at.stop for at in noise.values()), default=0)
        values: dict[Node, tuple[Array, Array]] = {}

        def compute(node: Node, path: tuple[Node, ...] = ()) -> None:
            if node in path:
                raise NotAffineError(f"worlds take {node[0]!r} from one another in a circle")
            if node in values:
                return
            change = self.change(*node)
            if change is not None and change.source is not None:
                source = self._node(node[0], change.source)
                compute(source, (*path, node))
                values[node] = values[source]
            else:
                values[node] = self._value(node, change, values, noise)

        for name in self.sites:
            for world in ("", *self.problem.worlds):
                if (name, world) in self.nodes:
                    compute((name, world))
        return values

    def _noise_columns(self) -> dict[Node, slice]:
        """Give each noise its columns; that of shared parameters comes first."""
        noisy = [(name, "") for name in self.mechanisms if self._laws[name].scale is not None]
        noisy.sort(key=lambda node: self.sites[node[0]].is_unit)
        own = [n for n, c in self._changes.items() if c.scale is not None and n in self.nodes]
        columns, start = {}, 0
        self.shared = 0
        for node in (*noisy, *own):
            columns[node] = slice(start, start + self.layout.size(node[0]))
            start = columns[node].stop
            if not self.sites[node[0]].is_unit:
                self.shared = start
        return columns

    def _value(
        self,
        node: Node,
        change: _Change | None,
        values: Mapping[Node, tuple[Array, Array]],
        noise: Mapping[Node, slice],
    ) -> tuple[Array, Array]:
        name, world = node
        if self._is_given(name):
            draws = _numpy(self.problem.scm.parameters[name])
            return draws.reshape(len(draws), 1, -1), self._no_noise(name)
        if change is None and not world and name in self.cut:
            return self.seen(self.factual_evidence[name])[None], self._no_noise(name)
        if change is None or _NATURAL in change.slopes:
            law = self._laws[name]
            const, rows = law.const[:, None], self._no_noise(name)
            for parent, slope in law.slopes.items():
                const, rows = _plus(const, rows, slope, values[self._node(parent, world)])
            if law.scale is not None:
                rows = _with_noise(rows, law.scale, noise[name, ""])
            if change is None:
                return const, rows
            natural = const, rows
        const, rows = change.const[None], self._no_noise(name)
        for asked, slope in change.slopes.items():
            value = natural if asked == _NATURAL else values[self._node(asked, world)]
            const, rows = _plus(const, rows, slope[None], value)
        if change.scale is not None:
            rows = _with_noise(rows, change.scale[None], noise[node])
        return const, rows

    def _no_noise(self, name: str) -> Array:
        return np.zeros((1, self.layout.size(name), self.width))

    def seen(self, key: str) -> Array:
        """Return a key's evidence, shape ``(units, d)``."""
        value, size = self.problem.evidence[key], self.layout.size(self.problem.split(key)[0])
        units = self.problem.num_units
        if value.numel() != units * size or len(value) != units:
            raise DataError(
                f"the evidence on {key!r} has shape {tuple(value.shape)}; expected {units} units "
                f"of {size} numbers each; give one row per unit"
            )
        rows = _numpy(value).reshape(units, size)
        if not np.isfinite(rows).all():
            raise DataError(
                f"the evidence on {key!r} is not finite for unit "
                f"{int(np.argmin(np.isfinite(rows).all(1)))}; expected numbers; drop or correct it"
            )
        return rows


def _plus(
    const: Array, rows: Array, slope: Array, value: tuple[Array, Array]
) -> tuple[Array, Array]:
    return const + value[0] @ slope.swapaxes(1, 2), rows + slope @ value[1]


def _with_noise(rows: Array, scale: Array, at: slice) -> Array:
    draws = max(len(rows), len(scale))
    rows = np.broadcast_to(rows, (draws, *rows.shape[1:])).copy()
    rows[..., at] += scale
    return rows


def _stacked(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Join single runs along the draw axis."""
    return {
        name: (
            np.concatenate([run[name][0] for run in runs]),
            None if scale is None else np.concatenate([run[name][1] for run in runs]),
            side,
        )
        for name, (_, scale, side) in runs[0].items()
    }
