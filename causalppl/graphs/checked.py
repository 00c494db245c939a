"""Whether what was given is a diagram, asked at the doors that take one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    ParamSpec,
    Protocol,
    TypeVar,
    cast,
    runtime_checkable,
)

from causalppl.exceptions import GraphError
from causalppl.given import told

if TYPE_CHECKING:
    from causalppl.graphs.admg import ADMG

__all__ = ["HasDiagram", "check_diagram", "read_diagram", "takes_diagram"]

P = ParamSpec("P")
R = TypeVar("R")


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
        >>> from causalppl.graphs import ADMG
        >>> check_diagram(ADMG.parse("X -> Y; X <-> Y"))
    """
    from causalppl.graphs.admg import ADMG  # which imports functions that have this door

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
    from causalppl.graphs.admg import ADMG

    if isinstance(given, str):
        if not given.strip():
            raise GraphError(f"{what} is empty; expected a diagram, such as 'X -> Y; X <-> Y'")
        return ADMG.parse(given)
    if isinstance(given, HasDiagram) and not isinstance(given, type | ADMG):
        given = given.graph
    program = (
        "; write SCM(program) around a program"
        if callable(given) and not isinstance(given, type)
        else ""
    )
    check_diagram(given, what, f"its text, or an SCM, first: {call}{program}")
    return given  # type: ignore[return-value]


def takes_diagram(
    function: Callable[Concatenate[ADMG, P], R],
) -> Callable[Concatenate[ADMG | str | HasDiagram, P], R]:
    """Let a function whose first argument is a diagram take its text, or a model, as well.

    What is a diagram goes through as it is, so that inner loops lose next to nothing.

    Example:
        >>> @takes_diagram
        ... def size(graph):
        ...     return len(graph.nodes)
        >>> size("X -> Y")
        2
    """
    name = function.__code__.co_varnames[0]

    @wraps(function)
    def door(*args: Any, **kwargs: Any) -> R:
        if args and hasattr(type(args[0]), "child_masks"):  # quicker than to ask for its class
            return function(*args, **kwargs)
        if args:
            return function(read_diagram(args[0], _told_call(function)), *args[1:], **kwargs)
        if name in kwargs:
            kwargs[name] = read_diagram(kwargs[name], _told_call(function))
        return function(*args, **kwargs)

    return cast("Callable[Concatenate[ADMG | str | HasDiagram, P], R]", door)


def _told_call(function: Callable[..., object]) -> str:
    """How a function is called, with what it cannot do without."""
    arguments = inspect.signature(function).parameters.values()
    needed = ", ".join(each.name for each in arguments if each.default is each.empty)
    return f"{function.__name__}({needed})"
