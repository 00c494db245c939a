"""Whether what was given is a diagram, asked at the doors that take one."""

from typing import Protocol, runtime_checkable

from causalppl.exceptions import GraphError
from causalppl.given import told
from causalppl.graphs.admg import ADMG

__all__ = ["HasDiagram", "check_diagram", "read_diagram"]


@runtime_checkable
class HasDiagram(Protocol):
    """A model that knows the diagram over what it observes, such as an `SCM`."""

    observed: tuple[str, ...]

    @property
    def graph(self) -> ADMG:
        """The diagram over the observed variables."""


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
    raise GraphError(
        f"{what} is {told(given)}; expected an ADMG, such as ADMG.parse('X -> Y; X <-> Y'), or "
        f"{program}"
    )


def read_diagram(given: object, call: str, what: str = "the graph") -> ADMG:
    """Return a diagram that was given as it is, as its text, or in a model.

    Args:
        given: What was given.
        call: How the function is called, to say it in the error.
        what: What the argument is called there.

    Raises:
        GraphError: It is none of these, or the text cannot be read.

    Example:
        >>> read_diagram("X -> Y; X <-> Y", "identify(graph, query)")
        ADMG.parse('X -> Y; X <-> Y')
    """
    if isinstance(given, str):
        if not given.strip():
            raise GraphError(f"{what} is empty; expected a diagram, such as 'X -> Y; X <-> Y'")
        return ADMG.parse(given)
    if not isinstance(given, ADMG) and not isinstance(given, type) and _is_model(given):
        return given.graph  # type: ignore[attr-defined]
    check_diagram(given, what, f"its text, or an SCM, first: {call}")
    return given  # type: ignore[return-value]


def _is_model(given: object) -> bool:
    return isinstance(given, HasDiagram) and isinstance(given.graph, ADMG)
