"""Programs that several benchmarks run."""

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist

from causalppl.typing import Program


def chain(num_sites: int) -> Program:
    """``x0 -> x1 -> ...``, each normal around half of the one before."""

    def program(n: int) -> None:
        with pyro.plate("units", n):
            value: Any = pyro.sample("x0", dist.Normal(0.0, 1.0))
            for i in range(1, num_sites):
                value = pyro.sample(f"x{i}", dist.Normal(0.5 * value, 1.0))

    return program


def traced(program: Callable[..., Any], n: int) -> Callable[[], Any]:
    """Return the run of a program whose trace is kept."""
    return lambda: pyro.poutine.trace(program).get_trace(n)


def units(n: int) -> str:
    """Spell a number of units: ``1 unit``, ``1e4 units``."""
    if n == 1:
        return "1 unit"
    exponent = len(str(n)) - 1
    return f"1e{exponent} units" if n == 10**exponent else f"{n} units"
