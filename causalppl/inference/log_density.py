"""The log density of a program with data, as a function of unconstrained latent values."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.util import scale_and_mask
from pyro.infer import TraceEnum_ELBO, config_enumerate
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch.distributions import biject_to
from torch.distributions import constraints as torch_constraints

from causalppl.exceptions import CausalPPLError, DataError, FitError, ProgramError
from causalppl.inference.training_data import TrainingData
from causalppl.programs.scm import SCM
from causalppl.programs.structure import UNITS, Site, is_delta
from causalppl.programs.wrappers import unwrap

_PRIOR_DRAWS = 15
_BROADCAST_NUMBERS = 2_000_000
"""Rows times draws that are evaluated at once."""


@dataclass(frozen=True)
class _Latent:
    """Where a latent site's unconstrained values stand in the vectors, and how they are shaped."""

    site: Site
    place: slice
    transform: Any
    is_fixed: bool  # the transform depends on no other site


class LogDensity:
    """Log density of parameters, latents of the units, and data.

    Calls take the unconstrained parameters ``shared``, shape ``(D,)``, and the unconstrained
    latents of the units ``local``, shape ``(rows, d)``; both include the Jacobian. Discrete
    latents are summed out. Where a value is missing in a continuous column, the site has a local
    latent in every row, which is a standard normal where the value is known.

    Args:
        scm: The model.
        data: Its data.
        batch_size: Rows evaluated at once; None for all.

    Attributes:
        num_shared: D.
        num_local: d.
        num_rows: Number of rows.
        start: Where to start: medians of the prior, ``(shared, local)``.
        enumerated: Discrete latent sites.
    """

    def __init__(self, scm: SCM, data: TrainingData, batch_size: int | None = None) -> None:
        self.scm, self.data, self.num_rows = scm, data, data.num_rows
        self.structure = scm.structure
        self.batch_size = min(batch_size or data.num_rows, data.num_rows)
        prototype = _Prototype(self)
        rows = None if self.batch_size == self.num_rows else torch.arange(self.batch_size)
        with torch.no_grad():
            self._run(prototype, rows, "run on the data")
        self.latents = prototype.latents
        self.enumerated = frozenset(prototype.enumerated)
        self.num_shared, self.num_local = prototype.sizes
        self.start = prototype.start()
        if self.num_local and self.batch_size < self.num_rows:
            names = [name for name, latent in self.latents.items() if latent.site.is_unit]
            raise FitError(
                f"batch_size={self.batch_size} with the latent unit sites {', '.join(names)}; "
                "every unit has a guide of its own, so fit all rows at once (batch_size=None)"
            )

    def __call__(
        self, shared: torch.Tensor, local: torch.Tensor, rows: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Evaluate, shape ``()``; with ``rows``, an unbiased estimate from these rows."""
        handler = _Evaluation(self, shared, local, rows)
        if not self.enumerated:
            self._run(handler, rows, "evaluated")
            return handler.total + handler.log_jacobian + self._of_known(local)
        nesting = self.structure.plate_nesting
        elbo = TraceEnum_ELBO(max_plate_nesting=nesting)
        model = config_enumerate(lambda: self._run(handler, rows, "evaluated"), "parallel")
        # NUTS evaluates tensors without gradients while gradients are on
        if torch.is_grad_enabled() and (shared.requires_grad or local.requires_grad):
            loss = elbo.differentiable_loss(model, lambda: None)
        else:
            loss = elbo.loss(model, lambda: None)
        return handler.log_jacobian - loss + self._of_known(local)

    def value(self, shared: torch.Tensor, local: torch.Tensor) -> float:
        """Evaluate on all rows, part after part."""
        with torch.no_grad():
            return sum(
                weight * float(self(shared, local, rows)) for rows, weight in self.parts(None)
            )

    def parts(self, limit: int | None) -> Iterator[tuple[torch.Tensor | None, float]]:
        """Split the rows (at most ``limit``, evenly spaced) into parts of ``batch_size``.

        Yields:
            Rows and their weight; the weighted sum of the densities is that of all rows.
        """
        count = min(limit or self.num_rows, self.num_rows)
        if count == self.num_rows == self.batch_size:
            yield None, 1.0
            return
        chosen = torch.linspace(0, self.num_rows - 1, count, dtype=torch.float64).round().long()
        for rows in chosen.split(self.batch_size):
            yield rows, len(rows) / count

    def many(self, shared: torch.Tensor, local: torch.Tensor) -> torch.Tensor:
        """Evaluate draws on all rows; shapes ``(S, D)`` and ``(S, rows, d)`` to ``(S,)``."""
        if not self.num_local and not self.enumerated and len(shared) > 2:
            fast = self._broadcast(shared, local)
            if fast is not None:
                return fast
        values = [self.value(s, u) for s, u in zip(shared, local, strict=True)]
        return torch.tensor(values, dtype=torch.float64)

    def constrained(self, shared: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the parameters' values for draws of shape ``(S, D)``: each ``(S, *shape)``."""
        latents = {name: x for name, x in self.latents.items() if not x.site.is_unit}
        if all(latent.is_fixed for latent in latents.values()):
            return {
                name: latent.transform(shared[:, latent.place].reshape(-1, *latent.transform.shape))
                for name, latent in latents.items()
            }
        rows, local = torch.arange(1), shared.new_zeros(1, self.num_local)
        found: dict[str, list[torch.Tensor]] = {name: [] for name in latents}
        with torch.no_grad():
            for draw in shared:
                handler = _Evaluation(self, draw, local, rows)
                self._run(handler, rows, "run")
                for name in latents:
                    found[name].append(handler.values[name])
        return {name: torch.stack(values) for name, values in found.items()}

    def observed(self, rows: torch.Tensor | None) -> Messenger:
        """Return a handler that gives the program its data, for guides that users wrote."""
        return _DataHandler(self, rows)

    def _broadcast(self, shared: torch.Tensor, local: torch.Tensor) -> torch.Tensor | None:
        """Evaluate many draws in one run, if the program allows; checked on two of them."""
        step = max(2, _BROADCAST_NUMBERS // self.batch_size)
        total = torch.zeros(len(shared), dtype=torch.float64)
        try:
            with torch.no_grad():
                for rows, weight in self.parts(None):
                    pieces = []
                    for draws in shared.split(step):
                        handler = _Evaluation(self, draws, local[:0], rows, num_draws=len(draws))
                        self._run(handler, rows, "evaluated")
                        pieces.append(handler.total + handler.log_jacobian)
                    total += weight * torch.cat(pieces).double().cpu()
        except (CausalPPLError, RuntimeError, ValueError, IndexError):
            return None
        plain = torch.tensor([self.value(shared[i], local[i]) for i in range(2)])
        close = torch.isclose(total[:2], plain.double(), rtol=1e-5, atol=1e-2)
        return total if bool(close.all()) else None

    def _of_known(self, local: torch.Tensor) -> Any:
        """Density of the local latents that stand for values that are not missing."""
        total: Any = 0.0
        for name, gap in self.data.gaps.items():
            if name in self.latents:
                z = local[~gap][:, self.latents[name].place]
                total = total - 0.5 * (z**2).sum() - 0.5 * math.log(2 * math.pi) * z.numel()
        return total

    def _run(self, handler: Messenger, rows: torch.Tensor | None, doing: str) -> None:
        try:
            with pyro.validation_enabled(False), handler:
                self.scm.program(self.num_rows if rows is None else len(rows))
        except CausalPPLError:
            raise
        except Exception as error:
            count = self.num_rows if rows is None else len(rows)
            hint = (
                "; with batch_size, a program must not hold constants with one entry per row"
                if rows is not None
                else ""
            )
            raise ProgramError(
                f"the program failed when {doing} for {count} units: "
                f"{type(error).__name__}: {error}{hint}"
            ) from error


class _DataHandler(Messenger):
    """Give each site with data its rows, and weight the units for the rows left out."""

    def __init__(self, density: LogDensity, rows: torch.Tensor | None) -> None:
        super().__init__()
        self.density, self.rows = density, rows
        self.data = density.data
        self.weight = 1.0 if rows is None else density.num_rows / len(rows)

    def _pyro_sample(self, msg: Any) -> None:
        if site_is_subsample(msg):
            return
        name = msg["name"]
        site = self.density.structure.sites.get(name)
        if site is None:
            return
        _check_plate(msg)
        if self.weight != 1.0 and site.is_unit:
            msg["scale"] = msg["scale"] * self.weight
        if name in self.data.values and name not in self.data.gaps:
            msg.update(value=self.value_of(site), is_observed=True)
        elif not msg["is_observed"] and not is_delta(msg["fn"]):
            self.set_latent(site, msg)

    def value_of(self, site: Site) -> torch.Tensor:
        """Return a site's rows of data, the axis of the units where the program has it."""
        value = self.data.values[site.name]
        if self.rows is not None:
            value = value[self.rows]
        return self.arranged(site, value, site.event_dim)

    def arranged(self, site: Site, value: torch.Tensor, event_dim: int) -> torch.Tensor:
        """Move the axis of the units, which is the first, to the plate's dimension."""
        units = self.density.structure.units_dim
        assert units is not None
        batch_dims = value.dim() - event_dim
        if batch_dims < -units:
            return value.reshape(
                value.shape[:1] + (1,) * (-units - batch_dims) + tuple(value.shape[1:])
            )
        return value.movedim(0, units - event_dim)

    def mask_of(self, site: Site, event_dim: int) -> torch.Tensor:
        """Return the mask of a site's missing rows, ready to broadcast."""
        gap = self.data.gaps[site.name]
        gap = gap if self.rows is None else gap[self.rows]
        units = self.density.structure.units_dim or -1
        return gap.reshape(-1, *[1] * (-units - 1 + event_dim))

    def set_latent(self, site: Site, msg: Any) -> None:
        """Decide about a site without data; a guide gives the value of all but enumerated ones."""
        if site.name in self.density.enumerated:
            msg["infer"] = {**msg["infer"], "enumerate": "parallel"}


class _Prototype(_DataHandler):
    """Find the latents, their sizes and where they may start; check the data's range."""

    def __init__(self, density: LogDensity) -> None:
        all_rows = density.batch_size == density.num_rows
        super().__init__(density, None if all_rows else torch.arange(density.batch_size))
        self.latents: dict[str, _Latent] = {}
        self.enumerated: list[str] = []
        self._starts: dict[bool, list[torch.Tensor]] = {False: [], True: []}
        self._size = {False: 0, True: 0}

    @property
    def sizes(self) -> tuple[int, int]:
        return self._size[False], self._size[True]

    def start(self) -> tuple[torch.Tensor, torch.Tensor]:
        like: dict[str, Any] = {"dtype": self.data.dtype, "device": self.data.device}
        shared = torch.cat([torch.zeros(0, **like), *self._starts[False]])
        local = torch.cat([torch.zeros(self.density.num_rows, 0, **like), *self._starts[True]], 1)
        return shared, local

    def set_latent(self, site: Site, msg: Any) -> None:
        fn, name = msg["fn"], site.name
        if site.is_discrete:
            self._enumerate(site, fn)
            msg["value"] = fn.sample()
        else:
            transform = _transform(site, fn)
            draws = torch.stack([fn.sample() for _ in range(_PRIOR_DRAWS)])
            value = draws.median(0).values
            z = transform.inv(value)
            if not bool(torch.isfinite(z).all()):
                z = transform.inv(draws[0])
            z = self._flat(site, fn, z)
            width = z.shape[-1]
            begin = self._size[site.is_unit]
            is_fixed = not site.parents or not _is_dependent(fn)
            place = slice(begin, begin + width)
            self.latents[name] = _Latent(site, place, _Shaped(transform, fn), is_fixed)
            self._starts[site.is_unit].append(z)
            self._size[site.is_unit] += width
            msg["value"] = transform(transform.inv(value))
        if name in self.data.gaps:
            known = self.value_of(site)
            msg["value"] = torch.where(self.mask_of(site, site.event_dim), msg["value"], known)
        msg["is_observed"] = True

    def _flat(self, site: Site, fn: Any, z: torch.Tensor) -> torch.Tensor:
        if not site.is_unit:
            return z.reshape(-1)
        units = self.density.structure.units_dim
        assert units is not None
        event_dim = z.dim() - len(fn.batch_shape)
        z = z.movedim(units - event_dim, 0)
        if len(z) < self.density.num_rows:  # batches of latent units are refused in a moment
            z = z[:1].expand(self.density.num_rows, *z.shape[1:])
        return z.reshape(len(z), -1)

    def _enumerate(self, site: Site, fn: Any) -> None:
        if not site.is_unit:
            raise ProgramError(
                f"the parameter {site.name!r} ({site.family}) is discrete; a fit gives draws of "
                "continuous parameters only, so give its value with pyro.condition, or make it a "
                "probability"
            )
        if not getattr(fn, "has_enumerate_support", False):
            raise ProgramError(
                f"the latent unit site {site.name!r} ({site.family}) is discrete with endlessly "
                "many values, which cannot be summed out; give it data or another law"
            )
        self.enumerated.append(site.name)

    def _pyro_post_sample(self, msg: Any) -> None:
        name = msg["name"]
        if name not in self.data.values or site_is_subsample(msg):
            return
        site, fn = self.density.structure.sites[name], msg["fn"]
        if not site.is_discrete and _is_dependent(fn):
            return
        is_inside = fn.support.check(msg["value"])
        if bool(is_inside.all()):
            return
        outside = ~is_inside.reshape(
            is_inside.shape + (1,) * (msg["value"].dim() - is_inside.dim())
        )
        bad = msg["value"].masked_select(outside.expand(msg["value"].shape))
        raise DataError(
            f"column {name!r} holds {float(bad[0]):g}, but the site {name!r} ({site.family}) has "
            f"the range {fn.support}; recode the column or choose another law"
        )


class _Evaluation(_DataHandler):
    """Give latents their values and add up the log densities."""

    def __init__(
        self,
        density: LogDensity,
        shared: torch.Tensor,
        local: torch.Tensor,
        rows: torch.Tensor | None,
        *,
        num_draws: int = 0,
    ) -> None:
        super().__init__(density, rows)
        self._shared, self._local, self._num_draws = shared, local, num_draws
        self.total: Any = 0.0
        self.log_jacobian: Any = 0.0
        self.values: dict[str, torch.Tensor] = {}

    def set_latent(self, site: Site, msg: Any) -> None:
        if site.name in self.density.enumerated:
            super().set_latent(site, msg)
            return
        fn, latent = msg["fn"], self.density.latents[site.name]
        transform = latent.transform if latent.is_fixed else _Shaped(_transform(site, fn), fn)
        if site.is_unit:
            z = self._local[:, latent.place]
            shape = list(transform.shape)
            units = self.density.structure.units_dim
            assert units is not None
            event_dim = len(shape) - len(fn.batch_shape)
            place = len(shape) + units - event_dim
            size = shape.pop(place)
            z = z.reshape(size, *shape).movedim(0, place)
        else:
            z = self._shared[..., latent.place]
            z = self._with_draws(z, transform.shape, len(fn.batch_shape))
        value = transform(z)
        jacobian = transform.transform.log_abs_det_jacobian(z, value)
        if site.name in self.data.gaps:
            gap = self.mask_of(site, 0)
            known = self.value_of(site)
            value = torch.where(self.mask_of(site, site.event_dim), value, known)
            jacobian = torch.where(gap, jacobian, 0.0)
        weight = self.weight if site.is_unit else 1.0
        self.log_jacobian = self.log_jacobian + weight * self._sum(jacobian)
        self.values[site.name] = value
        msg.update(value=value, is_observed=True)

    def _with_draws(self, z: torch.Tensor, shape: tuple[int, ...], batch_dims: int) -> torch.Tensor:
        """Shape a parameter; the axis of draws goes left of all plates."""
        if not self._num_draws:
            return z.reshape(shape)
        pads = self.density.structure.plate_nesting - batch_dims
        return z.reshape(self._num_draws, *[1] * pads, *shape)

    def _pyro_post_sample(self, msg: Any) -> None:
        if site_is_subsample(msg):
            return
        name = msg["name"]
        if name in self.density.enumerated:
            if name in self.data.gaps:
                self._hold(self.density.structure.sites[name], msg)
            return
        if self.density.enumerated or not msg["is_observed"] or _is_masked_out(msg):
            return
        fn = msg["fn"]
        if is_delta(fn) and name not in self.data.values:
            return
        log_prob = scale_and_mask(fn.log_prob(msg["value"]), msg["scale"], msg["mask"])
        self.total = self.total + self._sum(log_prob)

    def _hold(self, site: Site, msg: Any) -> None:
        """Rule out, in rows whose value is known, all other values of an enumerated site."""
        known = self.value_of(site)
        is_free = self.mask_of(site, 0) | (msg["value"] == known)
        log_factor = torch.where(is_free, 0.0, -torch.inf).to(self._shared.dtype)
        pyro.factor(f"{site.name}@known", log_factor)

    def _sum(self, log_prob: torch.Tensor) -> torch.Tensor:
        if not self._num_draws:
            return log_prob.sum()
        nesting = self.density.structure.plate_nesting
        if log_prob.dim() > nesting:
            return log_prob.reshape(len(log_prob), -1).sum(1).expand(self._num_draws)
        return log_prob.sum().expand(self._num_draws)


class _Shaped:
    """A transform with the shape of the unconstrained values that it takes."""

    def __init__(self, transform: Any, fn: Any) -> None:
        self.transform = transform
        self.shape = tuple(transform.inverse_shape(fn.shape()))

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = self.transform(z)
        return value


def _check_plate(msg: Any) -> None:
    for frame in msg["cond_indep_stack"]:
        if frame.name == UNITS and frame.full_size is not None and frame.size < frame.full_size:
            raise ProgramError(
                f"the program takes {frame.size} of {frame.full_size} units by itself "
                '(pyro.plate("units", n, subsample_size=...)); leave subsample_size out and fit '
                f"with SVIFit(batch_size={frame.size}), which also knows when it has converged"
            )


def _transform(site: Site, fn: Any) -> Any:
    try:
        return biject_to(fn.support)
    except NotImplementedError:
        raise ProgramError(
            f"the site {site.name!r} ({site.family}) has the support {fn.support}, which has no "
            "map to the real numbers; write it as a function of a site that has one"
        ) from None


def _is_dependent(fn: Any) -> bool:
    """Whether a law's support may depend on its arguments."""
    support = getattr(type(unwrap(fn).base), "support", None)
    return not isinstance(support, torch_constraints.Constraint) or bool(
        torch_constraints.is_dependent(support)
    )


def _is_masked_out(msg: Any) -> bool:
    return msg["mask"] is False or (
        isinstance(msg["fn"], dist.MaskedDistribution) and msg["fn"]._mask is False
    )


@contextmanager
def defaults_of(data: TrainingData) -> Iterator[None]:
    """Let plain numbers of a program become tensors of the data's dtype and device."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(data.dtype)
    try:
        if data.device.type == "cpu":
            yield
        else:
            with torch.device(data.device):
                yield
    finally:
        torch.set_default_dtype(before)
