"""Warnings that point to the line of the user, however deep in the package they arise."""

import sys
import warnings
from pathlib import Path

from causalppl.exceptions import CausalPPLWarning

__all__ = ["warn_user"]

_PACKAGE = str(Path(__file__).parent)


def warn_user(message: str, category: type[CausalPPLWarning]) -> None:
    """Warn of the line outside the package that led here.

    Args:
        message: What was found, what was expected, what to do.
        category: The kind of warning.

    Example:
        >>> import warnings
        >>> from causalppl.exceptions import OverlapWarning
        >>> with warnings.catch_warnings(record=True) as log:
        ...     warnings.simplefilter("always")
        ...     warn_user("few rows", OverlapWarning)
        >>> str(log[0].message), log[0].filename.startswith(_PACKAGE)
        ('few rows', False)
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
