"""Time several ways of doing one thing, side by side, and keep the result.

All ways run in turn, round after round, in alternating order, so that a slow spell of the machine
meets them all. One thread is timed by its processor time, which leaves out the waiting for a busy
machine; several threads by the clock on the wall. A *round* gives one time for each way; a ratio
is the median over rounds of the ratio within the round, and its interval a bootstrap over rounds.
What is written is all that `report.py` knows.
"""

import argparse
import gc
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np
import torch

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("causalppl", "torch", "pyro-ppl", "numpy", "chirho")
_SHORTEST = 2e-3  # seconds; what is faster is repeated within a round
_BOOTSTRAPS = 2_000
_LEVEL = 0.95


@dataclass(frozen=True)
class Measured:
    """A number with its interval.

    Attributes:
        value: The median.
        low: Lower end of the 95 % interval.
        high: Upper end.
        unit: ``"x"`` for ratios, ``"s"``, ``"/s"``, or empty.
    """

    value: float
    low: float
    high: float
    unit: str

    @classmethod
    def exactly(cls, value: float, unit: str = "") -> "Measured":
        """A number without an interval, for example an error against the exact answer."""
        return cls(value, value, value, unit)

    def per_second(self, items: int) -> "Measured":
        """Turn seconds for ``items`` things into things per second."""
        return Measured(items / self.value, items / self.high, items / self.low, "/s")


@dataclass(frozen=True)
class Target:
    """What is to be reached: ``at most`` or ``at least`` a value, in the unit of the result."""

    sense: str
    value: float


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        question: What is measured.
        setting: On what.
        here: The result.
        target: What it is to reach; None where it is only told.
        peers: Others in the same run, by name.
        seconds: Median seconds of each way, for orientation.
    """

    question: str
    setting: str
    here: Measured
    target: Target | None = None
    peers: Mapping[str, Measured] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)


class Times:
    """Seconds by way and round."""

    def __init__(self, seconds: Mapping[str, Sequence[float]]) -> None:
        self._seconds = {name: np.asarray(values) for name, values in seconds.items()}

    @property
    def medians(self) -> dict[str, float]:
        """Median seconds of each way."""
        return {name: float(np.median(values)) for name, values in self._seconds.items()}

    def seconds(self, name: str) -> Measured:
        """Median time of one way."""
        return median(self._seconds[name], "s")

    def ratio(self, name: str, to: str, *, scale: float = 1.0) -> Measured:
        """How many times as long ``name`` takes as ``to``, times ``scale``."""
        return median(scale * self._seconds[name] / self._seconds[to], "x")

    def peers(self, names: Sequence[str], to: str) -> dict[str, Measured]:
        """Ratios of those of ``names`` that were run."""
        return {name: self.ratio(name, to) for name in names if name in self._seconds}


def median(values: Any, unit: str) -> Measured:
    """The median and its bootstrap interval."""
    samples = np.asarray(values, float)
    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(samples), (_BOOTSTRAPS, len(samples)))
    medians = np.median(samples[picks], axis=1)
    low, high = np.quantile(medians, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Measured(float(np.median(samples)), float(low), float(high), unit)


def compare(
    ways: Mapping[str, Callable[[], Any]],
    *,
    budget: float,
    least: int = 7,
    most: int = 200,
) -> Times:
    """Run all ways in turn.

    Args:
        ways: Name to what is timed.
        budget: Seconds to spend in all, about.
        least: Fewest rounds, whatever the budget.
        most: Most rounds.
    """
    calls = {}
    for name, way in ways.items():
        _timed(way, 1)  # what is paid once: imports, memos, memory
        calls[name] = max(1, math.ceil(_SHORTEST / max(_timed(way, 1), 1e-7)))
    cost = sum(_timed(way, calls[name]) * calls[name] for name, way in ways.items())
    rounds = int(min(most, max(least, budget / cost)))
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for turn in range(rounds):
        for name in names if turn % 2 == 0 else reversed(names):
            seconds[name].append(_timed(ways[name], calls[name]))
    return Times(seconds)


def _timed(way: Callable[[], Any], calls: int) -> float:
    """Seconds per call; garbage is collected outside the clock."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    gc.collect()
    gc.disable()
    try:
        start = clock()
        for _ in range(calls):
            way()
        return (clock() - start) / calls
    finally:
        gc.enable()


def is_installed(package: str) -> bool:
    """Whether a peer is there; says so where it is not."""
    if util.find_spec(package) is not None:
        return True
    print(f"  (skipped: {package} is not installed; `pip install {package}` to compare)")
    return False


class Benchmark:
    """Collect the rows of one file, print them as they come, and write them at the end.

    Attributes:
        quick: Whether a short look was asked for; then nothing is written.
    """

    def __init__(self, name: str, *, threads: int = 1) -> None:
        parser = argparse.ArgumentParser(description=f"Benchmark {name}.")
        parser.add_argument("--quick", action="store_true", help="a short look; writes nothing")
        self.quick: bool = parser.parse_args().quick
        self.name, self.threads = name, threads
        self.rows: list[Row] = []
        self._load = os.getloadavg()[0]
        self._started = time.perf_counter()
        torch.set_num_threads(threads)
        gc.collect()
        gc.freeze()  # so that collecting between rounds is quick

    def budget(self, seconds: float) -> float:
        """Seconds to spend on one comparison."""
        return seconds / 10 if self.quick else seconds

    def add(self, row: Row) -> None:
        """Keep and print a row."""
        self.rows.append(row)
        peers = "".join(f"; {name} {show(peer)}" for name, peer in row.peers.items())
        print(f"  {row.question}, {row.setting}: {show(row.here)} {met(row)}{peers}", flush=True)

    def write(self) -> None:
        """Write ``results/<name>.json`` and the report, unless this was a quick look."""
        print(f"  {self.name}: {time.perf_counter() - self._started:.0f} s in all")
        if self.quick:
            print("  quick look: nothing written")
            return
        record = {
            "name": self.name,
            "date": datetime.now().date().isoformat(),
            "threads": self.threads,
            "load": round(self._load, 2),
            "cores": os.cpu_count(),
            "processor": processor(),
            "python": platform.python_version(),
            "versions": versions(),
            "rows": [asdict(row) for row in self.rows],
        }
        RESULTS.mkdir(exist_ok=True)
        text = json.dumps(record, indent=1, ensure_ascii=False)
        (RESULTS / f"{self.name}.json").write_text(text + "\n", encoding="utf-8")
        from report import write_report

        write_report()


@contextmanager
def benchmark(name: str, *, threads: int = 1) -> Iterator[Benchmark]:
    """Open a benchmark; its results are written if it ran to its end."""
    print(f"{name}:", flush=True)
    collected = Benchmark(name, threads=threads)
    yield collected
    collected.write()


def versions() -> dict[str, str]:
    """Versions of the package and its peers."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def processor() -> str:
    """Name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def show(measured: Measured) -> str:
    """A number and its interval, as in the report."""
    value, low, high = (
        _digits(v, measured.unit) for v in (measured.value, measured.low, measured.high)
    )
    interval = "" if low == high else f" ({low} to {high})"
    return f"{value}{_suffix(measured.unit)}{interval}"


def show_target(target: Target, unit: str) -> str:
    """A target, as in the report."""
    return f"{target.sense} {_digits(target.value, unit)}{_suffix(unit)}"


def met(row: Row) -> str:
    """Whether the target is met: by the median, and by the whole interval."""
    if row.target is None:
        return ""
    here, wanted = row.here, row.target.value
    if row.target.sense == "at most":
        median_is_in, interval_is_in = here.value <= wanted, here.high <= wanted
    else:
        median_is_in, interval_is_in = here.value >= wanted, here.low >= wanted
    if interval_is_in:
        return "yes"
    return "yes, but the interval is not" if median_is_in else "**no**"


def _suffix(unit: str) -> str:
    return {"x": "x", "s": " s", "/s": " /s"}.get(unit, unit)


def _digits(value: float, unit: str) -> str:
    if unit == "x":
        return f"{value:.2f}" if value < 100 else f"{value:.0f}"
    if value == 0 or math.isnan(value):
        return f"{value:g}"
    if unit == "/s" or abs(value) < 1e-4:
        return f"{value:.1e}"
    return f"{value:.3g}"


def spread(values: Sequence[float], unit: str = "") -> Measured:
    """Median and range over seeds: for errors, where the range says more than an interval."""
    return Measured(statistics.median(values), min(values), max(values), unit)
