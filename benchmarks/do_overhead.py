"""What does `do` add to a plain Pyro trace?"""

from collections.abc import Callable
from typing import Any

import pyro
import torch
from _harness import Row, Target, benchmark, compare, is_installed
from _programs import chain, traced, units

from causalppl.programs import do

SITES = (5, 20, 100)
UNITS = (1, 10_000, 100_000)
TARGET = Target("at most", 1.10)


def ways(num_sites: int, n: int, with_chirho: bool) -> dict[str, Callable[[], Any]]:
    """All under one trace; the handler is made anew each time, as a user would."""
    program = chain(num_sites)
    found = {
        "plain": traced(program, n),
        "here": lambda: traced(do(program, {"x1": 1.0}), n)(),
        "Pyro do": lambda: traced(pyro.poutine.do(program, {"x1": torch.tensor(1.0)}), n)(),
    }
    if with_chirho:
        import chirho.interventional.handlers as chirho

        found["ChiRho"] = lambda: traced(chirho.do(program, {"x1": torch.tensor(1.0)}), n)()
    return found


def main() -> None:
    with benchmark("do_overhead") as run:
        with_chirho = is_installed("chirho")
        for num_sites in SITES:
            for n in UNITS:
                times = compare(ways(num_sites, n, with_chirho), budget=run.budget(8))
                row = Row(
                    "`do` over a plain Pyro trace",
                    f"{num_sites} sites, {units(n)}",
                    times.ratio("here", "plain"),
                    TARGET,
                    times.peers(("ChiRho", "Pyro do"), "plain"),
                    times.medians,
                )
                run.add(row)


if __name__ == "__main__":
    main()
