"""What can be done to a site: one function, `intervened_value`, dispatched on the type.

=====================  =====================================================================
number or tensor       the site is set to it (a tensor may hold one value per unit)
a distribution         the site is drawn from it, independently of everything else
a callable (policy)    called by argument name: ``natural`` for the value the site would have
                       had, any other name for the value of that site
`Shift`                the natural value plus a constant
`World`                the value that the site has in another world (in `twin_worlds` only)
=====================  =====================================================================

Another type is added with ``intervened_value.register(Type)``.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import numpy as np
import torch
from torch.distributions import Distribution

from causalppl.exceptions import DataError, ProgramError
from causalppl.given import told
from causalppl.shapes import broadcast_shapes


@dataclass(frozen=True)
class Shift:
    """Move a site from its natural value by an amount.

    Attributes:
        by: What is added to the natural value: a number, or a tensor with one per unit.

    Example:
        >>> from causalppl import do
        >>> half_dose_less = do(program, {"dose": Shift(-0.5)})  # doctest: +SKIP
    """

    by: float | torch.Tensor


@dataclass(frozen=True)
class World:
    """Set a site to the value that it has in another world.

    Attributes:
        name: A world of the same question; ``""`` is the factual one.

    Example:
        >>> worlds = {"x0": {"X": 0.0}, "direct": {"X": 1.0, "M": World("x0")}}
    """

    name: str


@dataclass(frozen=True)
class Target:
    """The site that an intervention acts on, as the intervention sees it.

    Attributes:
        name: The site's name.
        shape: Full shape of its value, ``(*batch, *event)``.
        event_dim: Number of event dimensions in it.
        like: A tensor with the dtype and device the value must have; None leaves them open.
        natural: Gives the value the site would have had (sampled only when called).
        value_of: Gives the value of an earlier site by name.
        num_codes: Number of categories, where the site is a Categorical.
    """

    name: str
    shape: torch.Size
    event_dim: int
    like: torch.Tensor | None
    natural: Callable[[], torch.Tensor]
    value_of: Callable[[str], torch.Tensor]
    num_codes: int | None = None


@singledispatch
def intervened_value(intervention: Any, target: Target) -> torch.Tensor | Distribution:
    """Return the value, or the law of the value, that an intervention gives to a site.

    Args:
        intervention: A value of one of the types in the module's table.
        target: The site.

    Returns:
        A tensor that broadcasts to ``target.shape``, or a distribution of that shape.

    Raises:
        DataError: The value has the wrong shape, is NaN, or is of a type not known.
        ProgramError: A policy asks for a site that has not run yet.

    Example:
        >>> nothing = torch.zeros(2)
        >>> target = Target("X", nothing.shape, 0, nothing, lambda: nothing, lambda name: nothing)
        >>> intervened_value(Shift(1.5), target)
        tensor([1.5000, 1.5000])
    """
    if callable(intervention):
        return _run_policy(intervention, target)
    raise DataError(
        f"the intervention on {target.name!r} is of type {type(intervention).__name__}; expected a "
        "number, a tensor, a distribution, a callable, Shift or World; register other types with "
        "intervened_value.register"
    )


@intervened_value.register(bool)
@intervened_value.register(int)
@intervened_value.register(float)
@intervened_value.register(np.generic)
def _number(intervention: Any, target: Target) -> torch.Tensor:
    if (
        not math.isfinite(intervention)
        or target.like is None
        or not target.like.is_floating_point()
    ):
        return checked_value(torch.as_tensor(intervention), target)
    # the common case: nothing about it can be wrong
    return torch.full((), float(intervention), dtype=target.like.dtype, device=target.like.device)


@intervened_value.register(torch.Tensor)
@intervened_value.register(np.ndarray)
def _tensor(intervention: Any, target: Target) -> torch.Tensor:
    return checked_value(torch.as_tensor(intervention), target)


@intervened_value.register(str)
def _category(intervention: str, target: Target) -> torch.Tensor:
    raise DataError(
        f"the intervention on {target.name!r} is the text {intervention!r}; the program works with "
        "codes; give the code, or declare the names with SCM(..., categories=...)"
    )


@intervened_value.register(Distribution)
def _distribution(intervention: Any, target: Target) -> Distribution:
    event = target.shape[len(target.shape) - target.event_dim :]
    if intervention.event_shape != event:
        raise DataError(
            f"the distribution given to {target.name!r} has event shape "
            f"{tuple(intervention.event_shape)}, but the site's is {tuple(event)}; use to_event, "
            "or one distribution per unit in its batch shape"
        )
    try:
        return intervention.expand(target.shape[: len(target.shape) - target.event_dim])
    except RuntimeError as error:
        raise DataError(
            f"the distribution given to {target.name!r} has batch shape "
            f"{tuple(intervention.batch_shape)}, which does not broadcast to the site's shape "
            f"{tuple(target.shape)}"
        ) from error


@intervened_value.register(Shift)
def _shift(intervention: Shift, target: Target) -> torch.Tensor:
    natural = target.natural()
    by = torch.as_tensor(intervention.by, device=natural.device)
    return checked_value(natural + by, target)


def checked_value(value: torch.Tensor, target: Target) -> torch.Tensor:
    """Check shape and finiteness of an intervention's value and give it the site's dtype."""
    if target.like is not None:
        value = _cast(value, target)
    try:
        fits = broadcast_shapes(value.shape, target.shape) == target.shape
    except RuntimeError:
        fits = False
    if not fits and target.shape != torch.Size():
        raise DataError(
            f"the intervention on {target.name!r} has shape {tuple(value.shape)}, which does not "
            f"broadcast to the site's shape {tuple(target.shape)}; give one value, or one per unit"
        )
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        what = "NaN" if bool(torch.isnan(value).any()) else "infinity"
        raise DataError(
            f"the intervention on {target.name!r} holds {what}; give a number for every unit"
        )
    codes = target.num_codes
    if codes is not None and bool(((value < 0) | (value >= codes)).any()):
        raise DataError(
            f"the intervention on {target.name!r} holds a code outside 0 to {codes - 1}; the site "
            f"has {codes} categories"
        )
    return value


def _cast(value: torch.Tensor, target: Target) -> torch.Tensor:
    assert target.like is not None
    cast = value.to(dtype=target.like.dtype, device=target.like.device)
    if value.is_floating_point() and not target.like.is_floating_point():
        if bool((cast.to(value.dtype) != value).any()):
            raise DataError(
                f"the intervention on {target.name!r} is not a whole number, but the site holds "
                f"{target.like.dtype}; give one of the values the site can take"
            )
    return cast


def policy_arguments(policy: Callable[..., Any]) -> tuple[str, ...]:
    """Return the argument names of a policy, in order.

    Example:
        >>> policy_arguments(lambda natural, Z: natural + Z)
        ('natural', 'Z')
    """
    return tuple(
        p.name
        for p in inspect.signature(policy).parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    )


def needs_natural(intervention: Any) -> bool:
    """Whether an intervention reads the natural value of its site."""
    if isinstance(intervention, Shift):
        return True
    return is_policy(intervention) and "natural" in policy_arguments(intervention)


def is_policy(intervention: Any) -> bool:
    """Whether an intervention is a function of other values."""
    return callable(intervention) and not isinstance(intervention, torch.Tensor | Distribution)


def _run_policy(policy: Callable[..., Any], target: Target) -> torch.Tensor | Distribution:
    arguments = [
        target.natural() if name == "natural" else target.value_of(name)
        for name in policy_arguments(policy)
    ]
    value = policy(*arguments)
    if isinstance(value, Distribution):
        return _distribution(value, target)
    if not isinstance(value, torch.Tensor | float | int | bool | np.generic | np.ndarray):
        raise ProgramError(
            f"the policy for {target.name!r} returned {type(value).__name__}; expected a tensor, a "
            "number or a distribution"
        )
    return checked_value(torch.as_tensor(value), target)


def on_units(
    intervention: Any,
    event_dim: int,
    num_units: int,
    change: Callable[[torch.Tensor], torch.Tensor],
) -> Any:
    """Change an intervention's values if it holds one per unit (repeat them, or pick some).

    Args:
        intervention: Any intervention.
        event_dim: Event dimensions of its site.
        num_units: Number of units.
        change: From values, ``(num_units, *event)``, to values for other units.
    """
    if isinstance(intervention, Shift):
        return Shift(on_units(intervention.by, event_dim, num_units, change))
    if isinstance(intervention, torch.Tensor) and intervention.dim() > event_dim:
        return change(intervention) if len(intervention) == num_units > 1 else intervention
    return intervention


Interventions = Mapping[str, Any]
"""Site name to intervention."""


def check_interventions(interventions: object) -> None:
    """Refuse what is no mapping, such as text."""
    if not isinstance(interventions, Mapping):
        raise DataError(
            f"the interventions are {told(interventions)}; expected a mapping from site to what it "
            'is set to, such as {"X": 1}'
        )
