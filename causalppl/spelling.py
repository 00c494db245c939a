"""What a name that is not there was perhaps meant to be."""

import difflib
from collections.abc import Iterable

__all__ = ["closest", "spelling"]


def closest(name: object, known: Iterable[object]) -> str:
    """Suggest the known name that is most like an unknown one; case counts little."""
    plain = {str(other).casefold(): str(other) for other in known}
    close = difflib.get_close_matches(str(name).casefold(), plain, n=1, cutoff=0.6)
    return f"; did you mean {plain[close[0]]!r}?" if close else ""


def spelling(name: object, known: Iterable[object]) -> str:
    """Suggest a known name, or ask to look at the spelling."""
    return closest(name, known) or "; check the spelling"
