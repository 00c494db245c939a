"""Progress bars, where there is somebody to see them."""

import sys
from typing import Any

from tqdm.auto import tqdm


def progress_bar(total: int, description: str, *, progress: bool) -> Any:
    """Return a progress bar, silent unless in a terminal or a notebook."""
    return tqdm(total=total, desc=description, disable=not is_shown(progress), leave=False)


def is_shown(progress: bool) -> bool:
    """Whether a progress bar is wanted and has somewhere to be shown."""
    return progress and (sys.stderr.isatty() or "ipykernel" in sys.modules)
