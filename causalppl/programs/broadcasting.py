"""Whether a program computes many runs at once as it computes them one after the other."""

from collections.abc import Callable

import torch

from causalppl.typing import Values


def is_same_at_once(one_by_one: Values, at_once: Callable[[], Values], *, tolerance: float) -> bool:
    """Compare values from single runs with those of one run that broadcasts.

    Args:
        one_by_one: Name to values, from single runs.
        at_once: Computes the same in one run. What a program says of shapes that it does not
            expect is taken for a no.
        tolerance: Absolute difference that counts as none; the relative one is 1e-3.
    """
    try:
        found = at_once()
    except Exception:
        return False
    return found.keys() == one_by_one.keys() and all(
        found[name].shape == value.shape
        and bool(torch.isclose(found[name], value, 1e-3, tolerance, equal_nan=True).all())
        for name, value in one_by_one.items()
    )
