"""Posteriors for ArviZ, before and after its version 1.

| name | what it does | paper |
|---|---|---|
| `require` | import an optional package, or name the extra that brings it | - |
| `fit_to_arviz` | draws of parameters, with the rows' log likelihoods | Kumar et al. (2019) |
| `to_arviz` | `InferenceData` (ArviZ < 1) or `DataTree` (ArviZ >= 1) | Kumar et al. (2019) |
"""

import importlib
import warnings
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from causalppl.exceptions import DataError, MissingExtraError

if TYPE_CHECKING:
    from torch import Tensor

    from causalppl.inference.posterior import Posterior
    from causalppl.programs.scm import SCM

__all__ = ["fit_to_arviz", "require", "to_arviz"]


def to_arviz(posterior: "Posterior") -> Any:
    """Hand a posterior to ArviZ.

    ArviZ knows neither exact laws nor importance weights. Variables that have a law are drawn
    from it, independently of each other, unless draws are there as well; weighted draws are
    resampled to equal weights. Both use the posterior's seed, so the answer is reproducible, and
    the attribute ``note`` says when it was done.

    Args:
        posterior: Any posterior.

    Returns:
        ``arviz.InferenceData`` before ArviZ 1, ``xarray.DataTree`` from then on, with one group
        ``posterior`` whose attributes name query, engine, assumptions and couplings.

    Raises:
        MissingExtraError: ArviZ is not installed.

    References:
        Kumar, Carroll, Hartikainen and Martin (2019), ArviZ, Journal of Open Source Software.

    Example:
        >>> import numpy as np
        >>> from causalppl.inference.posterior import Posterior
        >>> posterior = Posterior.from_draws({"Y": np.zeros((4, 100))}, engine="NUTS")
        >>> dict(to_arviz(posterior).posterior.sizes)
        {'chain': 4, 'draw': 100}
    """
    arviz = require("arviz", "arviz")
    group = posterior.equally_weighted()
    counted = {axis: range(group.sizes[axis]) for axis in ("chain", "draw") if axis in group.sizes}
    group = group.assign_coords({a: list(r) for a, r in counted.items() if a not in group.coords})
    group.attrs = _attributes(posterior)
    return container(arviz, {"posterior": group})


def fit_to_arviz(
    scm: "SCM", *, log_likelihood: bool = False, seed: int | None = 0, progress: bool | None = None
) -> Any:
    """Hand the draws of a fitted model's parameters to ArviZ.

    Args:
        scm: What `fit` returns.
        log_likelihood: Whether to add the group ``log_likelihood``, as ``arviz.loo`` needs it: of
            each row, the units' latents summed or integrated out; see `causalppl.inference.loo`.
        seed: As for `causalppl.inference.loo`.
        progress: As for `causalppl.inference.loo`.

    Returns:
        ``arviz.InferenceData`` before ArviZ 1, ``xarray.DataTree`` from then on, with the groups
        ``posterior`` and, on request, ``log_likelihood`` with the variable ``units``.

    Raises:
        MissingExtraError: ArviZ is not installed.
        DataError: The model has no draws of parameters, or was not fitted.

    References:
        Kumar, Carroll, Hartikainen and Martin (2019), ArviZ, Journal of Open Source Software.

    Example:
        >>> import causalppl as cp, pyro, pyro.distributions as dist, torch
        >>> def program(n):
        ...     mean = pyro.sample("mean", dist.Normal(0.0, 10.0))
        ...     with pyro.plate("units", n):
        ...         pyro.sample("Y", dist.Normal(mean, 1.0))
        >>> fitted = cp.fit(program, {"Y": torch.linspace(-2.0, 2.0, 50)}, seed=0)
        >>> data = fit_to_arviz(fitted, log_likelihood=True)
        >>> dict(data.log_likelihood.sizes)
        {'chain': 1, 'draw': 1000, 'unit': 50}
    """
    arviz = require("arviz", "arviz")
    if not scm.parameters:
        raise DataError("the model has no draws of parameters; expected what fit returns")
    chains = getattr(getattr(scm.fit_record, "method", None), "num_chains", 1)

    groups = {"posterior": _dataset(scm.parameters, chains)}
    if log_likelihood:
        from causalppl.inference.loo import log_likelihood as of_rows

        table = of_rows(scm, seed=seed, progress=progress)
        groups["log_likelihood"] = _dataset({"units": table}, chains, ["unit"])
    return container(arviz, groups)


def _dataset(draws: "Mapping[str, Tensor]", chains: int, axes: list[str] | None = None) -> Any:
    """Make a group of draws ``(chains * draws, *shape)``; ``axes`` names the shape's."""
    found, count = {}, 0
    for name, value in draws.items():
        array = value.detach().cpu().numpy()
        count = len(array) // chains
        rest = axes or [f"{name}_dim_{i}" for i in range(array.ndim - 1)]
        found[name] = (["chain", "draw", *rest], array.reshape(chains, count, *array.shape[1:]))
    coords = {"chain": list(range(chains)), "draw": list(range(count))}
    return require("xarray", "arviz").Dataset(found, coords=coords)


def container(arviz: ModuleType, groups: Mapping[str, Any]) -> Any:
    """Return ArviZ's container of groups, of whichever generation it is."""
    if hasattr(arviz, "InferenceData"):
        return arviz.InferenceData(**groups)
    return require("xarray", "arviz").DataTree.from_dict(dict(groups))


def require(module: str, extra: str) -> ModuleType:
    """Import an optional package, or say which extra of causalppl brings it."""
    try:
        with warnings.catch_warnings():
            # announced once a day by ArviZ 0.23 on import; both containers are handled here
            announcement = r"\s*ArviZ is undergoing a major refactor"
            warnings.filterwarnings("ignore", message=announcement, category=FutureWarning)
            return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{module} cannot be imported ({error}); it is needed here and optional elsewhere; "
            f'install it with: pip install "causalppl[{extra}]"'
        ) from error


def _attributes(posterior: "Posterior") -> dict[str, Any]:
    from causalppl import __version__

    notes = list(posterior.notes)
    drawn = [name for name in posterior.laws if name not in posterior.draws.data_vars]
    if drawn:
        notes.append(f"drawn independently from exact laws: {', '.join(drawn)}")
    if posterior.log_weights is not None:
        notes.append("resampled from importance weights to equal weights")
    return {
        "inference_library": "causalppl",
        "inference_library_version": __version__,
        "query": posterior.query,
        "engine": posterior.engine,
        "assumptions": "; ".join(posterior.assumptions),
        "couplings": "; ".join(f"{site}: {how}" for site, how in posterior.couplings.items()),
        "note": "; ".join(notes),
    }
