"""Shapes of tensors; internal, and free to change."""

import numpy as np
import torch


def broadcast_shapes(*shapes: tuple[int, ...]) -> torch.Size:
    """Return the shape that several shapes broadcast to.

    The same as ``torch.broadcast_shapes``, whose first call imports a computer algebra system and
    takes two seconds.

    Raises:
        RuntimeError: The shapes do not broadcast.

    Example:
        >>> broadcast_shapes((3, 1), (4,))
        torch.Size([3, 4])
    """
    try:
        return torch.Size(np.broadcast_shapes(*shapes))
    except ValueError as error:
        raise RuntimeError(f"shapes {', '.join(map(str, shapes))} do not broadcast") from error
