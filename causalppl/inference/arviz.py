"""Posteriors for ArviZ, before and after its version 1.

| name | what it does | paper |
|---|---|---|
| `require` | import an optional package, or name the extra that brings it | - |
| `to_arviz` | `InferenceData` (ArviZ < 1) or `DataTree` (ArviZ >= 1) | Kumar et al. (2019) |
"""

import importlib
import warnings
from types import ModuleType
from typing import TYPE_CHECKING, Any

from causalppl.exceptions import MissingExtraError

if TYPE_CHECKING:
    from causalppl.inference.posterior import Posterior

__all__ = ["require", "to_arviz"]


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
    if hasattr(arviz, "InferenceData"):
        return arviz.InferenceData(posterior=group)
    xarray = require("xarray", "arviz")
    return xarray.DataTree.from_dict({"posterior": group})


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
