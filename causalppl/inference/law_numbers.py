"""Numbers that laws are made of and asked with: finite, and levels between 0 and 1."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from causalppl.exceptions import DataError
from causalppl.given import told


def finite(what: str, value: Any) -> Tensor:
    """The numbers as a tensor; NaN and infinity are refused."""
    # by way of NumPy a Python float keeps its 53 bits
    is_tensor = isinstance(value, Tensor)
    tensor = value.detach() if is_tensor else torch.tensor(np.asarray(value))
    if not bool(torch.isfinite(tensor).all()):
        bad = int((~torch.isfinite(tensor)).sum())
        raise DataError(
            f"{bad} of {tensor.numel()} numbers in the {what} are NaN or infinite; expected finite "
            "numbers; look for a diverged fit or a missing value"
        )
    return tensor


def float_dtype(tensor: Tensor) -> torch.dtype:
    """The dtype of a tensor of floats, else double."""
    return tensor.dtype if tensor.dtype.is_floating_point else torch.float64


def checked_level(q: float) -> float:
    """A quantile level: one number between 0 and 1."""
    if np.ndim(q) > 0 or isinstance(q, str) or not 0 <= float(q) <= 1:
        raise DataError(
            f"quantile level is {told(q)}; expected a number between 0 and 1, such as 0.5; ask for "
            "several levels one at a time"
        )
    return float(q)


def float64_tensor(array: Any) -> Tensor:
    """An array as a tensor of doubles."""
    return torch.as_tensor(np.asarray(array, dtype=np.float64))
