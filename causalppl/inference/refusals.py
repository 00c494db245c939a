"""What no approximate engine can take."""

import pyro.distributions as dist

from causalppl.inference.engine import Problem


def find_refusal(problem: Problem, *, is_enumerating: bool = True) -> str | None:
    """Say why no approximate engine can take the problem; None if one can.

    Args:
        problem: What is asked.
        is_enumerating: The engine sums out discrete latents, which must then be finite.
    """
    structure = problem.scm.structure
    for key in problem.evidence:
        name, _ = problem.split(key)
        site = structure.sites[name]
        if site.kind == "deterministic":
            return (
                f"the evidence {key!r} sits on a deterministic site, whose density is not "
                f"spread out; observe a parent of it ({', '.join(site.parents) or 'it has none'}), "
                f"or write {name!r} as a Normal with a small scale"
            )
    if is_enumerating:
        return _find_infinite(problem)
    return None


def other_engines(problem: Problem, advice: str) -> str:
    """Return advice for evidence that is too rare, led by the engines that could take it."""
    if find_refusal(problem) is not None:
        return advice
    return f"use Variational or NUTS, or {advice}"


def _find_infinite(problem: Problem) -> str | None:
    sites = problem.scm.structure.sites
    for name in _latent_names(problem):
        family = getattr(dist, sites[name].family, None)
        if not sites[name].is_discrete:
            continue
        if family is not None and not getattr(family, "has_enumerate_support", True):
            return (
                f"the discrete latent {name!r} ({sites[name].family}) has infinitely many values "
                "and cannot be summed out; use Importance, or a law with finite support"
            )
        if not sites[name].is_unit:
            return (
                f"the parameter {name!r} is discrete, has no draws, and ties all units together; "
                "fit the model first, or use Importance"
            )
    return None


def _latent_names(problem: Problem) -> tuple[str, ...]:
    """Return the sample sites that the evidence leaves open, by the structure alone."""
    structure = problem.scm.structure
    split = [problem.split(key) for key in problem.evidence]
    ancestors = structure.ancestors({name for name, _ in split})
    factual = {name for name, world in split if not world}
    return tuple(
        name
        for name, site in structure.sites.items()
        if name in ancestors
        and site.kind == "sample"
        and (site.is_unit or name in problem.free_parameters)
        and name not in factual
    )
