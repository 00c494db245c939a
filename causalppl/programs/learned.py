"""Values of ``pyro.param`` statements that belong to one model, and to no other."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyro
import torch


@dataclass(frozen=True)
class Learned:
    """What a fit has learned for the ``pyro.param`` statements of a program.

    The weights of a module that a program registers (``pyro.module``, ``PyroModule``) live in the
    module itself. They are put there while the model runs, and taken out again: two fits of one
    program do not share them.

    Attributes:
        params: Name to the unconstrained tensor that Pyro's parameter store or a module holds.
        constraints: Name to constraint.
        values: Name to the unconstrained values that were learned.

    Example:
        >>> import pyro, torch
        >>> with pyro.get_param_store().scope():
        ...     weight = pyro.param("weight", torch.tensor(2.0))
        ...     learned = Learned.capture(["weight"])
        >>> with learned.installed():
        ...     pyro.param("weight").item()
        2.0
    """

    params: Mapping[str, torch.Tensor]
    constraints: Mapping[str, Any]
    values: Mapping[str, torch.Tensor]

    @classmethod
    def capture(cls, names: Iterable[str]) -> "Learned":
        """Copy the present values of some parameters out of Pyro's store."""
        state = pyro.get_param_store().get_state()
        kept = [name for name in state["params"] if name in set(names)]
        return cls(
            {name: state["params"][name] for name in kept},
            {name: state["constraints"][name] for name in kept},
            {name: state["params"][name].detach().clone() for name in kept},
        )

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Run a block with these values, in a parameter store of its own."""
        store = pyro.get_param_store()
        before = {name: param.data for name, param in self.params.items()}
        with store.scope():
            store.set_state({"params": dict(self.params), "constraints": dict(self.constraints)})
            try:
                for name, param in self.params.items():
                    param.data = self.values[name]
                yield
            finally:
                for name, param in self.params.items():
                    param.data = before[name]


@contextmanager
def restored_params() -> Iterator[None]:
    """Give the parameters in Pyro's store their present values back when a block ends."""
    store = pyro.get_param_store()
    before = {name: param.detach().clone() for name, param in store.named_parameters()}
    try:
        yield
    finally:
        for name, param in store.named_parameters():
            param.grad = None
            if name in before:
                param.data.copy_(before[name])
