"""One slice of a batched distribution: the law in one world out of several."""

from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution

from causalppl.programs.wrappers import is_wrapper


def slice_batch(fn: Any, dim: int, index: int, *, keepdim: bool) -> Any:
    """Return the distribution at ``index`` of a batch dimension.

    Args:
        fn: A distribution whose batch shape has dimension ``dim``.
        dim: Negative batch dimension.
        index: Position along it.
        keepdim: Keep the dimension with size 1.

    Returns:
        A distribution of the same family with its parameters sliced; for families whose
        parameters cannot be told, a `BatchSlice` that gives the same densities at more cost.
    """
    if is_wrapper(type(fn)) and isinstance(fn, dist.MaskedDistribution):
        mask = fn._mask
        if isinstance(mask, torch.Tensor):
            mask = _slice(mask, dim, index, keepdim)
        return slice_batch(fn.base_dist, dim, index, keepdim=keepdim).mask(mask)
    if is_wrapper(type(fn)) and isinstance(fn, dist.Independent):
        inner = fn.reinterpreted_batch_ndims
        base = slice_batch(fn.base_dist, dim - inner, index, keepdim=keepdim)
        return dist.Independent(base, inner, validate_args=False)
    return _slice_parameters(fn, dim, index, keepdim) or BatchSlice(fn, dim, index, keepdim)


class BatchSlice(TorchDistribution):
    """A view of one slice of any distribution along one batch dimension."""

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, base: Any, dim: int, index: int, keepdim: bool) -> None:
        self._base, self._dim, self._index, self._keepdim = base, dim, index, keepdim
        shape = list(base.batch_shape)
        if keepdim:
            shape[dim] = 1
        else:
            del shape[dim]
        super().__init__(torch.Size(shape), base.event_shape, validate_args=False)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """As the whole distribution's."""
        return bool(self._base.has_rsample)

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override]
        """Never: the slice is of a family without plain parameters."""
        return False

    @property
    def support(self) -> Any:
        """As the whole distribution's."""
        return self._base.support

    def rsample(self, sample_shape: Any = torch.Size()) -> torch.Tensor:  # noqa: B008
        """Draw the whole batch and keep the slice; shape ``(*sample_shape, *batch, *event)``."""
        return self._take(self._base.rsample(sample_shape), self.event_dim)

    def sample(self, sample_shape: Any = torch.Size()) -> torch.Tensor:  # noqa: B008
        """Draw the whole batch and keep the slice; shape ``(*sample_shape, *batch, *event)``."""
        return self._take(self._base.sample(sample_shape), self.event_dim)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """Log density at ``value``, shape ``(*batch)``."""
        if not self._keepdim:
            value = value.reshape(
                (1,) * (len(self.batch_shape) + self.event_dim - value.dim()) + value.shape
            )
            position = value.dim() + 1 + self._dim - self.event_dim
            value = value.unsqueeze(max(position, 0))
        return self._take(self._base.log_prob(value), 0)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """Return the same slice if the shape is already right, else a broadcast view."""
        if torch.Size(batch_shape) == self.batch_shape:
            return self
        return super().expand(batch_shape, _instance)

    def _take(self, value: torch.Tensor, event_dim: int) -> torch.Tensor:
        return _slice(value, self._dim - event_dim, self._index, self._keepdim)


def _slice(value: torch.Tensor, dim: int, index: int, keepdim: bool) -> torch.Tensor:
    """Slice a tensor at a negative dimension; one that lacks it is the same along it."""
    if value.dim() < -dim:
        return value
    if value.shape[dim] == 1:
        return value if keepdim else value.squeeze(dim)
    return value.narrow(dim, index, 1) if keepdim else value.select(dim, index)


def _slice_parameters(fn: Any, dim: int, index: int, keepdim: bool) -> Any:
    """Rebuild a plain family from sliced parameters; None if that cannot be done."""
    quick = None if _is_opaque(type(fn)) else _shallow_slice(fn, dim, index, keepdim)
    if quick is not None or _is_opaque(type(fn)):
        return quick
    if isinstance(fn, dist.Delta):
        return dist.Delta(
            _slice(fn.v, dim - fn.event_dim, index, keepdim),
            log_density=_slice(fn.log_density, dim, index, keepdim)
            if isinstance(fn.log_density, torch.Tensor)
            else fn.log_density,
            event_dim=fn.event_dim,
        )
    stored, parameters = vars(fn), {}
    for name, constraint in fn.arg_constraints.items():
        if name in stored:
            value = stored[name]
            if isinstance(value, torch.Tensor):
                value = _slice(value, dim - constraint.event_dim, index, keepdim)
            parameters[name] = value
    if not parameters:
        return None
    try:
        sliced = type(fn)(**parameters, validate_args=False)
    except (TypeError, ValueError, RuntimeError):
        return None
    expected = list(fn.batch_shape)
    if keepdim:
        expected[dim] = 1
    else:
        del expected[dim]
    return sliced if list(sliced.batch_shape) == expected else None


def _shallow_slice(fn: Any, dim: int, index: int, keepdim: bool) -> Any:
    """Copy a distribution whose state is its parameters, without running its constructor."""
    constraints = fn.arg_constraints
    state: dict[str, Any] = {}
    for name, value in vars(fn).items():
        if isinstance(value, torch.Tensor):
            if name not in constraints:
                return None
            state[name] = _slice(value, dim - constraints[name].event_dim, index, keepdim)
        elif isinstance(value, _PLAIN):
            state[name] = value
        else:
            return None
    if not constraints:
        return None
    shape = list(fn.batch_shape)
    if keepdim:
        shape[dim] = 1
    else:
        del shape[dim]
    state["_batch_shape"] = torch.Size(shape)
    sliced = object.__new__(type(fn))
    sliced.__dict__.update(state)
    return sliced


def _is_opaque(family: type) -> bool:
    if torch.distributions.TransformedDistribution in family.__mro__:
        return True
    return family.__name__ in ("ExpandedDistribution", "MixtureSameFamily", "BatchSlice")


_PLAIN = (bool, int, float, str, tuple, type(None))
