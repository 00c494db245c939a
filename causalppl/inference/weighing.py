"""Likelihood weighting as one forward run: evidence is put in, and its density is the weight."""

from dataclasses import replace

import torch
from tqdm.auto import tqdm

from causalppl.exceptions import ConvergenceWarning, ImpossibleEvidenceError
from causalppl.inference.closed_form import repeat_units, repeated
from causalppl.inference.diagnostics import psis
from causalppl.inference.engine import Answer, Problem
from causalppl.inference.khat import KHAT_LIMIT, capped
from causalppl.inference.refusals import other_engines
from causalppl.programs.simulate import simulate
from causalppl.user_warning import warn_user

_CHUNK = 4_000_000  # values in one run, per site and world
_KEPT = 20_000_000  # draws of a target that are held at once
_LEAST = 100  # draws, however many units there are


def can_weigh(problem: Problem) -> bool:
    """Whether all evidence is on factual sample sites, and no parameter is left open."""
    sites = problem.scm.structure.sites
    return not problem.free_parameters and all(
        key in sites and sites[key].kind == "sample" for key in problem.evidence
    )


def weigh(problem: Problem, samples: int, *, progress: bool = False) -> Answer:
    """Draw every latent from its prior given its parents, and weigh by the evidence.

    The draws of a unit lie side by side with the units, so that this works for every program that
    runs for any number of units. Random; fork the generator around it.

    Args:
        problem: What is asked; see `can_weigh`.
        samples: Draws for each unit and parameter draw; fewer where they would not fit in memory,
            which is said in the notes.
        progress: Show a progress bar.

    Raises:
        ImpossibleEvidenceError: No draw gives some unit's evidence a positive density.

    Warns:
        ConvergenceWarning: k-hat is above 0.7 for some units.
    """
    wide = problem.num_units * problem.num_parameter_draws
    asked = max(samples, _LEAST)
    samples = min(asked, max(_KEPT // wide, _LEAST))
    at_once = max(1, min(samples, _CHUNK // (wide * (len(problem.worlds) + 1))))
    keys = tuple(dict.fromkeys((*problem.targets, *(event.key for event in problem.events))))
    seen = tuple(problem.evidence)
    draws: dict[str, list[torch.Tensor]] = {key: [] for key in keys}
    weights: list[torch.Tensor] = []
    steps = range(0, samples, at_once)
    for start in tqdm(steps, disable=not progress or len(steps) < 2, desc="weighing"):
        repeats = min(at_once, samples - start)
        run = simulate(
            problem.scm,
            problem.num_units * repeats,
            keys,
            worlds={world: repeated(problem, world, repeats) for world in problem.worlds},
            given={name: repeat_units(value, repeats) for name, value in problem.evidence.items()},
            densities=seen,
        )
        shape = (problem.num_parameter_draws, repeats, problem.num_units)
        total = sum(run.log_densities.values(), torch.zeros(()))
        weights.append(torch.as_tensor(total).double().expand(shape[0], -1).reshape(shape))
        for key in keys:
            value = run[key]
            draws[key].append(value.reshape(*shape, *value.shape[2:]))
    joined = {key: torch.cat(values, 1) for key, values in draws.items()}
    answer = _smoothed(joined, torch.cat(weights, 1), problem, can_have_more=samples == asked)
    if samples == asked:
        return answer
    note = (
        f"each unit was weighed with {samples:,} draws and not {asked:,}, to bound memory; ask "
        "for fewer units at once to have more"
    )
    return replace(answer, notes=(*answer.notes, note))


def _smoothed(
    draws: dict[str, torch.Tensor],
    log_weights: torch.Tensor,
    problem: Problem,
    *,
    can_have_more: bool,
) -> Answer:
    more = "raise num_samples" if can_have_more else "ask for fewer units at once"
    advice = other_engines(problem, f"{more}, or give Importance a guide")
    log_weights = log_weights.nan_to_num(nan=-torch.inf, neginf=-torch.inf)
    dead = (log_weights.amax(1) == -torch.inf).any(0)
    if bool(dead.any()):
        raise ImpossibleEvidenceError(
            f"none of {log_weights.shape[1]} draws of the latents gives the evidence of "
            f"{int(dead.sum())} of {len(dead)} units a positive density; check its values, "
            + advice
        )
    smoothed, khat = psis(log_weights.movedim(1, 0).cpu().numpy())
    smooth = torch.as_tensor(smoothed, device=log_weights.device).movedim(0, 1)
    found = torch.as_tensor(khat).reshape(log_weights.shape[0], -1)
    worst = capped(found, log_weights).amax(0)
    effective = 1 / torch.softmax(smooth, 1).square().sum(1).amin(0)
    unreliable = int((worst > KHAT_LIMIT).sum())
    if unreliable:
        warn_user(
            f"the weights of {unreliable} of {len(worst)} units have k-hat above {KHAT_LIMIT} "
            f"(largest {float(worst.max()):.2f}): their evidence is too rare for weighing; "
            + advice,
            ConvergenceWarning,
        )
    diagnostics = {"khat": worst.tolist(), "ess": effective.tolist()}
    return Answer(draws=draws, log_weights=smooth, diagnostics=diagnostics)
