"""Couplings: how a site's value comes from noise that all worlds share.

A program says ``Y ~ D(parents)``. That fixes the law of ``Y`` in each world, not how the worlds
hang together. A :class:`Coupling` adds this: ``value = push(noise, D(parents))``, with noise
whose law is free of the parents, so that one draw of it serves every world. This file holds the
contract and the registry; the implementations are in ``coupling_continuous.py`` and
``coupling_discrete.py``; ``structural.py`` fills the registry.

References:
    Pearl (2009), Causality, section 7.1 (abduction, action, prediction).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from causalppl.exceptions import ImpossibleEvidenceError, ProgramError
from causalppl.programs.wrappers import is_wrapper, unwrap
from causalppl.shapes import broadcast_shapes


class Coupling(ABC):
    """How a value comes from noise: ``value = push(noise, fn)``.

    ``fn`` is a distribution evaluated at the parents, with any batch shape; a left ``world`` axis
    of ``fn`` broadcasts against noise that lacks it. Implementations are frozen and stateless.
    To write one, subclass and define the methods whose name starts with an underscore: they see
    the family freed of its wrappers, whose right-most batch axes may be event axes of the site.

    Attributes:
        name: The coupling's name in tables and results.
        abduction: One phrase: what is known of the noise once the value is.
        is_deterministic: True if the value and ``fn`` fix the noise.
        is_chained: True if `conditional_law_many` takes any number of known worlds.

    References:
        Pearl (2009), Causality, section 7.1, for abduction, action and prediction.

    Example:
        >>> import pyro.distributions as dist
        >>> coupling = coupling_for(dist.Normal(0.0, 1.0))
        >>> coupling.push(coupling.abduct(torch.tensor(3.0), dist.Normal(2.0, 1.0)),
        ...               dist.Normal(0.0, 1.0))
        tensor(1.)
    """

    name: ClassVar[str]
    abduction: ClassVar[str] = "exact, deterministic"
    is_deterministic: ClassVar[bool] = True
    is_chained: ClassVar[bool] = False

    # -- for callers ----------------------------------------------------------------------------

    def noise_event_shape(self, fn: Any) -> torch.Size:
        """The shape of the noise of one event of ``fn``."""
        base, batch, n = unwrap(fn)
        return batch[len(batch) - n :] + self._noise_event_shape(base)

    def noise_law(self, fn: Any) -> Any:
        """The prior law of the noise of one unit, batch shape ``()``; free of the parents.

        Returns:
            A Pyro distribution with event shape ``noise_event_shape(fn)``.
        """
        base, batch, n = unwrap(fn)
        law = self._noise_law(base)
        return law.expand(batch[len(batch) - n :]).to_event(n) if n else law

    def sample_noise(self, fn: Any, shape: Sequence[int] = ()) -> Tensor:
        """Draw noise from its prior.

        Args:
            fn: The site's distribution, for family, event shape, dtype and device.
            shape: Batch shape to draw.

        Returns:
            Noise, shape ``(*shape, *noise_event_shape(fn))``.
        """
        base, batch, n = unwrap(fn)
        return self._sample_noise(base, torch.Size(shape) + batch[len(batch) - n :])

    def push(self, noise: Tensor, fn: Any) -> Tensor:
        """The value that the noise gives under ``fn``.

        Args:
            noise: Shape ``(*batch, *noise_event_shape(fn))``; broadcasts against ``fn``.
            fn: The site's distribution at its parents.

        Returns:
            Shape ``(*broadcast(batch, fn.batch_shape), *fn.event_shape)``.
        """
        base, batch, _ = unwrap(fn)
        value = self._push(noise, base)
        if base is not fn and batch != base.batch_shape:
            value = value.expand(broadcast_shapes(value.shape, batch + base.event_shape))
        return value

    def abduct(self, value: Tensor, fn: Any) -> Tensor:
        """The noise behind a value; one draw of its exact posterior where it is not unique.

        Draws come from torch's global generator; callers fork it.

        Raises:
            ImpossibleEvidenceError: ``fn`` gives the value no probability.
        """
        base, batch, _ = unwrap(fn)
        if base is not fn and batch != base.batch_shape and not self.is_deterministic:
            value = value.expand(broadcast_shapes(value.shape, batch + base.event_shape))
        return self._abduct(value, base)

    def transport(self, value: Tensor, source_fn: Any, target_fn: Any) -> Tensor:
        """The value in the target world, given the value in the source world.

        A draw where abduction is one. Equals ``value`` when the two laws are equal.

        Args:
            value: The value in the source world.
            source_fn: The site's distribution at its parents in the source world.
            target_fn: The same in the target world(s); may have further left axes.

        Raises:
            ImpossibleEvidenceError: ``source_fn`` gives the value no probability.
        """
        if is_wrapper(type(source_fn)) or is_wrapper(type(target_fn)):
            source, source_batch, _ = unwrap(source_fn)
            target, batch, _ = unwrap(target_fn)
            if not self.is_deterministic:
                shape = source_batch + source.event_shape
                value = value.expand(broadcast_shapes(value.shape, shape))
            moved = self._transport(value, source, target)
            if batch != target.batch_shape:
                shape = broadcast_shapes(moved.shape, batch + target.event_shape)
                moved = moved.expand(shape)
            return moved
        return self._transport(value, source_fn, target_fn)

    def conditional_law(self, value: Tensor, source_fn: Any, target_fn: Any) -> Any:
        """``P(Y' = . | Y = value)`` for two worlds, exactly.

        Returns:
            A Pyro distribution over the support of ``target_fn``.

        Raises:
            ProgramError: The coupling is deterministic: use :meth:`transport`.
            ImpossibleEvidenceError: ``source_fn`` gives the value no probability.
        """
        return self.conditional_law_many([value], [source_fn], target_fn)

    def conditional_law_many(
        self, values: Sequence[Tensor], fns: Sequence[Any], target_fn: Any
    ) -> Any:
        """``P(Y' = . | Y_1 = value_1, Y_2 = value_2, ...)`` for any number of known worlds.

        Raises:
            ProgramError: The coupling has no such law in closed form.
            ImpossibleEvidenceError: The values have probability zero together.
        """
        base, batch, n = unwrap(target_fn)
        if not values or len(values) != len(fns):
            raise ProgramError(
                f"found {len(values)} values and {len(fns)} distributions of known worlds; "
                "expected as many of the one as of the other, at least one"
            )
        law = self._conditional_law(list(values), [unwrap(fn).base for fn in fns], base)
        if batch != law.batch_shape:
            law = law.expand(broadcast_shapes(law.batch_shape, batch))
        return law.to_event(n) if n else law

    def posterior_noise(self, value: Tensor, fn: Any) -> Any:
        """The law of the noise given the value, with an explicit density.

        Raises:
            ProgramError: The coupling is deterministic: the noise is ``abduct(value, fn)``.
            ImpossibleEvidenceError: ``fn`` gives the value no probability.
        """
        base, batch, n = unwrap(fn)
        if base is not fn:
            value = value.expand(broadcast_shapes(value.shape, batch + base.event_shape))
        law = self._posterior_noise(value, base)
        return law.to_event(n) if n else law

    def for_family(self, fn: Any) -> "Coupling":
        """The coupling to use for ``fn`` when the user chose this one.

        Raises:
            ProgramError: This coupling cannot serve the family.
        """
        return self

    # -- for implementations --------------------------------------------------------------------

    @abstractmethod
    def _noise_law(self, base: Any) -> Any:
        """The noise's prior, batch shape ``()``, dtype and device of ``base``."""

    @abstractmethod
    def _push(self, noise: Tensor, base: Any) -> Tensor:
        """The value that the noise gives."""

    @abstractmethod
    def _abduct(self, value: Tensor, base: Any) -> Tensor:
        """The noise that gives the value, or a draw of its posterior."""

    def _noise_event_shape(self, base: Any) -> torch.Size:
        return torch.Size(base.event_shape)

    def _sample_noise(self, base: Any, shape: torch.Size) -> Tensor:
        with torch.no_grad():
            draw: Tensor = self._noise_law(base).sample(shape)
        return draw

    def _transport(self, value: Tensor, source: Any, target: Any) -> Tensor:
        return self._push(self._abduct(value, source), target)

    def _conditional_law(self, values: list[Tensor], bases: list[Any], target: Any) -> Any:
        raise ProgramError(
            f"the {self.name} coupling of {type(target).__name__} is deterministic, so the law "
            "of the other world's value is a point; expected a discrete family; use `transport`"
        )

    def _posterior_noise(self, value: Tensor, base: Any) -> Any:
        raise ProgramError(
            f"the {self.name} coupling of {type(base).__name__} is deterministic, so the noise "
            "given the value is a point; expected a discrete family; use `abduct`"
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def are_finite(value: Tensor) -> Tensor | bool:
    """True if all values are finite, else a flag for each."""
    # the sum is infinite or NaN if any value is, and hardly ever otherwise
    return True if math.isfinite(value.detach().sum()) else value.isfinite()


def require_possible(is_possible: Tensor | bool, value: Tensor, family: Any) -> None:
    """Raise if some value has no probability; one fused check.

    Args:
        is_possible: Per value, or per event of it; or True.
        value: The evidence.
        family: The distribution, to name it.

    Raises:
        ImpossibleEvidenceError: Naming the family and the first such value.
    """
    if is_possible is True or bool((flags := torch.as_tensor(is_possible)).all()):
        return
    flags = flags.reshape(flags.shape + (1,) * max(value.dim() - flags.dim(), 0))
    found = value.expand(broadcast_shapes(value.shape, flags.shape))
    bad = found[~flags.expand(found.shape)].reshape(-1)[0]
    raise ImpossibleEvidenceError(
        f"{type(family).__name__} gives the value {bad.item():g} no probability that floating "
        "point can hold at these parents; expected finite evidence inside the support; check the "
        "evidence, and the program's parameters for NaN"
    )


# -- the registry -------------------------------------------------------------------------------

_COUPLINGS: dict[type[Distribution], Coupling] = {}
_REFUSALS: dict[type[Distribution], str] = {}
# what was looked up before, for types whose coupling does not depend on what they are built from
_RESOLVED: dict[type[Distribution], Coupling] = {}
_COMPOSED = (
    torch.distributions.TransformedDistribution,
    torch.distributions.MixtureSameFamily,
)


def register_coupling(family: type[Distribution], coupling: Coupling) -> None:
    """Say which coupling a family, and its subclasses without one of their own, gets.

    Args:
        family: A distribution type.
        coupling: The coupling; replaces an earlier registration.

    Raises:
        ProgramError: ``family`` is not a distribution type or ``coupling`` not a coupling.

    Example:
        >>> import pyro.distributions as dist
        >>> from causalppl.programs.structural import LocationScale
        >>> class MyNormal(dist.Normal):
        ...     pass
        >>> register_coupling(MyNormal, LocationScale())
        >>> coupling_for(MyNormal(0.0, 1.0))
        LocationScale()
    """
    if not (isinstance(family, type) and issubclass(family, Distribution)):
        raise ProgramError(f"found {family!r}; expected a distribution type such as dist.Normal")
    if not isinstance(coupling, Coupling):
        raise ProgramError(f"found {coupling!r}; expected an instance of a subclass of Coupling")
    _RESOLVED.clear()
    _REFUSALS.pop(family, None)
    _COUPLINGS[family] = coupling


def refuse_coupling(family: type[Distribution], reason: str) -> None:
    """Say that a family has no coupling although a parent type has one, and why."""
    _RESOLVED.clear()
    _COUPLINGS.pop(family, None)
    _REFUSALS[family] = reason


def coupling_for(fn: Any, choice: Coupling | None = None) -> Coupling:
    """The coupling of a distribution.

    Args:
        fn: A site's distribution.
        choice: What the user set for the site; None takes the family's default.

    Raises:
        ProgramError: The family has none, or ``choice`` cannot serve it.

    Example:
        >>> import pyro.distributions as dist
        >>> coupling_for(dist.Normal(torch.zeros(3), 1.0).to_event(1)).name
        'location-scale'
    """
    base = unwrap(fn).base
    if choice is not None:
        return choice.for_family(base)
    if type(base) in _RESOLVED:
        return _RESOLVED[type(base)]
    for family in type(base).__mro__:
        if family in _COUPLINGS:
            coupling = _COUPLINGS[family].for_family(base)
            if not issubclass(type(base), _COMPOSED):
                _RESOLVED[type(base)] = coupling
            return coupling
        if family in _REFUSALS:
            raise _refusal(base, _REFUSALS[family])
    raise _refusal(base, "no coupling is registered for it")


def _refusal(base: Any, reason: str) -> ProgramError:
    name = type(base).__name__
    return ProgramError(
        f"the family {name} has no coupling ({reason}), so its noise cannot be shared between "
        "worlds; expected one of the families of `coupling_table()`; rewrite the site with such "
        f"families, or subclass `Coupling` and call `register_coupling({name}, YourCoupling())`"
    )


def coupling_table() -> list[tuple[str, str, str]]:
    """Rows ``(family, coupling, abduction)`` for every registered family, by coupling and name.

    Example:
        >>> ("Normal", "location-scale", "exact, deterministic") in coupling_table()
        True
    """
    rows = {(f.__name__, c.name, c.abduction) for f, c in _COUPLINGS.items()}
    return sorted(rows, key=lambda row: (row[1], row[0]))


def refusal_table() -> list[tuple[str, str]]:
    """Rows ``(family, reason)`` for every family refused by name.

    Example:
        >>> "Dirichlet" in dict(refusal_table())
        True
    """
    return sorted({(family.__name__, reason) for family, reason in _REFUSALS.items()})
