"""What do worlds cost, with evidence downstream of the intervention?

Everything is a ratio to one trace of the plain program with the same evidence. Worlds are counted
with the factual one: two worlds are it and one other. They are run as `infer` runs them (one pass
with a world axis) and as the Pyro program `twin_worlds`, which also reports each ``Y@world`` as a
site. ChiRho's `MultiWorldCounterfactual` runs in the same rounds; it draws fresh noise for the
other worlds' copy of a normal site with evidence, where here the noise is shared.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import torch
from _harness import Benchmark, Row, Target, benchmark, compare, is_installed
from _programs import chain, traced, units

from causalppl.programs import SCM, Structure, read_structure, twin_worlds
from causalppl.programs.interventions import Interventions
from causalppl.programs.structure import TRACE_UNITS
from causalppl.programs.worlds import WorldsMessenger
from causalppl.typing import Program

SITES = (5, 100)
UNITS = (1, 10_000, 100_000)
DOUBLINGS = (2, 4, 8, 16, 32, 64)
INTERVENED = (1, 4, 8)
TWO, SIXTEEN = 2, 16
TWIN = "as `twin_worlds`, all sites reported"
CHIRHO = "ChiRho"


def one_site_worlds(num_worlds: int) -> dict[str, Interventions]:
    """Worlds that differ in the value of one site."""
    return {f"w{w}": {"x1": float(w)} for w in range(1, num_worlds)}


class Ways:
    """The ways to run worlds on a program of some size, each with its evidence."""

    def __init__(self, num_sites: int, n: int) -> None:
        self.n = n
        self.program: Program = chain(num_sites)
        self.structure: Structure = read_structure(self.program, TRACE_UNITS)
        self._seen = {f"x{num_sites - 1}": torch.zeros(n)}

    def plain(self) -> Any:
        """One world."""
        return self._trace(self.program)

    def axis(self, worlds: dict[str, Interventions]) -> Any:
        """All worlds in one pass, as `infer` does."""
        handler = WorldsMessenger(self.structure, worlds, {}, explicit=False, emit=False)
        return self._trace(handler(self.program))

    def twin(self, worlds: dict[str, Interventions]) -> Any:
        """All worlds as a Pyro program, each with its sites."""
        return self._trace(twin_worlds(self.program, worlds, structure=self.structure))

    def chirho(self, actions: dict[str, Any]) -> Any:
        """All combinations of the actions, as ChiRho does."""
        from chirho.counterfactual.handlers import MultiWorldCounterfactual
        from chirho.interventional.handlers import do
        from chirho.observational.handlers import condition

        with MultiWorldCounterfactual(first_available_dim=-2):
            return traced(condition(do(self.program, actions), self._seen), self.n)()

    def _trace(self, program: Callable[..., Any]) -> Any:
        return traced(pyro.condition(program, data=self._seen), self.n)()


def target(num_worlds: int, num_sites: int, n: int) -> Target | None:
    """What is to be reached; None where 16 worlds are bound by 16 times the numbers to compute."""
    is_large = num_sites >= 100 or n >= 100_000
    if num_worlds == TWO:
        return Target("at most", 2.2 if is_large else 3.0)
    if num_sites >= 100:
        return Target("at most", 2.4) if n == 1 else None
    return Target("at most", 8.0) if n <= 10_000 else None


def overhead(run: Benchmark, num_sites: int, n: int, num_worlds: int, with_chirho: bool) -> None:
    """Compare the ways for worlds that differ in one site."""
    ways = Ways(num_sites, n)
    worlds = one_site_worlds(num_worlds)
    cases: dict[str, Callable[[], Any]] = {
        "plain": ways.plain,
        "here": partial(ways.axis, worlds),
        TWIN: partial(ways.twin, worlds),
    }
    if with_chirho:
        values = tuple(torch.tensor(float(w)) for w in range(1, num_worlds))
        cases[CHIRHO] = partial(ways.chirho, {"x1": values})
    times = compare(cases, budget=run.budget(15), most=100)
    wanted = target(num_worlds, num_sites, n)
    question = f"{num_worlds} worlds, over the plain trace"
    setting = f"{num_sites} sites, {units(n)}"
    peers = times.peers((CHIRHO,), "plain")
    run.add(
        Row(
            question,
            f"{setting}, as `infer`",
            times.ratio("here", "plain"),
            wanted,
            peers,
            times.medians,
        )
    )
    run.add(Row(question, f"{setting}, {TWIN}", times.ratio(TWIN, "plain"), wanted, peers))


def linearity(run: Benchmark, n: int) -> None:
    """What does twice the number of worlds cost? Each way on its own, in the same rounds."""
    ways = Ways(20, n)
    for name, way in (("as `infer`", ways.axis), (TWIN, ways.twin)):
        cases = {str(k): partial(way, one_site_worlds(k)) for k in DOUBLINGS}
        times = compare(cases, budget=run.budget(12), most=60)
        half, whole = DOUBLINGS[-2:]  # the fixed cost is smallest there
        question = f"{whole} worlds, over {half}"
        ratio = times.ratio(str(whole), str(half))
        setting = f"20 sites, {units(n)}, {name}"
        run.add(Row(question, setting, ratio, Target("at most", 2.2), {}, times.medians))


def intervened(run: Benchmark, n: int, with_chirho: bool) -> None:
    """With k intervened sites, k + 1 worlds here; 2^k where worlds are all combinations."""
    ways = Ways(20, n)
    for k in INTERVENED:
        worlds = {f"w{i}": {f"x{i}": 1.0} for i in range(1, k + 1)}
        cases: dict[str, Callable[[], Any]] = {
            "plain": ways.plain,
            "here": partial(ways.axis, worlds),
            "one site": partial(ways.axis, one_site_worlds(k + 1)),
            TWIN: partial(ways.twin, worlds),
        }
        if with_chirho:
            actions = {f"x{i}": torch.tensor(1.0) for i in range(1, k + 1)}
            cases[CHIRHO] = partial(ways.chirho, actions)
        times = compare(cases, budget=run.budget(6), most=60)
        sites = "site" if k == 1 else "sites"
        setting = f"{k} {sites}, {k + 1} worlds (ChiRho: {2**k}), 20 sites in all, {units(n)}"
        peers = times.peers((CHIRHO,), "plain")
        for way, name in (("here", "as `infer`"), (TWIN, TWIN)):
            ratio = times.ratio(way, "plain")
            question = "one world for each intervened site, over the plain trace"
            run.add(Row(question, f"{setting}, {name}", ratio, None, peers, times.medians))
        question = "several intervened sites, over as many worlds on one site"
        run.add(
            Row(
                question,
                f"{k} {sites}, {units(n)}, as `infer`",
                times.ratio("here", "one site"),
                Target("at most", 1.25),
            )
        )


def check() -> None:
    """Both ways keep the noise: half of what the site moves arrives at the next."""
    ways, worlds = Ways(5, 3), {"w1": {"x1": 1.0}}
    scm = SCM(ways.program)
    with pyro.condition(data={f"x{i}": torch.zeros(3) for i in range(5)}):
        values = twin_worlds(scm, worlds)(3)
    assert torch.allclose(values["x4@w1"], torch.full((3,), 0.5**3)), values["x4@w1"]


def main() -> None:
    check()
    with benchmark("worlds_overhead") as run:
        with_chirho = is_installed("chirho")
        for num_worlds in (TWO, SIXTEEN):
            for num_sites in SITES:
                for n in UNITS:
                    overhead(run, num_sites, n, num_worlds, with_chirho)
        for n in (1, 10_000):
            linearity(run, n)
        for n in (1, 10_000):
            intervened(run, n, with_chirho)


if __name__ == "__main__":
    main()
