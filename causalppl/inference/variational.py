"""Variational inference with a guide that is a full Gaussian for each unit.

Units are independent given the parameters, so the guide needs no covariance between them: its cost
is linear in their number. It starts from the Laplace approximation, found by Newton's method for
all units at once, and lives in coordinates in which that is a standard normal. For a linear
Gaussian program the start is the answer; elsewhere the ELBO moves it. Pareto-smoothed importance
weights then correct what a Gaussian cannot follow, and say where they cannot.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pyro
import torch
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO
from pyro.infer.autoguide import AutoGuide
from pyro.optim.clipped_adam import ClippedAdam
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from causalppl.exceptions import (
    ConvergenceWarning,
    DataError,
    FitError,
    ImpossibleEvidenceError,
    ProgramError,
)
from causalppl.inference.diagnostics import psis
from causalppl.inference.engine import Answer, Engine, Problem
from causalppl.inference.latents import Enumerated, Latents, find_refusal, progress_bar
from causalppl.programs.structure import unchanged_params, units_program
from causalppl.seeding import forked_rng

KHAT_LIMIT = 0.7
"""Above this k-hat importance weights, and the guide they judge, cannot be trusted."""

LEAST_DRAWS = 100
"""Fewer draws than this cannot be judged by their weights."""

_WINDOW = 50  # steps between two looks at the ELBO
_MAX_NEWTON = 40  # latents of one unit beyond which second derivatives cost too much
_MAX_WEIGHED = 20_000_000  # draws of units beyond which few draws are not weighed and resampled
_FLAT = 1e-3  # spread of the log ratios below which the start is the posterior
_WIDE = 0.1  # spread of the log ratios above which the Gaussian is mixed with wider laws
_MATCHINGS = 2  # times that a guide's moments are matched to the posterior's
_NEGLIGIBLE = 14.0  # nats below the heaviest draw
_FREEDOM = 4.0  # degrees of freedom of the wide laws
_MIXTURE = ((0.5, 1.0), (0.3, 1.0), (0.2, 3.0))  # weight and scale: normal, Student-t, Student-t
_STARTS = 8  # prior draws among which Newton's method takes the best


@dataclass(frozen=True)
class Variational(Engine):
    """Fit a guide to the latents by stochastic variational inference.

    Discrete latents are summed out of the ELBO and then drawn exactly given the continuous ones.
    The answer is corrected by Pareto-smoothed importance weights; where their k-hat is above 0.7
    in some units, a `ConvergenceWarning` says in how many. Where the Gaussian guide is too narrow
    for a unit, its draws are mixed with wider ones, and k-hat judges the mixture.

    Attributes:
        guide: A Pyro guide (a callable, without argument or of the number of units) or a subclass
            of `pyro.infer.autoguide.AutoGuide`; None takes a full Gaussian for each unit. A guide
            of yours is fitted once for each parameter draw.
        num_steps: Most steps of the optimiser; it stops when the ELBO does not rise any more.
        learning_rate: Of ClippedAdam; it decays to a tenth over ``num_steps``. The default guide's
            parameters are in units of the Laplace approximation's standard deviations.
        num_particles: Draws behind each step's gradient.
        tolerance: Rise of the ELBO, in nats for each unit and 50 steps, that counts as none;
            None takes 0.001.

    References:
        Kucukelbir et al. (2017), Automatic differentiation variational inference.
        Roeder, Wu and Duvenaud (2017), Sticking the landing (the gradient used here).
        Yao et al. (2018), Yes, but did it work? (k-hat as a judge of the guide).

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> from causalppl.programs.scm import SCM
        >>> def program():
        ...     u = pyro.sample("U", dist.Normal(0.0, 1.0))
        ...     return pyro.sample("X", dist.Normal(u, 1.0))
        >>> problem = Problem(SCM(program), 1, {}, {"X": torch.tensor([2.0])}, ("U",))
        >>> answer = Variational().solve(problem, seed=0)
        >>> round(float(answer.draws["U"].mean()))
        1
    """

    name: ClassVar[str] = "Variational"

    guide: Callable[..., Any] | None = None
    num_steps: int = 2000
    learning_rate: float = 0.01
    num_particles: int = 1
    tolerance: float | None = None

    def __post_init__(self) -> None:
        if self.num_steps < 1 or self.num_particles < 1 or self.learning_rate <= 0:
            raise DataError(
                f"num_steps={self.num_steps}, num_particles={self.num_particles}, learning_rate="
                f"{self.learning_rate}; expected positive numbers"
            )

    def refusal(self, problem: Problem) -> str | None:
        """See `Engine.refusal`."""
        return find_refusal(problem)

    def solve(self, problem: Problem, *, seed: int, progress: bool = False) -> Answer:
        """See `Engine.solve`.

        Raises:
            FitError: The ELBO is not finite.
            ImpossibleEvidenceError: No start has a positive density for some unit.
        """
        with forked_rng(seed):
            latents = Latents(problem)
            if not latents.sites:
                return latents.answer({}, problem.num_draws, is_exact=True)
            latents.check_differentiable()
            with latents.active():
                if self.guide is None:
                    return self._by_gaussian(latents, progress)
                return self._by_user_guide(latents, progress)

    # -- the default guide ------------------------------------------------------------------------

    def _by_gaussian(self, latents: Latents, progress: bool) -> Answer:
        num_draws, draws = latents.problem.num_draws, latents.num_parameter_draws
        elbo: list[float] = []
        guide = GaussianGuide(laplace(latents))
        is_exact = not latents.unit_size + latents.shared_size
        with torch.no_grad():
            gaps, *_ = _weighed(latents, guide, LEAST_DRAWS, None, _few(draws))
        if not bool((gaps.std(1) < _FLAT).all()):
            elbo = self._fit(latents, guide, progress)
        width = draws * LEAST_DRAWS * latents.problem.num_units
        count = num_draws if width > _MAX_WEIGHED else max(num_draws, LEAST_DRAWS)
        with torch.no_grad():
            probe, *_ = _weighed(latents, guide, 2 * LEAST_DRAWS, None, _few(draws))
            wide = _finite(probe).std(1).amax(0).nan_to_num(nan=math.inf) > _WIDE
            if latents.shared or count < LEAST_DRAWS:
                wide = torch.zeros_like(wide)
            if bool(wide.any()):
                guide = _matched(latents, guide, wide)
            ratios, unit, shared = _weighed(latents, guide, count, wide, torch.arange(draws))
            weights, diagnostics = judge(
                ratios, ratios if count >= LEAST_DRAWS else probe, bool(latents.shared)
            )
            values = dict(latents.constrain(latents.parameter_index(count), unit, shared))
            values, weights = settled(latents, values, weights, num_draws)
            values |= latents.discrete_given(latents.parameter_index(num_draws), values)
        return latents.answer(
            values,
            num_draws,
            weights,
            is_exact=is_exact,
            diagnostics={**diagnostics, "elbo": elbo},
        )

    def _fit(self, latents: Latents, guide: "GaussianGuide", progress: bool) -> list[float]:
        particles, draws = self.num_particles, latents.num_parameter_draws
        index = latents.parameter_index(particles)
        optimiser = ClippedAdam(
            guide.parameters, lr=self.learning_rate, lrd=0.1 ** (1 / self.num_steps)
        )
        trace: list[float] = []
        mean = [torch.zeros_like(p) for p in guide.parameters]
        watch = _Convergence(self._least_rise(latents))
        with progress_bar(self.num_steps, "fitting the guide", progress=progress) as bar:
            for step in range(self.num_steps):
                unit, shared, log_q = guide.sample(particles, sticking=True)
                log_p = latents.log_density(index, unit, shared)
                gap = (log_p[0] - log_q[0]).sum() + (log_p[1] - log_q[1]).sum()
                elbo = gap / particles
                current = float(elbo.detach())
                if not math.isfinite(current):
                    raise FitError(
                        f"the ELBO became {current} at step {step}; lower learning_rate, or "
                        "check the program's densities near the evidence"
                    )
                grads = torch.autograd.grad(-elbo, guide.parameters, allow_unused=True)
                for parameter, grad in zip(guide.parameters, grads, strict=True):
                    parameter.grad = grad
                optimiser.step()
                trace.append(current / draws)
                place = step % _WINDOW
                with torch.no_grad():
                    for kept, parameter in zip(mean, guide.parameters, strict=True):
                        kept.lerp_(parameter, 1 / (place + 1))
                bar.update()
                if place == _WINDOW - 1 and watch.has_converged(trace):
                    break
        if len(trace) >= _WINDOW:
            last = len(trace) % _WINDOW
            if last == 0:  # the mean over the last window is less noisy than the last step
                guide.set_parameters(mean)
        watch.warn_if_rising(trace)
        return trace

    def _least_rise(self, latents: Latents) -> float:
        tolerance = 1e-3 if self.tolerance is None else self.tolerance
        return tolerance * latents.problem.num_units

    # -- a guide of the user's -----------------------------------------------------------------

    def _by_user_guide(self, latents: Latents, progress: bool) -> Answer:
        num_draws = latents.problem.num_draws
        values: list[dict[str, Tensor]] = []
        ratios, elbo, is_joint = [], [], bool(latents.shared)
        for d in range(latents.num_parameter_draws):
            with unchanged_params():
                fitted, trace = self._fit_user_guide(latents, d, progress)
                drawn, log_q, is_tied = _draws_of(fitted, latents, num_draws)
            elbo.extend(trace)
            index = torch.full((num_draws,), d)
            with torch.no_grad():
                log_p = latents.log_joint(index, drawn)
                if set(drawn) < {site.name for site in latents.sites}:
                    drawn |= latents.discrete_given(index, drawn)
            is_joint = is_joint or is_tied
            values.append(drawn)
            ratios.append((log_p[0] - log_q[0], log_p[1] - log_q[1]))
        unit = torch.stack([r[0] for r in ratios])
        if is_joint:
            unit = (unit.sum(2) + torch.stack([r[1] for r in ratios]))[..., None]
        weights, diagnostics = judge(unit, unit, is_joint)
        joined = {name: torch.cat([v[name] for v in values]) for name in values[0]}
        joined, weights = settled(latents, joined, weights, num_draws)
        return latents.answer(joined, num_draws, weights, diagnostics={**diagnostics, "elbo": elbo})

    def _fit_user_guide(
        self, latents: Latents, draw: int, progress: bool
    ) -> tuple[Callable[[int], Any], list[float]]:
        assert self.guide is not None
        n = latents.problem.num_units
        evidence_model = pyro.poutine.block(
            latents.model(torch.tensor([draw]), []), hide_types=["param"]
        )

        def model(num_units: int) -> Any:
            with Enumerated(summed):
                return evidence_model()

        summed = frozenset(site.name for site in latents.discrete)
        guide: Any
        if isinstance(self.guide, type) and issubclass(self.guide, AutoGuide):
            guide = self.guide(pyro.poutine.block(model, hide=sorted(summed)))
        else:
            guide = units_program(self.guide)
            summed -= _sites_of(guide, n)
        _check_covers(_sites_of(guide, n), latents, summed)
        nesting = latents.nesting + 1
        loss: Any = TraceEnum_ELBO if summed else Trace_ELBO
        optimiser = pyro.optim.ClippedAdam(
            {"lr": self.learning_rate, "lrd": 0.1 ** (1 / self.num_steps)}
        )
        svi = SVI(
            model,
            guide,
            optimiser,
            loss(num_particles=self.num_particles, max_plate_nesting=nesting),
        )
        trace: list[float] = []
        watch = _Convergence(self._least_rise(latents))
        with progress_bar(self.num_steps, "fitting the guide", progress=progress) as bar:
            for step in range(self.num_steps):
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", "Encountered NaN")  # an error says it below
                    trace.append(-float(svi.step(n)))
                if not math.isfinite(trace[-1]):
                    raise FitError(
                        f"the ELBO became {trace[-1]} at step {step}; lower learning_rate, or "
                        "check that the guide's support is that of the latents"
                    )
                bar.update()
                if (step + 1) % _WINDOW == 0 and watch.has_converged(trace):
                    break
        watch.warn_if_rising(trace)
        return guide, trace


class GaussianGuide:
    """A Gaussian for the shared parameters, and one for each unit given them.

    Args:
        start: The Laplace approximation, whose coordinates the guide lives in.

    Attributes:
        parameters: Location, factor and slope of the Gaussians in these coordinates.
    """

    def __init__(self, start: "Laplace") -> None:
        self._start = start
        rows, n, d = start.loc.shape
        p = start.shared_loc.shape[-1]
        zeros = start.loc.new_zeros
        shapes = ((rows, n, d), (rows, n, d, d), (rows, n, d, p), (rows, p), (rows, p, p))
        self.parameters = [zeros(shape).requires_grad_() for shape in shapes]

    def set_parameters(self, values: list[Tensor]) -> None:
        """Replace the parameters' values."""
        self.parameters = [value.detach().requires_grad_() for value in values]

    def as_start(self) -> "Laplace":
        """Return the guide's Gaussians of the units, for a guide without shared parameters."""
        loc, raw = self.parameters[:2]
        start = self._start
        return replace(
            start,
            loc=(start.loc + _times(start.scale, loc)).detach(),
            scale=(start.scale @ _factor(raw)).detach(),
        )

    def sample(
        self,
        count: int,
        *,
        rows: Tensor | None = None,
        wide: Tensor | None = None,
        sticking: bool = False,
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Draw by reparametrisation.

        Args:
            count: Draws for each parameter draw.
            rows: The parameter draws wanted; None: all.
            wide: Units, shape ``(units,)``, whose Gaussian is mixed with heavy-tailed laws around
                it, so that importance weights stay bounded where it is too narrow.
            sticking: Cut the gradient of the log density with respect to the guide's parameters,
                which leaves an unbiased gradient without noise at the optimum.

        Returns:
            Unit latents ``(rows, units, size)``, shared ones ``(rows, size)`` with ``count`` rows
            for each parameter draw, and their log densities ``(rows, units)`` and ``(rows,)``.

        References:
            Hesterberg (1995), Weighted average importance sampling and defensive mixtures.
        """
        start = self._start if rows is None else self._start.pick(rows)
        chosen = self.parameters if rows is None else [p[rows] for p in self.parameters]
        loc, raw, slope, shared_loc, shared_raw = (p.unsqueeze(1) for p in chosen)
        factor, shared_factor = _factor(raw), _factor(shared_raw)
        draws, n, d = start.loc.shape
        p = start.shared_loc.shape[-1]
        noise = start.loc.new_empty(draws, count, n, d).normal_()
        if wide is not None and bool(wide.any()):
            noise = torch.where(wide.to(noise.device)[:, None], noise * _stretch(noise), noise)
        shared_noise = start.loc.new_empty(draws, count, p).normal_()
        white_shared = shared_loc + _times(shared_factor, shared_noise)
        white = loc + _times(slope, white_shared.unsqueeze(2)) + _times(factor, noise)
        at = [loc, factor, slope, shared_loc, shared_factor]
        if sticking:
            at = [x.detach() for x in at]
        residual = white - at[0] - _times(at[2], white_shared.unsqueeze(2))
        log_unit = _log_normal(residual, at[1])
        if wide is not None and bool(wide.any()):
            extra = _log_stretched(noise) - _log_standard(noise)
            log_unit = torch.where(wide.to(noise.device), log_unit + extra, log_unit)
        log_shared = _log_normal(white_shared - at[3], at[4])
        unit, shared = start.from_white(white, white_shared)
        log_q = (
            (log_unit - start.log_scale.unsqueeze(1)).flatten(0, 1),
            (log_shared - start.shared_log_scale.unsqueeze(1)).flatten(0, 1),
        )
        return unit.flatten(0, 1), shared.flatten(0, 1), log_q


# -- the start --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Laplace:
    """A Gaussian at the mode: of the shared parameters, and of each unit given them.

    Attributes:
        loc: Mode, shape ``(parameter draws, units, d)``.
        scale: Cholesky factor of each unit's conditional covariance, ``(..., d, d)``.
        slope: How a unit's conditional mean moves with the shared parameters, ``(..., d, p)``.
        shared_loc: Mode of the shared parameters, ``(parameter draws, p)``.
        shared_scale: Cholesky factor of their marginal covariance.
    """

    loc: Tensor
    scale: Tensor
    slope: Tensor
    shared_loc: Tensor
    shared_scale: Tensor

    def pick(self, rows: Tensor) -> "Laplace":
        """Return some of the parameter draws."""
        parts = (self.loc, self.scale, self.slope, self.shared_loc, self.shared_scale)
        return Laplace(*(part[rows] for part in parts))

    def from_white(self, white: Tensor, white_shared: Tensor) -> tuple[Tensor, Tensor]:
        """Turn standard coordinates, shapes ``(draws, k, n, d)`` and ``(draws, k, p)``, back."""
        moved = _times(self.shared_scale.unsqueeze(1), white_shared)
        unit = self.loc.unsqueeze(1) + _times(self.scale.unsqueeze(1), white)
        unit = unit + _times(self.slope.unsqueeze(1), moved.unsqueeze(2))
        return unit, self.shared_loc.unsqueeze(1) + moved

    @property
    def log_scale(self) -> Tensor:
        """Log determinant of the units' factors, shape ``(parameter draws, units)``."""
        return self.scale.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    @property
    def shared_log_scale(self) -> Tensor:
        """Log determinant of the shared factor, shape ``(parameter draws,)``."""
        return self.shared_scale.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def laplace(latents: Latents) -> Laplace:
    """Find the mode and the curvature there, for all units and parameter draws at once.

    Newton's method with Levenberg-Marquardt damping, started at the best of a few prior draws and
    their median. Second derivatives form an arrow: units meet only through shared parameters.

    Raises:
        ImpossibleEvidenceError: No start has positive density for some unit.

    References:
        Tierney and Kadane (1986); Moré (1978) for the damping.
    """
    n, d, p = latents.problem.num_units, latents.unit_size, latents.shared_size
    if d + p == 0:
        none = latents.like.new_zeros
        rows = latents.num_parameter_draws
        empty = (none(rows, n, 0), none(rows, n, 0, 0), none(rows, n, 0, 0))
        return Laplace(*empty, none(rows, 0), none(rows, 0, 0))
    unit, shared, spread = _starts(latents)
    if d + p > _MAX_NEWTON:
        scale = torch.diag_embed(spread[0].expand(unit.shape))
        slope = unit.new_zeros((*unit.shape, p))
        return Laplace(unit, scale, slope, shared, torch.diag_embed(spread[1].expand(shared.shape)))
    index = latents.parameter_index(1)
    damping = unit.new_full((len(index), 1 if p else n), 1e-3)
    value = _score(latents, index, unit, shared)
    for _ in range(50):
        arrow = _Arrow.of(latents, index, unit, shared)
        step = arrow.step(damping)
        trial = (unit + step[0], shared + step[1])
        new = _score(latents, index, *trial)
        better = new >= value
        gain = torch.where(better, new - value, torch.zeros_like(value))
        unit = torch.where(better[..., None], trial[0], unit)
        shared = torch.where(better.any(1, keepdim=True), trial[1], shared) if p else shared
        value = torch.where(better, new, value)
        damping = torch.where(better, damping / 8, damping * 8).clamp(1e-9, 1e9)
        is_small = (step[0].abs() < 1e-3 * (1e-2 + unit.abs())).all(-1)
        settled = (better & (gain < 1e-5)) | (~better & (is_small | (damping > 1e6)))
        if bool(settled.all()):
            break
    arrow = _Arrow.of(latents, index, unit, shared)
    if not p:  # a last full step: the gain that ended the search bounds the error by its root only
        step = arrow.step(torch.full_like(damping, 1e-9))
        better = _score(latents, index, unit + step[0], shared) > value - 1e-3
        unit = torch.where(better[..., None], unit + step[0], unit)
        arrow = _Arrow.of(latents, index, unit, shared)
    scale, slope, shared_scale = arrow.factors()
    return Laplace(unit, scale, slope, shared, shared_scale)


def _starts(latents: Latents) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    draws = latents.num_parameter_draws
    index = latents.parameter_index(_STARTS)
    units, shareds, _ = latents.prior_draws(index)
    shape = (draws, _STARTS)
    units = torch.nan_to_num(units, posinf=30.0, neginf=-30.0).reshape(shape + units.shape[1:])
    shareds = torch.nan_to_num(shareds, posinf=30.0, neginf=-30.0).reshape(
        shape + shareds.shape[1:]
    )
    units = torch.cat([units, units.median(1, keepdim=True).values], 1)
    shareds = torch.cat([shareds, shareds.median(1, keepdim=True).values], 1)
    index = latents.parameter_index(_STARTS + 1)
    with torch.no_grad():
        scores = _score(latents, index, units.flatten(0, 1), shareds.flatten(0, 1))
    scores = scores.reshape((draws, _STARTS + 1, -1))
    if bool((scores.amax(1) == -math.inf).any()):
        count = int((scores.amax(1) == -math.inf).any(0).sum())
        raise ImpossibleEvidenceError(
            f"none of {_STARTS + 1} starting points gives {count} of {latents.problem.num_units} "
            "units' evidence a positive density; check its values, or write a mechanism whose "
            "support does not depend on latents"
        )
    best = scores.argmax(1)  # (draws, units), or (draws, 1) where parameters tie the units
    unit = units.gather(1, best[:, None, :, None].expand(draws, 1, *units.shape[2:])).squeeze(1)
    shared = shareds.gather(1, best[:, :1, None].expand(draws, 1, shareds.shape[2])).squeeze(1)
    spread = tuple(
        x.std(1).mean(tuple(range(x.dim() - 2))).clamp(1e-3, 1e3) if x.numel() else x.new_zeros(0)
        for x in (units, shareds)
    )
    return unit, shared, (spread[0], spread[1])


def _score(latents: Latents, index: Tensor, unit: Tensor, shared: Tensor) -> Tensor:
    """Log density that decides on a step: each unit's, or all units' where they are tied."""
    with torch.no_grad():
        by_unit, by_row = latents.log_density(index, unit, shared)
    if latents.shared_size:
        by_unit = (by_unit.sum(1) + by_row)[:, None]
    return torch.nan_to_num(by_unit, nan=-math.inf, neginf=-math.inf)


@dataclass(frozen=True)
class _Arrow:
    """Gradient and negative second derivatives of the log density, in double precision."""

    gradient: Tensor  # (rows, units, d)
    shared_gradient: Tensor  # (rows, p)
    block: Tensor  # (rows, units, d, d)
    cross: Tensor  # (rows, units, d, p)
    corner: Tensor  # (rows, p, p)
    dtype: torch.dtype

    @classmethod
    def of(cls, latents: Latents, index: Tensor, unit: Tensor, shared: Tensor) -> "_Arrow":
        d, p = unit.shape[-1], shared.shape[-1]
        with torch.enable_grad():
            unit, shared = unit.detach().requires_grad_(), shared.detach().requires_grad_()
            by_unit, by_row = latents.log_density(index, unit, shared)
            total = by_unit.sum() + by_row.sum()
            gradient, shared_gradient = _grad(total, (unit, shared), create_graph=True)
            block = [_grad(gradient[..., k].sum(), (unit,))[0] for k in range(d)]
            both = [_grad(shared_gradient[..., k].sum(), (unit, shared)) for k in range(p)]
        stacked = (
            torch.stack(block, -2) if d else unit.new_zeros((*unit.shape, d)),
            torch.stack([b[0] for b in both], -1) if p else unit.new_zeros((*unit.shape, p)),
            torch.stack([b[1] for b in both], -1) if p else shared.new_zeros((*shared.shape, p)),
        )
        parts = (gradient, shared_gradient, *(-part for part in stacked))
        finite = [torch.nan_to_num(part.detach().double(), 0.0, 1e12, -1e12) for part in parts]
        return cls(finite[0], finite[1], finite[2], finite[3], finite[4], unit.dtype)

    def step(self, damping: Tensor) -> tuple[Tensor, Tensor]:
        """Solve for the damped Newton step."""
        if not self.cross.shape[-1]:
            factor = _positive_factor(self.block, damping.double())
            step = torch.cholesky_solve(self.gradient[..., None], factor).squeeze(-1)
            return step.to(self.dtype), self.shared_gradient.to(self.dtype)
        damping = damping.double()
        factor = _positive_factor(self.block, damping.expand(self.block.shape[:2]))
        inner = torch.cholesky_solve(self.cross, factor)  # block^-1 cross
        schur = self.corner - (self.cross.mT @ inner).sum(1)
        outer = _positive_factor(schur, damping[:, 0])
        right = self.shared_gradient - (inner.mT @ self.gradient[..., None]).sum(1).squeeze(-1)
        shared = torch.cholesky_solve(right[..., None], outer).squeeze(-1)
        pulled = self.gradient - _times(self.cross, shared.unsqueeze(1))
        unit = torch.cholesky_solve(pulled[..., None], factor).squeeze(-1)
        return unit.to(self.dtype), shared.to(self.dtype)

    def factors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return factor and slope of the units given the shared ones, and the shared factor."""
        precision = _positive(self.block)
        slope = -torch.linalg.solve(precision, self.cross)
        schur = _positive(self.corner + (self.cross.mT @ slope).sum(1))
        parts = (_covariance_factor(precision), slope, _covariance_factor(schur))
        return parts[0].to(self.dtype), parts[1].to(self.dtype), parts[2].to(self.dtype)


def _grad(
    value: Tensor, inputs: tuple[Tensor, ...], *, create_graph: bool = False
) -> tuple[Tensor, ...]:
    if not value.requires_grad:
        return tuple(torch.zeros_like(x) for x in inputs)
    found = torch.autograd.grad(
        value, inputs, retain_graph=True, create_graph=create_graph, allow_unused=True
    )
    return tuple(
        torch.zeros_like(x) if g is None else g for x, g in zip(inputs, found, strict=True)
    )


def _positive_factor(matrix: Tensor, damping: Tensor) -> Tensor:
    """Cholesky factor of a matrix, its diagonal raised until there is one."""
    diagonal = matrix.diagonal(dim1=-2, dim2=-1).abs() + 1e-6
    damping = damping.clone()
    for _ in range(30):
        raised = matrix + torch.diag_embed(diagonal * damping[..., None])
        factor, failed = torch.linalg.cholesky_ex(raised)
        if not bool(failed.any()):
            return factor
        damping = torch.where(failed > 0, (damping * 10).clamp_min(1e-3), damping)
    return torch.diag_embed(diagonal.sqrt() * (1 + damping[..., None]).sqrt())


def _positive(matrix: Tensor) -> Tensor:
    """Nearest thing to a matrix that is a precision: eigenvalues made positive."""
    if not matrix.shape[-1]:
        return matrix
    values, vectors = torch.linalg.eigh((matrix + matrix.mT) / 2)
    values = values.abs()
    values = values.clamp_min(1e-6).maximum(1e-7 * values.amax(-1, keepdim=True))
    return (vectors * values.unsqueeze(-2)) @ vectors.mT


def _covariance_factor(precision: Tensor) -> Tensor:
    if not precision.shape[-1]:
        return precision
    return torch.linalg.cholesky(torch.linalg.inv(precision))


# -- what engines with a guide share -------------------------------------------------------------


def judge(
    ratios: Tensor, probe: Tensor, is_joint: bool, *, num_units: int | None = None
) -> tuple[Tensor | None, dict[str, Any]]:
    """Judge draws of a guide by their importance ratios, and weigh them where that can be done.

    Args:
        ratios: Log of target over guide, shape ``(parameter draws, draws, units)``.
        probe: Ratios by which to judge, of the same shape but for the numbers of draws.
        is_joint: All units share one weight.
        num_units: Number of units to spread a joint weight over; None: as in ``ratios``.

    Returns:
        Smoothed log weights, or None where draws are too few to be weighed, and diagnostics:
        ``khat`` with one entry per unit.

    Warns:
        ConvergenceWarning: Some units are above 0.7.
    """
    khat = khat_of(probe)
    bad = khat > KHAT_LIMIT
    if bool(bad.any()):
        who = (
            "all units, which are weighed together"
            if is_joint
            else f"{int(bad.sum())} of {len(bad)} units"
        )
        warnings.warn(
            f"k-hat is above {KHAT_LIMIT} for {who} (largest {float(khat.max()):.2f}): the "
            "draws do not cover their posterior, and their answers may be off; use NUTS, more "
            "steps or draws, or a richer guide",
            ConvergenceWarning,
            stacklevel=3,
        )
    weights = None
    if ratios.shape[1] >= LEAST_DRAWS:
        smooth, _ = psis(_finite(ratios).movedim(1, 0))
        weights = torch.as_tensor(smooth, dtype=ratios.dtype, device=ratios.device).movedim(0, 1)
        if num_units is not None:
            weights = weights.expand(*weights.shape[:2], num_units)
    return weights, {"khat": khat.tolist()}


def khat_of(ratios: Tensor) -> Tensor:
    """Return each unit's k-hat, the largest over the parameter draws.

    Pareto's fit needs a tail. Where no ratio is ten times their mean there is none to speak of,
    and the fit sees the step between plateaus, or rounding; then k-hat is capped by the exponent
    at which the largest of that many ratios would have to grow.
    """
    ratios = _finite(ratios)
    _, khat = psis(ratios.movedim(1, 0))
    found = torch.as_tensor(khat).reshape(ratios.shape[0], ratios.shape[2])
    size = ratios.shape[1]
    excess = (ratios.amax(1) - ratios.logsumexp(1)).double().cpu() + math.log(size)
    cap = torch.where(excess < math.log(10), excess / math.log(size), math.inf)
    return torch.minimum(found, cap).amax(0)


def _few(draws: int) -> Tensor:
    """Choose up to four parameter draws, evenly."""
    return torch.linspace(0, draws - 1, min(4, draws)).long()


def _weighed(
    latents: Latents, guide: GaussianGuide, count: int, wide: Tensor | None, rows: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw and weigh: log ratios ``(rows, count, units)`` (units 1 if joint), and the draws."""
    unit, shared, log_q = guide.sample(count, rows=rows, wide=wide)
    log_p = latents.log_density(rows.repeat_interleave(count), unit, shared)
    ratios = log_p[0] - log_q[0]
    if latents.shared:
        ratios = (ratios.sum(1) + log_p[1] - log_q[1])[:, None]
    return ratios.reshape(len(rows), count, ratios.shape[1]), unit, shared


def _matched(latents: Latents, guide: GaussianGuide, wide: Tensor) -> GaussianGuide:
    """Give some units' Gaussians the moments of their posterior, by importance sampling.

    The ELBO makes a Gaussian too narrow where the posterior is not one; with the posterior's own
    moments it covers the mass, and the weights become even.

    References:
        Paananen, Piironen, Bürkner and Vehtari (2021), Implicitly adaptive importance sampling.
    """
    draws, count = latents.num_parameter_draws, 2 * LEAST_DRAWS
    for _ in range(_MATCHINGS):
        ratios, unit, _ = _weighed(latents, guide, count, wide, torch.arange(draws))
        unit = unit.reshape(draws, count, *unit.shape[1:])
        weights = torch.softmax(_finite(ratios), 1)[..., None]
        loc = (weights * unit).sum(1)
        centred = (unit - loc.unsqueeze(1)).double()
        covariance = torch.einsum("rkni,rknj->rnij", centred * weights.double(), centred)
        start = guide.as_start()
        # a little of the old covariance, as few draws may carry most of the weight
        covariance = 0.95 * covariance + 0.05 * (start.scale @ start.scale.mT).double()
        scale, failed = torch.linalg.cholesky_ex(covariance)
        usable = wide[:, None].to(loc.device) & (failed == 0)[..., None] & torch.isfinite(loc)
        guide = GaussianGuide(
            replace(
                start,
                loc=torch.where(usable, loc, start.loc),
                scale=torch.where(usable[..., None], scale.to(start.scale.dtype), start.scale),
            )
        )
    return guide


def settled(
    latents: Latents, values: dict[str, Tensor], weights: Tensor | None, num_draws: int
) -> tuple[dict[str, Tensor], Tensor | None]:
    """Turn weighed draws of the latents into as many as are asked for.

    Args:
        latents: What they are draws of.
        values: Latent to values, ``(parameter draws * draws, *batch, *event)``.
        weights: Log weights, ``(parameter draws, draws, units)``, or with 1 for the units.
        num_draws: How many draws to return. Where there are more, they are resampled.

    Returns:
        Values, and log weights with all units, or None if the draws carry equal weight.
    """
    if weights is None:
        return values, None
    if weights.shape[1] > num_draws:
        return latents.take(values, resample(weights, num_draws)), None
    values = latents.take(values, without_negligible(weights))
    return values, weights.expand(*weights.shape[:2], latents.problem.num_units)


def without_negligible(log_weights: Tensor) -> Tensor:
    """Point draws whose weight is nothing to the heaviest draw of the unit.

    Where a draw makes the evidence all but impossible, its noise cannot be abducted in floating
    point. Its weight, less than a millionth of the largest, stays.

    Args:
        log_weights: Shape ``(parameter draws, draws, units)``.

    Returns:
        Indices of draws, of the same shape.
    """
    largest, heaviest = log_weights.max(1, keepdim=True)
    own = torch.arange(log_weights.shape[1], device=log_weights.device)[:, None]
    return torch.where(log_weights < largest - _NEGLIGIBLE, heaviest, own)


def resample(log_weights: Tensor, count: int) -> Tensor:
    """Choose draws by their weights, systematically.

    Args:
        log_weights: Shape ``(parameter draws, draws, units)``.
        count: How many to choose for each unit, with repetition.

    Returns:
        Indices of draws in random order, shape ``(parameter draws, count, units)``.

    References:
        Carpenter, Clifford and Fearnhead (1999), systematic resampling.
    """
    rows, size, units = log_weights.shape
    cumulated = torch.softmax(log_weights.double(), 1).cumsum(1).movedim(1, 2).contiguous()
    steps = torch.arange(count, dtype=torch.double, device=log_weights.device)
    offset = torch.rand(rows, units, 1, dtype=torch.double, device=log_weights.device)
    at = torch.searchsorted(cumulated, (steps + offset) / count).clamp_max(size - 1)
    shuffled = torch.rand(at.shape, device=at.device).argsort(-1)
    return at.gather(-1, shuffled).movedim(-1, 1)


def _finite(ratios: Tensor) -> Tensor:
    """Give draws outside the target's support no weight."""
    return torch.nan_to_num(ratios, nan=-math.inf, posinf=math.inf, neginf=-math.inf)


class _Convergence:
    """Watch the ELBO, window by window."""

    def __init__(self, least_rise: float) -> None:
        self._least_rise = least_rise
        self._quiet = 0
        self._risen = False

    def has_converged(self, trace: list[float]) -> bool:
        last = torch.tensor(trace[-_WINDOW:], dtype=torch.float64)
        if float(last.max() - last.min()) < self._least_rise:  # the guide is exact
            self._quiet, self._risen = 2, False
            return True
        if len(trace) < 2 * _WINDOW:
            return False
        before = torch.tensor(trace[-2 * _WINDOW : -_WINDOW], dtype=torch.float64)
        rise = float(last.mean() - before.mean())
        noise = math.sqrt(float(last.var() + before.var()) / _WINDOW)
        self._risen = rise > max(self._least_rise, 2 * noise)
        self._quiet = 0 if rise > max(self._least_rise, noise) else self._quiet + 1
        return self._quiet >= 2

    def warn_if_rising(self, trace: list[float]) -> None:
        if self._quiet < 2 and self._risen:
            warnings.warn(
                f"the ELBO was still rising after {len(trace)} steps; raise num_steps",
                ConvergenceWarning,
                stacklevel=4,
            )


def _factor(raw: Tensor) -> Tensor:
    """Lower triangular factor with a positive diagonal; the identity at zero."""
    diagonal = raw.diagonal(dim1=-2, dim2=-1)
    return raw.tril(-1) + torch.diag_embed(diagonal.exp())


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def _log_normal(residual: Tensor, factor: Tensor) -> Tensor:
    size = residual.shape[-1]
    if not size:
        return residual.new_zeros(residual.shape[:-1])
    white = torch.linalg.solve_triangular(factor, residual.unsqueeze(-1), upper=False).squeeze(-1)
    log_scale = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -0.5 * (white**2).sum(-1) - log_scale - 0.5 * size * math.log(2 * math.pi)


def _log_standard(white: Tensor) -> Tensor:
    size = white.shape[-1]
    return -0.5 * (white**2).sum(-1) - 0.5 * size * math.log(2 * math.pi)


def _stretch(noise: Tensor) -> Tensor:
    """Factors that turn normal noise into a mixture of a normal and two Student-t laws."""
    shape = noise.shape[:-1]
    chi = noise.new_empty((*shape, int(_FREEDOM))).normal_().square().sum(-1)
    weights = noise.new_tensor([weight for weight, _ in _MIXTURE])
    which = torch.multinomial(weights, math.prod(shape), replacement=True).reshape(shape)
    scales = noise.new_tensor([scale for _, scale in _MIXTURE])[which]
    student = scales * (_FREEDOM / chi).sqrt()
    return torch.where(which == 0, torch.ones_like(student), student)[..., None]


def _log_stretched(white: Tensor) -> Tensor:
    """Log density of `_stretch`'s mixture."""
    size, squared = white.shape[-1], (white**2).sum(-1)
    terms = [_log_standard(white) + math.log(_MIXTURE[0][0])]
    for weight, scale in _MIXTURE[1:]:
        constant = (
            math.lgamma((_FREEDOM + size) / 2)
            - math.lgamma(_FREEDOM / 2)
            - size * (0.5 * math.log(_FREEDOM * math.pi) + math.log(scale))
        )
        tail = torch.log1p(squared / (_FREEDOM * scale**2))
        terms.append(math.log(weight) + constant - 0.5 * (_FREEDOM + size) * tail)
    return torch.logsumexp(torch.stack(terms), 0)


# -- guides of the user's --------------------------------------------------------------------------


def _sites_of(guide: Callable[[int], Any], num_units: int) -> frozenset[str]:
    with torch.no_grad():
        trace = pyro.poutine.trace(guide).get_trace(num_units)
    return frozenset(
        name
        for name, node in trace.nodes.items()
        if node["type"] == "sample"
        and not site_is_subsample(node)
        and not (node["infer"] or {}).get("is_auxiliary")
    )


def _check_covers(found: frozenset[str], latents: Latents, summed: frozenset[str]) -> None:
    wanted = {site.name for site in latents.sites}
    missing, unknown = wanted - found - summed, found - wanted
    if missing or unknown:
        raise ProgramError(
            f"the guide lacks the latents {sorted(missing)} and has the unknown sites "
            f"{sorted(unknown)}; given this evidence the latents are {sorted(wanted)}; mark "
            'auxiliary sites with infer={"is_auxiliary": True}'
        )


def _draws_of(
    guide: Callable[[int], Any], latents: Latents, num_draws: int
) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor], bool]:
    """Draw from a fitted guide, one trace after the other."""
    n = latents.problem.num_units
    values: dict[str, list[Tensor]] = {}
    log_unit, log_shared, is_tied = [], [], False
    with torch.no_grad():
        for _ in range(num_draws):
            trace = pyro.poutine.trace(guide).get_trace(n)
            trace.compute_log_prob()
            by_unit, by_row, tied = latents.split_by_unit(trace)
            is_tied = is_tied or tied
            log_unit.append(by_unit)
            log_shared.append(by_row)
            for site in latents.sites:
                if site.name in trace.nodes:
                    value: Any = trace.nodes[site.name]["value"]
                    shape = site.batch_shape + site.event_shape
                    values.setdefault(site.name, []).append(value.expand(shape))
    drawn = {name: torch.stack(parts) for name, parts in values.items()}
    return drawn, (torch.cat(log_unit), torch.cat(log_shared)), is_tied
