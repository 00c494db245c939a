"""Double-check a structure: move each site with the noise held, and see what else moves.

The provenance of tensors could in principle be lost in ways that the guard does not know. So the
program is run once more with one unit for each site. All units share their noise; unit ``j`` has
its ``j``-th site moved. A site that moves in it without being a descendant is a lost edge. Two
further runs change the noise of the first unit only: another unit that moves depends on it.
"""

from collections.abc import Mapping
from typing import Any

import pyro
import torch
from pyro.poutine.messenger import Messenger

from causalppl.exceptions import CausalPPLError, ProgramError
from causalppl.programs.structural import Coupling, coupling_for
from causalppl.programs.structure import (
    TRACE_UNITS,
    UNITS,
    Structure,
    is_delta,
    unchanged_params,
)
from causalppl.seeding import forked_rng
from causalppl.typing import Program

_TOLERANCE = 1e-4  # relative; far above rounding, far below a real effect of a moved parent
_FEW_UNITS = 4
_REDRAWS = 2


def check_by_perturbation(
    program: Program, structure: Structure, couplings: Mapping[str, Coupling]
) -> None:
    """Raise if some site moves that the structure says cannot.

    Args:
        program: The program, as a function of the number of units.
        structure: What was read from it.
        couplings: Couplings the user chose.

    Raises:
        ProgramError: An edge is missing from the structure, or one unit depends on another.

    Programs with a family that has no coupling, and sites with nested plates, are left out: the
    guard alone vouches for them.
    """
    sites = [
        name
        for name in structure.unit_sites
        if structure.sites[name].plates == (UNITS,) and not name.endswith("@natural")
    ]
    try:
        _check_edges(program, structure, couplings, sites)
        _check_interference(program, structure, couplings, sites)
        _check_hidden_noise(program, structure, couplings, sites)
    except _NotApplicableError:
        return


def _check_edges(
    program: Program,
    structure: Structure,
    couplings: Mapping[str, Coupling],
    sites: list[str],
) -> None:
    units = len(sites) + 2  # unit 0 is left alone; never a single unit
    run = _NoiseRun(structure, couplings, 0, units, moved={s: j for j, s in enumerate(sites, 1)})
    unlike_first = {name: _unlike_first(value) for name, value in run(program).items()}
    for mover, unit in run.moved.items():
        reach = structure.descendants(mover)
        for name in sites:
            if name not in reach and unlike_first[name][unit]:
                raise ProgramError(
                    f"{structure.sites[name].line}: the site {name!r} moves when {mover!r} is "
                    "moved, but no tensor operation leads from one to the other, so the edge "
                    "would be missing from the graph; compute with the tensors that pyro.sample "
                    "returns, and keep no state between runs"
                )


def _check_interference(
    program: Program, structure: Structure, couplings: Mapping[str, Coupling], sites: list[str]
) -> None:
    before = _NoiseRun(structure, couplings, 2, _FEW_UNITS, shared=False)(program)
    for redraw in range(_REDRAWS):
        run = _NoiseRun(structure, couplings, 2, _FEW_UNITS, shared=False, redraw_first=redraw)
        after = run(program)
        for name in sites:
            if name in after and bool(_unlike(before[name][1:], after[name][1:]).any()):
                raise ProgramError(
                    f"{structure.sites[name].line}: the site {name!r} of one unit depends on the "
                    "values of other units (interference; for example x.mean(), x.sum() or x[0] "
                    "over the plate 'units'); expected one unit's statements to use its own values "
                    "only; index event dimensions from the right, as in x[..., 0]"
                )


def _check_hidden_noise(
    program: Program, structure: Structure, couplings: Mapping[str, Coupling], sites: list[str]
) -> None:
    first = _NoiseRun(structure, couplings, 5, _FEW_UNITS, shared=False)
    before = first(program)
    again = _NoiseRun(structure, couplings, 6, _FEW_UNITS, shared=False, held=first.drawn)
    after = again(program)
    for name in sites:
        if name in after and bool(_unlike(before[name], after[name]).any()):
            raise ProgramError(
                f"{structure.sites[name].line}: the site {name!r} takes another value when the "
                "program runs again on the same noise of all sites, so it draws random numbers "
                "outside pyro.sample (torch.randn, dropout, a distribution's own sample); make "
                "each of them a site, and put modules in eval mode"
            )


class _NotApplicableError(Exception):
    """The program cannot be run on held noise."""


class _NoiseRun(Messenger):
    """Run a program on noise that is held: shared by the units, or the first unit's redrawn.

    Every run draws the same amounts from the generator in the same order, so that two runs with
    one seed differ only in what they were asked to change.
    """

    def __init__(
        self,
        structure: Structure,
        couplings: Mapping[str, Coupling],
        seed: int,
        units: int,
        *,
        shared: bool = True,
        redraw_first: int | None = None,
        moved: Mapping[str, int] | None = None,
        held: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        super().__init__()
        self._held = held
        self.drawn: dict[str, torch.Tensor] = {}
        self._structure, self._couplings = structure, couplings
        self._seed, self._units = seed, units
        self._shared, self._redraw_first = shared, redraw_first
        self.moved = dict(moved or {})
        self.values: dict[str, torch.Tensor] = {}

    def __call__(self, program: Program) -> dict[str, torch.Tensor]:  # type: ignore[override]
        try:
            with forked_rng(self._seed), unchanged_params(), torch.no_grad():
                with pyro.validation_enabled(False), self:
                    program(self._units)
        except CausalPPLError as error:
            raise _NotApplicableError from error
        except Exception as error:
            raise ProgramError(
                f"the program runs with {TRACE_UNITS} units but fails with {self._units}: "
                f"{type(error).__name__}: {error}; it must run for any number of units"
            ) from error
        return self.values

    def _pyro_sample(self, msg: Any) -> None:
        name = msg["name"]
        site = self._structure.sites.get(name)
        if site is None:
            return
        fn, is_point = msg["fn"], is_delta(msg["fn"])
        if not is_point and not msg["is_observed"]:
            msg["value"] = self._draw(site.is_unit, name, fn)
        if name in self.moved and (is_point or not msg["is_observed"]):
            value = (fn.sample() if msg["value"] is None else msg["value"]).clone()
            if value.shape[: len(value.shape) - site.event_dim] == (self._units,):
                unit = self.moved[name]
                value[unit] = self._other_value(fn, name, value[unit], unit)
                msg["value"] = value

    def _pyro_post_sample(self, msg: Any) -> None:
        value = msg["value"]
        site = self._structure.sites.get(msg["name"])
        if site is not None and site.plates == (UNITS,):
            if value.shape[:1] != (self._units,):
                value = value.expand(self._units, *value.shape)
            self.values[msg["name"]] = value

    def _draw(self, is_unit: bool, name: str, fn: Any) -> torch.Tensor:
        if not is_unit:
            value: torch.Tensor = fn.sample() if self._held is None else self._held[name]
            self.drawn[name] = value
            return value
        coupling = coupling_for(fn, self._couplings.get(name))
        noise = coupling.sample_noise(fn, fn.batch_shape)
        if self._held is not None:
            noise = self._held[name]
        self.drawn[name] = noise
        dim = (self._structure.units_dim or -1) - len(coupling.noise_event_shape(fn))
        if self._shared:
            noise = noise.narrow(dim, 0, 1).expand(noise.shape)
        else:
            spare = [coupling.sample_noise(fn, fn.batch_shape) for _ in range(_REDRAWS)]
            if self._redraw_first is not None:
                noise.narrow(dim, 0, 1).copy_(spare[self._redraw_first].narrow(dim, 0, 1))
        return coupling.push(noise, fn)

    def _other_value(self, fn: Any, name: str, value: torch.Tensor, unit: int) -> torch.Tensor:
        """Find another value in the site's support."""
        if is_delta(fn):
            return value + 1 if value.dtype != torch.bool else ~value
        coupling = coupling_for(fn, self._couplings.get(name))
        for _ in range(20):
            other = coupling.push(coupling.sample_noise(fn, fn.batch_shape), fn)[unit]
            if bool(_unlike(other, value).any()):
                return other
        return value


def _unlike_first(values: torch.Tensor) -> list[bool]:
    """Per unit: whether its value differs from the first unit's."""
    unlike = _unlike(values, values[:1])
    flags: list[bool] = unlike.reshape(len(values), -1).any(-1).tolist()
    return flags


def _unlike(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    if not a.is_floating_point():
        return a != b
    scale = torch.maximum(a.abs(), b.abs()).clamp_min(1.0)
    return (a - b).abs() > _TOLERANCE * scale
