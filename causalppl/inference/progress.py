"""Progress bars, where there is somebody to see them."""

import sys
from typing import Any

from tqdm.auto import tqdm

_PATIENCE = 2.0  # seconds


def progress_bar(total: int, description: str, *, progress: bool) -> Any:
    """Return a progress bar, silent unless it is to be shown."""
    return tqdm(total=total, desc=description, disable=not progress, leave=False)


def counter(description: str, unit: str, *, progress: bool) -> Any:
    """Return a bar that counts work of unknown length, and shows from two seconds on."""
    return tqdm(
        desc=description, unit=f" {unit}", disable=not progress, leave=False, delay=_PATIENCE
    )


def untold(count: int) -> None:
    """Stand in for the ``update`` of a progress bar where nobody is told."""


def is_shown(progress: bool | None) -> bool:
    """Whether to show progress: as told; else at a terminal or in a notebook."""
    if progress is not None:
        return progress
    return sys.stderr.isatty() or "ipykernel" in sys.modules
