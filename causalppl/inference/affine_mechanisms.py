"""Mechanisms that are affine in their parents with constant scales, read off runs of a program."""

import contextlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample

from causalppl.inference.affine import (
    DOUBLE,
    FAMILIES,
    Array,
    NotAffineError,
    Precision,
    is_affine,
    normal_rows,
    scale_matrix,
    to_numpy,
    trial_values,
)
from causalppl.inference.engine import Problem
from causalppl.inference.quiet_run import quiet
from causalppl.inference.value_layout import ValueLayout
from causalppl.programs.structure import Site, is_delta, is_discrete
from causalppl.programs.targets import prototype
from causalppl.programs.wrappers import masks_of, unwrap


@dataclass(frozen=True)
class Mechanism:
    """``value = const + sum of slopes[parent] @ parent + scale @ noise``.

    Attributes:
        const: Shape ``(draws or 1, d)``.
        slopes: Parent to ``(draws or 1, d, d of parent)``.
        scale: Shape ``(draws or 1, d, d)``; None without noise.
    """

    const: Array
    slopes: Mapping[str, Array]
    scale: Array | None


class MechanismReader:
    """Reads mechanisms, for each draw of the parameters.

    Args:
        problem: What is asked.
        layout: How values are arranged.
        parents: Each site whose mechanism is needed, and its parents without draws, both in
            program order.
        evidence: Factual sites with evidence.
        device: Where the program's tensors are.

    Attributes:
        columns: Parents, each with its columns in the trial values.
        precision: What counts as equal, in the dtype in which the program ran.
        device: Where the tensors were found to be.
    """

    def __init__(
        self,
        problem: Problem,
        layout: ValueLayout,
        parents: Mapping[str, tuple[str, ...]],
        evidence: Collection[str],
        device: torch.device,
    ) -> None:
        self._problem, self.layout = problem, layout
        self.mechanisms, self.evidence = parents, evidence
        self.device, self.precision = device, DOUBLE
        sites = layout.structure.sites
        used = frozenset[str]().union(*parents.values())
        self.columns: dict[str, slice] = {}
        self._width = 0
        for name in (name for name in sites if name in used):
            self.columns[name] = slice(self._width, self._width + layout.size(name))
            self._width += layout.size(name)

    def read(self) -> dict[str, Mechanism]:
        """Read all mechanisms: in float64, or in the program's own dtype if that fails.

        Raises:
            NotAffineError: One is not affine, or the program does not run on trial values.
        """
        if not self.mechanisms:
            return {}
        native = torch.get_default_dtype()
        tried = [DOUBLE]
        if native != torch.float64:
            tried.append(Precision(native, 1e-4, 1e-5, (1.0, 30.0)))
        for precision in tried:
            self.precision = precision
            try:
                return self._read_once()
            except NotAffineError:
                raise
            except Exception as error:  # whatever a program says of a dtype or of wild values
                failure = error
        raise NotAffineError(
            f"the program does not run on trial values ({type(failure).__name__}: {failure})"
        )

    def _read_once(self) -> dict[str, Mechanism]:
        inputs = trial_values(self._width, self.precision.scales)
        draws = {
            name: value.to(self.precision.dtype) if value.is_floating_point() else value
            for name, value in self._problem.scm.parameters.items()
        }
        count = self._problem.num_parameter_draws
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
        with quiet(self._problem.scm, self.precision.dtype), reading:
            self._problem.scm.program(len(inputs))
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
    ) -> Mechanism:
        site, parents = self.layout.structure.sites[name], self.mechanisms[name]
        among = f"its parents {', '.join(parents)}" if parents else "anything but its units"
        if not is_affine(loc, inputs, self.precision.affine):
            what = "value" if entries is None else "mean"
            raise NotAffineError(f"{site.line}: the {what} of {name!r} is not affine in {among}")
        scale = None
        if entries is not None:
            first = entries[:, :1]
            allowed = self.precision.affine * np.abs(first).max(-1, keepdims=True)
            if not (np.abs(entries - first) <= allowed).all():
                raise NotAffineError(f"{site.line}: the scale of {name!r} depends on {among}")
            scale = scale_matrix(first[:, 0], loc.shape[-1], side)
        slopes = loc[:, 1 : inputs.shape[1] + 1] - loc[:, :1]
        return Mechanism(
            loc[:, 0],
            {p: slopes[:, self.columns[p]].swapaxes(1, 2) for p in parents},
            scale,
        )


class _Reading(Messenger):
    """One run on trial values: sets the sites in ``columns`` and records ``mechanisms``."""

    def __init__(
        self, reader: MechanismReader, inputs: Array, given: Mapping[str, torch.Tensor]
    ) -> None:
        super().__init__()
        self._reader, self._given = reader, given
        self._rows = len(inputs)
        self._inputs = torch.as_tensor(inputs)
        # site -> mean rows, scale rows (None without noise), side of a scale block
        self.found: dict[str, tuple[Array, Array | None, int]] = {}

    def _pyro_sample(self, msg: Any) -> None:
        name, site = msg["name"], self._reader.layout.structure.sites.get(msg["name"])
        if site is None or site_is_subsample(msg):
            return
        if name in self._given:
            msg.update(value=self._given[name], is_observed=True)
            return
        is_fixed = is_delta(msg["fn"])
        if msg["is_observed"] and not is_fixed and name not in self._reader.evidence:
            raise NotAffineError(
                f"{site.line}: the program itself observes {name!r}; pass the value as evidence"
            )
        natural = self._natural(msg, is_fixed)
        if name in self._reader.mechanisms:
            self._record(site, msg, natural)
        if name in self._reader.columns:
            columns = self._inputs[:, self._reader.columns[name]]
            columns = columns.to(natural.device, self._reader.precision.dtype)
            natural = self._reader.layout.to_program(columns, name)
        msg.update(value=natural, is_observed=True)

    def _natural(self, msg: Any, is_fixed: bool) -> torch.Tensor:
        """The value itself where it is deterministic, else the law's location or any value."""
        if is_fixed:
            value: torch.Tensor = msg["fn"].sample() if msg["value"] is None else msg["value"]
            return value
        base = unwrap(msg["fn"]).base
        return base.loc if type(base).__name__ in FAMILIES else _any_value(msg["fn"])

    def _record(self, site: Site, msg: Any, natural: torch.Tensor) -> None:
        layout, fn = self._reader.layout, msg["fn"]
        self._reader.device = natural.device
        if is_delta(fn):
            value = layout.to_rows(natural, site.name, self._rows)
            self.found[site.name] = (to_numpy(value), None, 1)
            return
        if msg["mask"] is not None or masks_of(fn) or _is_scaled(msg["scale"]):
            raise NotAffineError(
                f"{site.line}: the density of {site.name!r} is masked or scaled, so the program is "
                "not a plain Gaussian"
            )
        loc, scale, side = normal_rows(layout, fn, site.name, self._rows)
        self.found[site.name] = (to_numpy(loc), to_numpy(scale), side)


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
