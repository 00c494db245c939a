"""Discrete latents that are summed out together, one tensor dimension each."""

from typing import Any

from pyro.poutine.messenger import Messenger

from causalppl.exceptions import ProgramError
from causalppl.inference.evidence_program import EvidenceProgram
from causalppl.programs.wrappers import unwrap

_MOST = 20  # each takes a tensor dimension


class Enumerated(Messenger):
    """Mark discrete latents for enumeration in parallel."""

    def __init__(self, names: frozenset[str]) -> None:
        super().__init__()
        self._names = names

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self._names:
            msg["infer"]["enumerate"] = "parallel"


def check_enumerable(program: EvidenceProgram) -> None:
    """Check that the discrete latents of a program can be summed out.

    Raises:
        ProgramError: They are too many, one has infinitely many values, or what values another
            latent can take depends on them.
    """
    discrete = [site for site in program.sites if site.is_unit and site.is_discrete]
    if len(discrete) > _MOST:
        raise ProgramError(
            f"{len(discrete)} discrete latents would be summed out at once; at most {_MOST} can "
            "be; use the Enumeration engine, or Importance"
        )
    split, structure = program.problem.split, program.structure
    below = frozenset[str]().union(
        *(structure.descendants(split(site.name)[0]) for site in discrete)
    )
    for site in program.sites:
        is_free = site.is_unit and not site.is_discrete and not site.is_static
        if is_free and split(site.name)[0] in below:
            raise ProgramError(
                f"the values that {site.name!r} can take may depend on a discrete latent "
                f"({', '.join(s.name for s in discrete)}), so that this cannot be summed "
                "out; use Importance, or write the site as a bounded one times its width"
            )
    for site in discrete:
        if not site.law.has_enumerate_support:
            raise ProgramError(
                f"the discrete latent {site.name!r} has infinitely many values "
                f"({type(unwrap(site.law).base).__name__}), so it cannot be summed out; use "
                "Importance, or a law with finite support"
            )
