"""Runs of a program in which each unit draws from a random stream of its own."""

from collections.abc import Iterable
from typing import Any

import torch
from pyro.distributions import Bernoulli, Categorical
from pyro.poutine.messenger import Messenger
from torch import Tensor

from causalppl.envs.streams import Stream
from causalppl.exceptions import ProgramError
from causalppl.programs import SCM
from causalppl.programs.do import NATURAL
from causalppl.programs.structure import UNITS
from causalppl.programs.targets import prototype

__all__ = ["OwnChance", "can_invert", "inverted"]

_TINY = 2.0**-54  # 1 - 2 * _TINY is the largest float below 1


class OwnChance(Messenger):
    """Draw sites by inversion of their distribution functions, one uniform for each unit and site.

    Args:
        names: The sample sites of the program.
        stream: Where the uniforms come from.
    """

    def __init__(self, names: Iterable[str], stream: Stream) -> None:
        super().__init__()
        self._names, self._stream = frozenset(names), stream

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"].removesuffix(NATURAL) not in self._names:
            return
        if not msg["is_observed"] and msg["value"] is None:
            msg["value"] = inverted(msg["fn"], torch.from_numpy(self._stream.uniforms().copy()))


def inverted(law: Any, uniforms: Tensor) -> Tensor:
    """Turn uniforms into draws from a law.

    Args:
        law: A law of one number for each unit.
        uniforms: Shape ``(units,)``, in [0, 1).

    Raises:
        ProgramError: The distribution function of the law cannot be inverted.
    """
    if isinstance(law, Bernoulli):
        probs = law.probs
        return (uniforms < probs).to(probs.dtype)
    if isinstance(law, Categorical):
        edges = law.probs.double().cumsum(-1)[..., :-1]
        return (uniforms.unsqueeze(-1) >= edges).sum(-1)
    like = prototype(law)
    try:
        value: Tensor = law.icdf(uniforms.clamp(_TINY, 1 - 2 * _TINY))
    except (NotImplementedError, AttributeError):
        raise ProgramError(
            f"the distribution function of {type(law).__name__} cannot be inverted"
        ) from None
    return value if like is None else value.to(like.dtype)


def can_invert(scm: SCM) -> bool:
    """Whether each unit of a program can draw from a stream of its own."""
    sites = scm.structure.sites
    for name, law in scm.laws.items():
        if sites[name].plates != (UNITS,) or sites[name].event_shape or sites[name].is_observed:
            return False
        try:
            inverted(law, torch.full(law.batch_shape, 0.5, dtype=torch.float64))
        except ProgramError:
            return False
    return True
