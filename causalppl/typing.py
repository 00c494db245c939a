"""Type aliases shared by all layers; internal, and free to change."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch

Program: TypeAlias = Callable[..., Any]
"""A Pyro program: no argument (one unit) or one required argument ``n`` (number of units)."""

Values: TypeAlias = Mapping[str, torch.Tensor]
"""Site name to tensor, shape ``(*batch, *event)``."""
