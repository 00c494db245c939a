"""Follow site values through tensor operations while a program runs, and refuse what loses them.

A torch function mode sees every tensor operation of the program. Each result inherits the sites
its inputs came from, so that the parents of a site can be read off its distribution. Leaving the
world of tensors (``float(z)``, ``if z > 0``, ``table[z]``) would lose that trail without a word;
here it is an error that names the site and the line.
"""

import os
import sys
from collections.abc import Iterable
from traceback import walk_tb
from typing import Any

import pyro
import torch
from torch.overrides import TorchFunctionMode

from causalppl.exceptions import ProgramError

Names = frozenset[str]
NONE: Names = frozenset()

# What each escape looks like in the user's code, and what to write in its place.
_ESCAPES = {
    "item": (".item()", "keep the value a tensor"),
    "tolist": (".tolist()", "keep the value a tensor"),
    "numpy": (".numpy()", "use the torch function of the same name"),
    "__array__": ("a numpy function", "use the torch function of the same name"),
    "__dlpack__": ("an export to another library", "keep the value a tensor"),
    "__float__": ("float(...) or a math function", "use the torch function of the same name"),
    "__int__": ("int(...)", "use .long()"),
    "__complex__": ("complex(...)", "keep the value a tensor"),
    "__index__": ("a list index or range", "stack the list and use torch.gather or Vindex"),
    "__bool__": ("an `if`, `while`, `and`, `or` or `not`", "use torch.where"),
    "__contains__": ("`in`", "use torch.isin"),
    "equal": ("torch.equal", "use torch.where on the elementwise comparison"),
    "allclose": ("torch.allclose", "use torch.where on torch.isclose"),
    "is_nonzero": ("torch.is_nonzero", "use torch.where"),
}
_FACTORIES = {"tensor", "as_tensor", "asarray", "from_numpy", "new_tensor", "scalar_tensor"}
_SHAPE_ONLY = frozenset(
    [f"{what}_like" for what in ("zeros", "ones", "empty", "full", "rand", "randn", "randint")]
    + [f"new_{what}" for what in ("zeros", "ones", "empty", "full")]
)
_LIBRARIES = tuple(os.path.dirname(str(module.__file__)) + os.sep for module in (torch, pyro))
_OWN = os.path.dirname(__file__) + os.sep
_DISPATCH = (os.path.join("torch", "overrides.py"), os.path.join("torch", "_tensor.py"), __file__)


class ProvenanceMode(TorchFunctionMode):
    """Record for every tensor the sites that it was computed from.

    Tensors are kept alive until the mode is dropped, so that an identity is never used twice.
    Values written in place are recorded for the whole storage, hence for all its views.
    """

    def __init__(self) -> None:
        super().__init__()
        self._of_tensor: dict[int, tuple[torch.Tensor, Names]] = {}
        self._of_storage: dict[int, Names] = {}
        self.escape: ProgramError | None = None

    def mark(self, tensor: torch.Tensor, sites: Names) -> None:
        """Declare that ``tensor`` holds the value of ``sites`` and of nothing else."""
        self._of_tensor[id(tensor)] = (tensor, sites)

    def sites_of(self, value: Any) -> Names:
        """Return the sites that a tensor, or a nest of containers of tensors, came from."""
        found: set[str] = set()
        for tensor in _tensors_in(value):
            entry = self._of_tensor.get(id(tensor))
            if entry is not None:
                found |= entry[1]
            if self._of_storage:
                found |= self._of_storage.get(_storage(tensor), NONE)
        return frozenset(found)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        # zeros_like(z) takes the shape of z, not its value
        read = args[1:] if name in _SHAPE_ONLY else args
        sites = self.sites_of((read, kwargs))
        if not sites:
            return func(*args, **kwargs)
        if name in _ESCAPES or name in _FACTORIES:
            self._refuse(name, sites, args)
        result = func(*args, **kwargs)
        if _writes_in_place(name) and isinstance(args[0], torch.Tensor):
            key = _storage(args[0])
            self._of_storage[key] = self._of_storage.get(key, NONE) | sites
            self._of_tensor[id(args[0])] = (args[0], self.sites_of(args[0]) | sites)
        if isinstance(kwargs.get("out"), torch.Tensor):
            self.mark(kwargs["out"], sites)
        for tensor in _tensors_in(result):
            self._of_tensor[id(tensor)] = (tensor, self.sites_of(tensor) | sites)
        return result

    def _refuse(self, name: str, sites: Names, args: tuple[Any, ...]) -> None:
        try:
            _refuse_escape(name, sites, args)
        except ProgramError as error:  # kept, in case the program catches it
            self.escape = self.escape or error
            raise


def user_line() -> str:
    """Return ``file:line`` of the innermost frame that belongs to the user's program."""
    frame = _user_frame()
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "unknown line"


def failing_line(error: BaseException) -> str:
    """Return ``file:line`` of the innermost statement of the user's program that raised."""
    lines = [
        f"{frame.f_code.co_filename}:{line}"
        for frame, line in walk_tb(error.__traceback__)
        if _is_users(frame.f_code.co_filename)
    ]
    return lines[-1] if lines else "unknown line"


def _is_users(file: str) -> bool:
    return not file.startswith((*_LIBRARIES, _OWN)) and not file.endswith("contextlib.py")


def _refuse_escape(name: str, sites: Names, args: tuple[Any, ...]) -> None:
    caller = _calling_file()
    # argument checks inside torch, Pyro and the handlers here lose nothing
    if caller.startswith((*_LIBRARIES, _OWN)):
        return
    if name in _FACTORIES:
        if name in ("as_tensor", "asarray") and isinstance(args[0], torch.Tensor):
            return
        what, remedy = f"torch.{name}(...)", "use torch.stack"
    else:
        what, remedy = _ESCAPES[name]
    verb = "goes" if len(sites) == 1 else "go"
    raise ProgramError(
        f"{user_line()}: the value of {', '.join(sorted(sites))} {verb} through {what}; "
        f"the program must compute with tensors, or an edge of the causal graph is lost; {remedy}"
    )


def _calling_file() -> str:
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.endswith(_DISPATCH):
            return file
        frame = frame.f_back  # type: ignore[assignment]
    return ""


def _user_frame() -> Any:
    frame: Any = sys._getframe(1)
    while frame is not None:
        if _is_users(frame.f_code.co_filename):
            return frame
        frame = frame.f_back
    return None


def _writes_in_place(name: str) -> bool:
    if name.startswith("__i") and name.endswith("__") and name not in ("__index__", "__invert__"):
        return True
    return name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))


def _storage(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage().data_ptr()) if tensor.layout == torch.strided else 0


def _tensors_in(value: Any) -> Iterable[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors_in(part)
    elif isinstance(value, dict):
        for part in value.values():
            yield from _tensors_in(part)
