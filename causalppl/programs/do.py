"""``do`` as an effect handler: a site takes the value it is given, whatever its mechanism says."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, overload

import pyro
import torch
from pyro.poutine.condition_messenger import ConditionMessenger
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import _PYRO_STACK, apply_stack
from torch.distributions import Distribution

from causalppl.exceptions import DataError, ProgramError
from causalppl.programs.interventions import (
    Interventions,
    World,
    check_interventions,
    intervened_value,
    is_policy,
    needs_natural,
)
from causalppl.programs.point import point_law
from causalppl.programs.structure import is_delta
from causalppl.programs.targets import earlier, prototype, site_target
from causalppl.programs.wrappers import is_wrapper
from causalppl.spelling import spelling
from causalppl.typing import Program

NATURAL = "@natural"
_INTERVENED: Any = {"_intervened": True}


@overload
def do(
    program: Program, interventions: Interventions, *, keep_natural: bool = False
) -> Program: ...
@overload
def do(
    program: Interventions, interventions: None = None, *, keep_natural: bool = False
) -> "DoMessenger": ...
def do(program: Any, interventions: Any = None, *, keep_natural: bool = False) -> Any:
    """Intervene on a program (Pearl's do-operator; soft interventions included).

    Used as a function ``do(program, {"X": 1.0})``, as a decorator ``@do({"X": 1.0})`` or as a
    context ``with do({"X": 1.0}): program()``.

    Args:
        program: A Pyro program or an `SCM`; left out in the decorator and context forms.
        interventions: Site name to number, tensor (one value per unit), distribution, policy or
            `Shift`; see `causalppl.programs.interventions`.
        keep_natural: Also run each site's own mechanism and record it as ``X@natural``, the value
            the site would have had (its *intent*).

    Returns:
        A program (or SCM) in which each named site reports the value it was set to. Evidence on
        such a site speaks of its natural value, in whichever order ``do`` and ``pyro.condition``
        are applied.

    Raises:
        ProgramError: When run, if a named site does not occur; the message lists the sites.
        DataError: When run, if a value has the wrong shape or holds NaN.

    References:
        Pearl (2009), Causality, section 3.2; Correa and Bareinboim (2020) for policies.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def program():
        ...     x = pyro.sample("X", dist.Normal(0.0, 1.0))
        ...     return pyro.sample("Y", dist.Normal(2 * x, 1e-6))
        >>> round(float(do(program, {"X": 5.0})()))
        10
    """
    if interventions is None:
        return DoMessenger(program, keep_natural=keep_natural)
    if hasattr(program, "intervened"):  # an SCM
        return program.intervened(interventions)
    return DoMessenger(interventions, keep_natural=keep_natural)(program)


class DoMessenger(Messenger):
    """The handler behind `do`."""

    def __init__(self, interventions: Interventions, *, keep_natural: bool = False) -> None:
        super().__init__()
        check_interventions(interventions)
        for name, intervention in interventions.items():
            if isinstance(intervention, World):
                raise DataError(
                    f"the intervention on {name!r} takes its value from another world, but do(...) "
                    "has one world only; use twin_worlds"
                )
        self.interventions = dict(interventions)
        self._keep_natural = keep_natural
        self._seen: list[str] = []
        # earlier values are kept only where a policy may ask for them
        self._values: dict[str, torch.Tensor] | None = (
            {} if any(is_policy(i) for i in interventions.values()) else None
        )

    def __enter__(self) -> Any:
        self._seen.clear()
        return super().__enter__()

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> Any:
        if exc_type is None:
            missing = [name for name in self.interventions if name not in self._seen]
            if missing:
                raise ProgramError(
                    f"do(...) names {', '.join(map(repr, missing))}, which the program does not "
                    f"have; its sites are {', '.join(self._seen)}{spelling(missing[0], self._seen)}"
                )
        return super().__exit__(exc_type, exc_value, traceback)

    def _pyro_sample(self, msg: Any) -> None:
        name = msg["name"]
        self._seen.append(name)
        if name in self.interventions and not msg["infer"].get("_intervened"):
            self._intervene(msg)

    def _pyro_post_sample(self, msg: Any) -> None:
        if self._values is not None:
            self._values[msg["name"]] = msg["value"]

    def _intervene(self, msg: Any) -> None:
        name, fn = msg["name"], msg["fn"]
        intervention = self.interventions[name]
        if type(intervention) in (int, float) and self._set_number(msg, intervention):
            return
        evidence = msg["value"] if msg["is_observed"] else pending_evidence(name)
        natural: list[torch.Tensor] = []

        def natural_value() -> torch.Tensor:
            if not natural:
                natural.append(_run_natural(msg, evidence))
            return natural[0]

        is_deterministic = is_delta(fn)
        has_evidence = evidence is not None and not is_deterministic
        if self._keep_natural or has_evidence or needs_natural(intervention):
            natural_value()
        shape = msg["value"].shape if is_deterministic else fn.shape()
        target = site_target(name, fn, shape, fn.event_dim, natural_value, self._value_of)
        value: Any = intervened_value(intervention, target)
        record: Any
        if isinstance(value, Distribution):
            record, value, is_set = value, None, False
        else:
            # a program of one unit may be given several values at once: they lead the shape
            value = value.expand(shape) if value.dim() <= len(shape) else value
            record, is_set = point_law(value, min(fn.event_dim, value.dim())), True
        if pending_evidence(name) is None:
            msg.update(fn=record, value=value, is_observed=is_set)
            return
        # evidence waits above: report the new value past it, and hide the original statement
        with _withheld_evidence(name):
            value = pyro.sample(name, record, obs=value, infer=_INTERVENED)
        msg.update(value=value, done=True, stop=True)

    def _set_number(self, msg: Any, number: float) -> bool:
        """Take the short way for a plain number on a plain continuous site, where it is one."""
        fn = msg["fn"]
        if self._keep_natural or msg["is_observed"] or is_wrapper(type(fn)) or is_delta(fn):
            return False
        like = prototype(fn)
        if like is None or not like.is_floating_point() or not math.isfinite(number):
            return False
        if pending_evidence(msg["name"]) is not None:
            return False
        value = torch.full((), number, dtype=like.dtype, device=like.device).expand(fn.shape())
        msg.update(fn=point_law(value, fn.event_dim), value=value, is_observed=True)
        return True

    def _value_of(self, name: str) -> torch.Tensor:
        assert self._values is not None
        return earlier(self._values, name)


def pending_evidence(name: str) -> torch.Tensor | None:
    """Return the value that an active ``pyro.condition`` holds for a site, if any."""
    for frame in reversed(_PYRO_STACK):
        if isinstance(frame, ConditionMessenger) and name in frame.data:
            data: Any = frame.data
            return data.nodes[name]["value"] if hasattr(data, "nodes") else data[name]
    return None


@contextmanager
def _withheld_evidence(name: str) -> Iterator[None]:
    """Hide a site's evidence from the program for the duration of a block."""
    frames = [
        frame
        for frame in _PYRO_STACK
        if isinstance(frame, ConditionMessenger) and name in frame.data
    ]
    kept = [frame.data for frame in frames]
    try:
        for frame in frames:
            data: Any = frame.data
            values = (
                {key: node["value"] for key, node in data.nodes.items() if "value" in node}
                if hasattr(data, "nodes")
                else data
            )
            frame.data = {key: value for key, value in values.items() if key != name}
        yield
    finally:
        for frame, data in zip(frames, kept, strict=True):
            frame.data = data


def _run_natural(msg: Any, evidence: torch.Tensor | None) -> torch.Tensor:
    natural = msg.copy()
    natural["name"] = msg["name"] + NATURAL
    natural["infer"] = dict(msg["infer"])
    natural["cond_indep_stack"] = ()
    if evidence is not None:
        natural.update(value=evidence, is_observed=True)
    apply_stack(natural)
    value: torch.Tensor = natural["value"]
    return value
