"""The only place where randomness is seeded: the global state is left as it was."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import torch

from causalppl.exceptions import DataError


@contextmanager
def forked_rng(seed: int | None = None) -> Iterator[int]:
    """Run a block with its own random streams (Python, NumPy, torch on every device).

    Args:
        seed: Any non-negative integer. With None, fresh entropy is taken from the operating
            system, so the block neither reads nor moves the global state.

    Yields:
        The seed that was used, so that a run can be repeated.

    Raises:
        DataError: ``seed`` is not a non-negative integer.

    Example:
        >>> with forked_rng(0):
        ...     a = torch.rand(())
        >>> with forked_rng(0):
        ...     b = torch.rand(())
        >>> bool(a == b)
        True
    """
    used = checked_seed(seed)
    python_state, numpy_state = random.getstate(), np.random.get_state()
    devices = _devices()
    with torch.random.fork_rng(devices=devices):
        # torch.manual_seed would also queue the seed for devices that are not there: .5 ms a call
        torch.default_generator.manual_seed(used % 2**63)
        if devices:
            torch.cuda.manual_seed_all(used % 2**63)
        np.random.seed(used % 2**32)
        random.seed(used)
        try:
            yield used
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def checked_seed(seed: int | None) -> int:
    """Return the seed that a run is to use: the one given, or a fresh one for None.

    Args:
        seed: Any non-negative integer, of Python or numpy; or None.

    Raises:
        DataError: ``seed`` is something else: text, a fraction, a truth value, negative.

    Example:
        >>> checked_seed(np.int64(3))
        3
    """
    if seed is None:
        return fresh_seed()
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise DataError(
            f"seed is {seed!r}; expected a non-negative integer or None, such as seed=0"
        )
    return int(seed)


def fresh_seed() -> int:
    """Draw a seed from the operating system's entropy, to be kept with what is drawn from it.

    Example:
        >>> seed = fresh_seed()
        >>> spawn_seeds(seed, 2) == spawn_seeds(seed, 2)
        True
    """
    return random.SystemRandom().randrange(2**63)


def spawn_seeds(seed: int | None, count: int) -> list[int]:
    """Derive ``count`` independent seeds from one, the same ones for the same ``seed``.

    Args:
        seed: Any non-negative integer; with None they differ from call to call.
        count: How many to derive.

    Raises:
        DataError: ``seed`` is not a non-negative integer.

    Example:
        >>> spawn_seeds(0, 2) == spawn_seeds(0, 2)
        True
    """
    root = np.random.SeedSequence(checked_seed(seed))
    return [int(child.generate_state(1, np.uint64)[0] >> 1) for child in root.spawn(count)]


@cache
def _devices() -> list[int]:
    return list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
