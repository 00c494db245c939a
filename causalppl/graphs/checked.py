"""Whether what was given is a diagram, asked at the doors that take one."""

from causalppl.exceptions import GraphError
from causalppl.graphs.admg import ADMG

__all__ = ["check_diagram"]

_LONGEST = 60


def check_diagram(given: object, what: str = "the graph", program: str = "scm.graph") -> None:
    """Refuse what is no diagram, such as its text.

    Args:
        given: What was given.
        what: What it is called in the error.
        program: What may be given for a program instead.

    Raises:
        GraphError: It is no `ADMG`.

    Example:
        >>> check_diagram(ADMG.parse("X -> Y; X <-> Y"))
    """
    if isinstance(given, ADMG):
        return
    said = repr(given)
    said = said if len(said) <= _LONGEST else f"{said[:_LONGEST]}..."
    raise GraphError(
        f"{what} is {said}; expected an ADMG, such as ADMG.parse('X -> Y; X <-> Y'), or {program}"
    )
