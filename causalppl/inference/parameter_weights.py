"""Draws of fitted parameters, weighted by what a new unit's evidence tells of them."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from causalppl.exceptions import CausalPPLError, ConvergenceWarning
from causalppl.inference.amortised_inputs import relevant_parameters
from causalppl.inference.diagnostics import psis
from causalppl.inference.engine import Problem
from causalppl.inference.evidence import Evidence
from causalppl.inference.khat import KHAT_LIMIT, LEAST_DRAWS, khat_of
from causalppl.inference.progress import counter
from causalppl.inference.question import Question
from causalppl.inference.training_data import TrainingData
from causalppl.inference.unit_likelihood import unit_likelihood
from causalppl.seeding import forked_rng
from causalppl.user_warning import warn_user

_FEW = 10  # new units that update the draws unasked
_SAME = 1e-6  # relative difference of a training row's value: rounding
_KEPT = "the parameters' draws were not updated by this evidence"


@dataclass(frozen=True)
class ParameterWeights:
    """Weights of the parameter draws.

    Attributes:
        log_weights: Normalised, shape ``(parameter draws,)``; None where all count the same.
        diagnostics: ``parameter_khat`` and ``parameter_ess``.
        notes: What was done, for the reader.
    """

    log_weights: Tensor | None = None
    diagnostics: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def weigh_parameters(
    question: Question,
    read: Evidence,
    update: bool | None,
    *,
    is_unit: bool,
    seed: int,
    progress: bool = False,
) -> ParameterWeights:
    """Weigh parameter draws by the likelihood of the units that were not fitted to.

    The draws come from the posterior given the data; with weights ``p(evidence | draw)`` they
    stand for the posterior given data and evidence together. The likelihood is exact where the
    unobserved sites are finite, or linear and normal, or where there are none; elsewhere it is
    estimated by importance sampling from a Laplace approximation, which is judged by its k-hat; a
    mode of the unit's posterior that it misses goes unseen.

    Args:
        question: What is asked, of a model with draws of its parameters.
        read: The evidence.
        update: Whether to, whatever the units are; None: for up to ten units that were not fitted
            to, if ``is_unit``.
        is_unit: The evidence is that of units, not the definition of a group.
        seed: Seed of the estimate.
        progress: Count runs of the program where they take more than two seconds.

    Warns:
        ConvergenceWarning: The weights' k-hat is above 0.7: the evidence moves the posterior too
            far for these draws. Or ``update`` was asked for and could not be done.

    References:
        Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance sampling.
    """
    scm = question.scm
    bases = {key if key in scm.structure.sites else key.rpartition("@")[0] for key in read.values}
    if not relevant_parameters(scm, bases):
        return ParameterWeights()
    if update is False:
        return ParameterWeights(notes=(_KEPT,))
    is_new = torch.ones(read.num_units, dtype=torch.bool)
    if not update:
        is_new = ~_is_fitted_to(question, read)
    count = int(is_new.sum())
    if reason := _find_reason(question, update, is_unit, count):
        return ParameterWeights(notes=(f"{_KEPT}: {reason}",))
    try:
        with (
            forked_rng(seed),
            counter("weighing the parameters' draws", "runs", progress=progress) as bar,
        ):
            found = _log_likelihoods(question, read, is_new, bar.update)
    except CausalPPLError as error:  # the engine that answers says it where it matters
        found = f"{type(error).__name__}: {error}"
    if isinstance(found, str):
        note = f"{_KEPT}: their likelihood could not be had ({found})"
        if update:
            warn_user(note, ConvergenceWarning)
        return ParameterWeights(notes=(note,))
    return _smoothed(found, count, len(is_new))


def _find_reason(question: Question, update: bool | None, is_unit: bool, count: int) -> str | None:
    if count == 0:
        return "its units are rows that the model was fitted to"
    if update:
        return None
    if not is_unit:
        return "it defines a group, not a unit (update_parameters=True takes it as a unit's)"
    if any(site.is_observed for site in question.scm.structure.sites.values()):
        return "some of it stands in the program itself"
    draws = max(len(value) for value in question.scm.parameters.values())
    if draws < LEAST_DRAWS:
        return f"{draws} draws are too few to be weighted"
    if count > _FEW:
        return f"{count} units are many; fit them too, or ask with update_parameters=True"
    return None


def _is_fitted_to(question: Question, read: Evidence) -> Tensor:
    """Which units are rows of the data: all columns given and equal, a continuous one among them.

    A unit with less than a whole row, or with more than the data have, is taken as a new one.
    """
    data = getattr(question.scm.fit_record, "data", None)
    fitted = torch.zeros(read.num_units, dtype=torch.bool)
    if not isinstance(data, TrainingData) or read.num_units * data.num_rows > 200_000_000:
        return fitted
    keys = list(data.values)
    if set(read.values) != set(keys):
        return fitted
    for unit in range(read.num_units):
        rows = torch.ones(data.num_rows, dtype=torch.bool, device=data.device)
        is_telling = False
        for key in keys:
            if key in read.missing and bool(read.missing[key][unit]):
                rows &= data.gaps[key] if key in data.gaps else False
                continue
            seen, known = read.values[key][unit], data.values[key]
            same = torch.isclose(known.double(), seen.double().to(known.device), _SAME, _SAME)
            rows &= same.flatten(1).all(1) if same.dim() > 1 else same
            if key in data.gaps:
                rows &= ~data.gaps[key]
            is_telling |= not question.scm.structure.sites[key].is_discrete
        fitted[unit] = is_telling and bool(rows.any())
    return fitted


def _log_likelihoods(
    question: Question, read: Evidence, is_new: Tensor, advance: Callable[[int], object]
) -> Tensor | str:
    """Sum of the new units' log likelihoods, shape ``(parameter draws,)``, or why there is none."""
    draws = max(len(value) for value in question.scm.parameters.values())
    total = torch.zeros(draws, dtype=torch.double)
    for units, values in read.patterns():
        chosen = torch.arange(read.num_units) if units is None else units.cpu()
        kept = is_new[chosen].nonzero().squeeze(1)
        if not len(kept) or not values:
            continue
        evidence = {key: value[kept.to(value.device)] for key, value in values.items()}
        worlds = {w: question.of_units(w, chosen[kept], read.num_units) for w in question.worlds}
        problem = Problem(question.scm, len(kept), worlds, evidence, ())
        found = unit_likelihood(problem, advance)
        if isinstance(found, str):
            return found
        total = total + found.log.sum(1)
    return total


def _smoothed(log_likelihoods: Tensor, count: int, num_units: int) -> ParameterWeights:
    ratios = log_likelihoods.double().nan_to_num(nan=-torch.inf, neginf=-torch.inf).cpu()
    if not bool(torch.isfinite(ratios).any()):
        return ParameterWeights(notes=(f"{_KEPT}: none of them makes it possible",))
    smooth, _ = psis(ratios.numpy())
    khat = float(khat_of(ratios.reshape(1, -1, 1))[0])
    weights = torch.as_tensor(smooth)
    ess = float(1 / weights.exp().square().sum())
    if khat > KHAT_LIMIT:
        warn_user(
            f"weighing the parameters' draws by the evidence has k-hat {khat:.2f}, above "
            f"{KHAT_LIMIT}: it moves them too far; fit these units with the data, or give "
            "update_parameters=False",
            ConvergenceWarning,
        )
    note = (
        f"the parameters' draws were weighted by the evidence of {count} of {num_units} units, "
        f"which the model was not fitted to (k-hat {khat:.2f}, effective draws {ess:.0f} of "
        f"{len(weights)})"
    )
    return ParameterWeights(weights, {"parameter_khat": khat, "parameter_ess": ess}, (note,))
