"""Parameters of a program from data."""

from collections.abc import Mapping
from typing import Any

import pyro
import torch

from causalppl.exceptions import ProgramError
from causalppl.given import check_kind, told
from causalppl.inference.fit_checks import warn
from causalppl.inference.fit_method import FitMethod, FitRecord, FitTask
from causalppl.inference.log_density import LogDensity, defaults_of
from causalppl.inference.progress import is_shown
from causalppl.inference.svi_fit import SVIFit
from causalppl.inference.training_data import Missing, read_training_data
from causalppl.programs.learned import restored_params
from causalppl.programs.scm import SCM
from causalppl.seeding import forked_rng
from causalppl.typing import Program


def fit(
    scm: SCM | Program,
    data: Any,
    *,
    method: FitMethod | None = None,
    missing: Missing = "refuse",
    seed: int | None = None,
    progress: bool | None = None,
) -> SCM:
    """Infer the parameters of a program from data.

    Parameters are the sites outside the plate ``units``; the result holds draws from their
    posterior, so that whatever is asked of it later carries their uncertainty. ``pyro.param``
    statements and modules are fitted by maximum likelihood at the same time.

    Args:
        scm: The model, or a Pyro program.
        data: A table of any kind (see `Table.from_any`), one row per unit. Columns are matched to
            the observed sites by name; others are left out, which ``fit_record.notes`` says. Text
            is encoded, and the categories are kept in ``scm.categories``.
        method: `SVIFit` (the default) or `NUTSFit`, with settings.
        missing: What to do with missing values: ``"refuse"`` raises, ``"drop"`` leaves incomplete
            rows out, ``"latent"`` infers them (sites without a column become latent too).
        seed: Seed of the fit; the same seed gives the same tensors.
        progress: Show a progress bar; None: at a terminal or in a notebook.

    Returns:
        A new model, with ``parameters``, ``learned`` (for ``pyro.param`` statements) and
        ``fit_record``. Numbers have the dtype and the device of the data.

    Raises:
        DataError: The data do not fit the program; the message names the column.
        ProgramError: There is nothing to fit, or a latent cannot be handled.
        FitError: The optimiser met numbers that are not finite.

    Warns:
        ConvergenceWarning: The guide does not match the posterior (k-hat above 0.7, unless the
            importance efficiency is above 95 %), the fit was still moving, or chains disagree.

    References:
        Kucukelbir et al. (2017), Automatic differentiation variational inference.

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> def program(n):
        ...     mean = pyro.sample("mean", dist.Normal(0.0, 10.0))
        ...     with pyro.plate("units", n):
        ...         return pyro.sample("Y", dist.Normal(mean, 1.0))
        >>> fitted = fit(program, {"Y": torch.tensor([1.0, 2.0, 3.0, 2.0])}, seed=0)
        >>> round(float(fitted.parameters["mean"].mean()), 1)
        2.0
    """
    if not callable(scm) and not isinstance(scm, SCM):
        raise ProgramError(
            f"the model is {told(scm)}; expected an SCM or a Pyro program, first: fit(scm, data)"
        )
    model = scm if isinstance(scm, SCM) else SCM(scm)
    way = SVIFit() if method is None else method
    check_kind(way, FitMethod, "method", "SVIFit(...) or NUTSFit(...)")
    _check_there_is_something(model)
    read = read_training_data(model, data, missing)
    with forked_rng(seed) as used, pyro.get_param_store().scope(), defaults_of(read):
        density = LogDensity(model, read, way.batch_size)
        if density.num_shared + density.num_local == 0 and not model.structure.learnable:
            raise ProgramError(_nothing())
        with restored_params():
            fitted = way.run(FitTask(model, read, density, is_shown(progress)))
    record = FitRecord(
        method=way,
        num_rows=read.num_rows,
        seed=used,
        elbo=fitted.elbo,
        diagnostics=fitted.diagnostics,
        notes=(*read.notes, *fitted.notes),
        data=read,
    )
    draws = {name: value.detach() for name, value in fitted.draws.items()}
    _warn_of_points(model, draws)
    result = model.with_parameters(draws, learned=fitted.learned, record=record)
    result.categories = dict(read.categories)
    return result


def _warn_of_points(scm: SCM, draws: Mapping[str, torch.Tensor]) -> None:
    """Say so where a guide (AutoDelta, say) gave a point instead of a posterior."""
    sites = scm.structure.sites
    points = [
        name
        for name, value in draws.items()
        if sites[name].kind == "sample" and value.is_floating_point()
        # a single draw is a point too
        if bool((value == value[:1]).all())
    ]
    if points:
        warn(
            f"all draws of {', '.join(points)} are equal, so answers will show no uncertainty "
            "about them; use a guide that is not a point, and more than one draw"
        )


def _check_there_is_something(scm: SCM) -> None:
    structure = scm.structure
    free = [
        name
        for name in structure.parameters
        if structure.sites[name].kind == "sample" and not structure.sites[name].is_observed
    ]
    if not free and not structure.learnable:
        raise ProgramError(_nothing())


def _nothing() -> str:
    return (
        "there is nothing to fit: the program has no parameter, that is no sample site outside the "
        'plate "units", and no pyro.param statement; write the program as a function of n that '
        'draws its parameters before pyro.plate("units", n)'
    )
