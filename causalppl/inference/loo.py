"""How well a fitted model predicts a unit that was left out of the fit."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from causalppl.exceptions import ConvergenceWarning
from causalppl.inference.diagnostics import ess, psis
from causalppl.inference.fit_checks import misfit
from causalppl.inference.khat import KHAT_LIMIT, capped
from causalppl.inference.nuts_fit import NUTSFit
from causalppl.inference.progress import is_shown, progress_bar
from causalppl.inference.row_likelihood import RowLikelihood
from causalppl.inference.training_data import TrainingData
from causalppl.inference.unit_likelihood import UnitLikelihood
from causalppl.programs.scm import SCM
from causalppl.seeding import forked_rng
from causalppl.user_warning import warn_user

if TYPE_CHECKING:
    import pandas as pd

_NAMED = 5  # rows that a sentence names
_NOTABLE = 0.1  # nats
_SMOOTHED_AT_ONCE = 2**20  # draws times rows


@dataclass(frozen=True, repr=False)
class LeaveOneOut:
    """What `loo` found; sums are over the rows, in nats.

    Attributes:
        pointwise: Expected log predictive density of each row given all others, shape ``(rows,)``.
        khat: Pareto k-hat of each row's weights, shape ``(rows,)``.
        p_loo: Effective number of parameters: how much better the rows are told by a fit that saw
            them.
        num_draws: Draws of the parameters.
        data: The rows.
        notes: What it rests on.

    Example:
        >>> import causalppl as cp, pyro, pyro.distributions as dist, torch
        >>> def program(n):
        ...     mean = pyro.sample("mean", dist.Normal(0.0, 10.0))
        ...     with pyro.plate("units", n):
        ...         pyro.sample("Y", dist.Normal(mean, 1.0))
        >>> fitted = cp.fit(program, {"Y": torch.linspace(-2.0, 2.0, 50)}, seed=0)
        >>> found = cp.loo(fitted)
        >>> found.pointwise.shape, found.unreliable
        (torch.Size([50]), ())
    """

    pointwise: Tensor
    khat: Tensor
    p_loo: float
    num_draws: int
    data: TrainingData
    notes: tuple[str, ...] = ()

    @property
    def elpd(self) -> float:
        """Expected log predictive density of new rows as many as these: ``pointwise``'s sum."""
        return float(self.pointwise.sum())

    @property
    def se(self) -> float:
        """Standard error of ``elpd``: other rows could have been seen."""
        return sum_error(self.pointwise)

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return len(self.pointwise)

    @property
    def worst_khat(self) -> float:
        """The largest k-hat."""
        return float(self.khat.max())

    @property
    def unreliable(self) -> tuple[int, ...]:
        """Positions of the rows whose k-hat is above 0.7, the worst first."""
        order = self.khat.argsort(descending=True, stable=True).tolist()
        return tuple(row for row in order if not self.khat[row] <= KHAT_LIMIT)

    def summary(self) -> "pd.DataFrame":
        """Return a table: ``elpd`` and ``p_loo`` with standard errors, worst k-hat, bad rows."""
        import pandas as pd

        table = {"elpd": (self.elpd, self.se), "elpd of a row": self._of_a_row()}
        values = {
            **{name: {"estimate": mean, "se": se} for name, (mean, se) in table.items()},
            "p_loo": {"estimate": self.p_loo, "se": math.nan},
            "worst k-hat": {"estimate": self.worst_khat, "se": math.nan},
            "rows with k-hat > 0.7": {"estimate": float(len(self.unreliable)), "se": math.nan},
        }
        return pd.DataFrame.from_dict(values, orient="index")

    def _of_a_row(self) -> tuple[float, float]:
        return self.elpd / self.num_rows, self.se / self.num_rows

    def __repr__(self) -> str:
        """Return one line."""
        return (
            f"LeaveOneOut(elpd {self.elpd:.1f}, se {self.se:.1f}, {self.num_rows:,} rows, worst "
            f"k-hat {self.worst_khat:.2f})"
        )

    def interpret(self) -> str:
        """Say in a few sentences how well the model predicts, and whether that can be trusted."""
        mean, se = self._of_a_row()
        notes = "".join(f"; {note}" for note in self.notes)
        return (
            f"A row left out of the fit has an expected log density of {mean:.4g} nats (standard "
            f"error {se:.2g}), {self.elpd:.1f} over {self.num_rows:,} rows (standard error "
            f"{self.se:.1f}); the fit has about {self.p_loo:.1f} effective parameters. "
            f"{self._trust()}{notes}."
        )

    def _trust(self) -> str:
        worst, bad = self.worst_khat, self.unreliable
        if not bad:
            return f"The weights are reliable: no k-hat is above {KHAT_LIMIT} (worst {worst:.2f})"
        return (
            f"k-hat is above {KHAT_LIMIT} for {told_rows(bad, self.num_rows)} (worst {worst:.2f}): "
            "what is told of them is likely too favourable"
        )

    def _repr_html_(self) -> str:
        from html import escape

        shown = self.summary().to_html(float_format=lambda x: f"{x:.4g}", na_rep="")
        return f"<p>{escape(self.interpret())}</p>{shown}"

    def plot(self, ax: Any = None) -> Any:
        """Draw each row's k-hat; see `causalppl.plots.loo`."""
        from causalppl.inference.loo_plots import loo as draw

        return draw(self, ax=ax)


def loo(scm: SCM, *, seed: int | None = 0, progress: bool | None = None) -> LeaveOneOut:
    """Estimate how well a fitted model predicts a unit that it has not seen.

    The expected log predictive density of a row given all others needs no new fit: draws given all
    rows are weighted by one over the row's likelihood, and the largest weights are smoothed by a
    Pareto law (PSIS-LOO). A row is all observed sites of a unit, together. Its likelihood given
    the parameters has the unit's latents, and missing values, summed or integrated out.

    The answer speaks of prediction in the population that the rows come from. It says nothing of
    what an intervention does: models with arrows in another direction may predict alike.

    Args:
        scm: What `fit` returns.
        seed: Seed of the integration over continuous latents, where it is not exact.
        progress: Show a progress bar; None: at a terminal or in a notebook.

    Returns:
        ``elpd``, ``se``, ``p_loo``, and for each row ``pointwise`` and ``khat``.

    Raises:
        DataError: The model was not fitted, or has fewer than 100 draws of its parameters.
        AssumptionError: There is no posterior, or no likelihood of a row without its latents.

    Warns:
        ConvergenceWarning: Some rows' k-hats are above 0.7.

    References:
        Vehtari, Gelman and Gabry (2017), Practical Bayesian model evaluation using leave-one-out
        cross-validation and WAIC; Vehtari, Simpson, Gelman, Yao and Gabry (2024) for k-hat.

    Example:
        >>> import causalppl as cp, pyro, pyro.distributions as dist, torch
        >>> def program(n):
        ...     mean = pyro.sample("mean", dist.Normal(0.0, 10.0))
        ...     with pyro.plate("units", n):
        ...         pyro.sample("Y", dist.Normal(mean, 1.0))
        >>> fitted = cp.fit(program, {"Y": torch.linspace(-2.0, 2.0, 50)}, seed=0)
        >>> found = loo(fitted)
        >>> found.num_rows, round(found.p_loo, 1), found.worst_khat < 0.7
        (50, 1.4, True)
    """
    likelihood = RowLikelihood(scm)
    efficiency = _relative_efficiency(scm)
    rows, khat = likelihood.data.num_rows, torch.zeros(likelihood.data.num_rows).double()
    pointwise, full = torch.zeros_like(khat), torch.zeros_like(khat)
    bias, impossible = 0.0, 0
    for part, found in _shown(likelihood, seed, progress):
        if found.variance is not None:
            bias += float(found.variance.mean(0).sum())
        step = max(1, _SMOOTHED_AT_ONCE // likelihood.num_draws)
        for some, log in zip(part.split(step), found.log.cpu().split(step, 1), strict=True):
            possible = torch.isfinite(log)
            impossible += int((~possible).any(0).sum())
            pointwise[some], khat[some] = _left_out(log, possible, efficiency)
            full[some] = log.logsumexp(0) - math.log(len(log))
    notes = (*_notes(scm, likelihood), *_accuracy(bias, impossible, rows))
    result = LeaveOneOut(
        pointwise,
        khat,
        float((full - pointwise).sum()),
        likelihood.num_draws,
        likelihood.data,
        notes,
    )
    _warn(result)
    return result


def log_likelihood(scm: SCM, *, seed: int | None = 0, progress: bool | None = None) -> Tensor:
    """Return the log likelihood of each row under each draw of a fitted model's parameters.

    The units' latents, and missing values, are summed or integrated out. The whole table is held
    in memory; `loo` is not.

    Args:
        scm: What `fit` returns.
        seed: As for `loo`.
        progress: As for `loo`.

    Returns:
        Nats, shape ``(draws, rows)``, double precision.

    Raises:
        DataError: As for `loo`.
        AssumptionError: As for `loo`.

    References:
        Vehtari, Gelman and Gabry (2017), Practical Bayesian model evaluation using leave-one-out
        cross-validation and WAIC.

    Example:
        >>> import causalppl as cp, pyro, pyro.distributions as dist, torch
        >>> def program(n):
        ...     mean = pyro.sample("mean", dist.Normal(0.0, 10.0))
        ...     with pyro.plate("units", n):
        ...         pyro.sample("Y", dist.Normal(mean, 1.0))
        >>> fitted = cp.fit(program, {"Y": torch.linspace(-2.0, 2.0, 50)}, seed=0)
        >>> log_likelihood(fitted).shape
        torch.Size([1000, 50])
    """
    likelihood = RowLikelihood(scm)
    table = torch.empty(likelihood.num_draws, likelihood.data.num_rows, dtype=torch.float64)
    for part, found in _shown(likelihood, seed, progress):
        table[:, part] = found.log.cpu()
    return table


def sum_error(pointwise: Tensor) -> float:
    """Return the standard error of a sum over rows, by the rows' spread."""
    return math.sqrt(len(pointwise) * float(pointwise.var(correction=0)))


def told_rows(rows: tuple[int, ...], of: int) -> str:
    """Name rows, as far as they are few.

    Example:
        >>> told_rows((3, 8), 100)
        '2 of 100 rows (3, 8)'
    """
    more = ", ..." if len(rows) > _NAMED else ""
    return f"{len(rows):,} of {of:,} rows ({', '.join(map(str, rows[:_NAMED]))}{more})"


# -- the rows -------------------------------------------------------------------------------------


def _shown(
    likelihood: RowLikelihood, seed: int | None, progress: bool | None
) -> Iterator[tuple[Tensor, UnitLikelihood]]:
    """Go through the parts with a progress bar; each evaluation has random numbers of its own."""
    parts = likelihood.parts()
    with progress_bar(likelihood.data.num_rows, "rows", progress=is_shown(progress)) as bar:
        while True:
            with forked_rng(seed):
                part = next(parts, None)
            if part is None:
                return
            bar.update(len(part[0]))
            yield part


def _left_out(log: Tensor, possible: Tensor, efficiency: float) -> tuple[Tensor, Tensor]:
    """Each row's density given the others and its k-hat, from ``(draws, rows)``."""
    # a draw that makes a seen row impossible is not from the posterior: it has no weight
    ratios = torch.where(possible, -log, -math.inf)
    smooth, khat = psis(ratios, relative_efficiency=efficiency)
    found = (torch.as_tensor(smooth) + torch.where(possible, log, -math.inf)).logsumexp(0)
    judged = capped(torch.as_tensor(khat), ratios)
    return found, torch.where(possible.all(0), judged, math.inf)


def _relative_efficiency(scm: SCM) -> float:
    """Effective over actual number of draws, where they come from chains."""
    method = scm.fit_record.method
    if not isinstance(method, NUTSFit):
        return 1.0
    shape = (method.num_chains, method.num_draws)
    sizes = [
        torch.as_tensor(ess(draws.reshape(*shape, *draws.shape[1:]))).flatten()
        for name, draws in scm.parameters.items()
        if scm.structure.sites[name].kind == "sample"
    ]
    return float(torch.cat(sizes).mean()) / (shape[0] * shape[1])


# -- what it rests on -----------------------------------------------------------------------------


def _notes(scm: SCM, likelihood: RowLikelihood) -> Iterator[str]:
    record = likelihood.record
    if not isinstance(record.method, NUTSFit):
        is_bad = {"khat", "efficiency"} <= record.diagnostics.keys() and misfit(
            dict(record.diagnostics)
        )
        advice = ", which it misses: fit with NUTSFit()" if is_bad else ""
        yield (
            f"it takes the draws of {record.method.name} as the posterior's own, and they are an "
            f"approximation{advice}"
        )
    if scm.structure.learnable:
        yield (
            "the pyro.param statements were learned from every row, the one left out among them, "
            "so that it is too favourable to flexible mechanisms"
        )


def _accuracy(bias: float, impossible: int, rows: int) -> Iterator[str]:
    if bias > _NOTABLE:
        yield (
            "the integral over the units' continuous latents was estimated, by which elpd may be "
            f"too low by about {bias:.1f} nats"
        )
    if impossible:
        yield (
            f"for {impossible:,} of {rows:,} rows some draws make them impossible, and were left "
            "out"
        )


def _warn(result: LeaveOneOut) -> None:
    if not (bad := result.unreliable):
        return
    warn_user(
        f"k-hat is above {KHAT_LIMIT} for {told_rows(bad, result.num_rows)}, worst "
        f"{result.worst_khat:.2f}: leaving one of them out moves the posterior too far for its "
        "draws; look at these rows, take laws with heavier tails or stronger priors, or fit again "
        "without them and judge them by that",
        ConvergenceWarning,
    )
