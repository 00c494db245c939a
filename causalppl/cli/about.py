"""Commands about the package itself: the demonstration, its state, its data."""

import importlib.metadata
import platform
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from causalppl import __version__
from causalppl.cli.reply import Reply
from causalppl.exceptions import DataError

__all__ = ["add_commands"]

EXTRAS = {
    "plots": ("matplotlib",),
    "arviz": ("arviz",),
    "deep": ("zuko",),
    "rl": ("gymnasium",),
    "scale": ("duckdb", "pyarrow", "ray"),
}
"""Optional extra to the packages that it brings."""

_CORE = ("torch", "pyro-ppl", "numpy", "pandas", "scipy", "xarray", "networkx", "opt_einsum")


def add_commands(command: Callable[..., Any]) -> None:
    """Add ``demo``, ``doctor`` and ``datasets``."""
    demo = command(
        "demo",
        _demo,
        "fit a causal model to real data and ask it questions",
        "causalppl demo --output pictures",
    )
    demo.add_argument(
        "--output",
        type=Path,
        default=Path("demo-output"),
        metavar="DIR",
        help="folder for the pictures (default: demo-output)",
    )
    demo.add_argument("--seed", type=int, default=0, help="seed of everything random (default: 0)")
    command(
        "doctor", _doctor, "show versions, devices and optional packages", "causalppl doctor --json"
    )
    command(
        "datasets",
        _datasets,
        "list the data sets that ship with the package",
        "causalppl datasets",
    )


def _demo(chosen: Namespace) -> Reply:
    from causalppl.demo import run_demo

    _make_folder(chosen.output)
    say: Callable[[str], None] = (lambda line: None) if chosen.json else _say
    return Reply(run_demo(chosen.output, seed=chosen.seed, say=say))


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)  # before the work, which would be lost
    except OSError as error:
        raise DataError(
            f"the folder {str(path)!r} cannot be made: {error.strerror}; give another"
        ) from None


def _doctor(chosen: Namespace) -> Reply:
    import torch

    extras = {
        extra: {package: _version(package) for package in packages}
        for extra, packages in EXTRAS.items()
    }
    packages = {package: _version(package) for package in _CORE}
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    python, threads = platform.python_version(), torch.get_num_threads()
    lines = [f"causalppl {__version__} on Python {python}, {platform.platform()}"]
    lines += [f"  {name:<12} {version or 'not installed'}" for name, version in packages.items()]
    lines += [
        f"device: {device} ({', '.join(gpus) or 'no GPU'}), {threads} thread{'s' * (threads != 1)}"
    ]
    lines += [f"  {extra:<12} {_state(extra, found)}" for extra, found in extras.items()]
    found = {
        "causalppl": __version__,
        "python": python,
        "packages": packages,
        "device": device,
        "gpus": gpus,
        "threads": threads,
        "extras": extras,
    }
    return Reply(found, "\n".join(lines))


def _state(extra: str, versions: dict[str, str | None]) -> str:
    present = [f"{package} {version}" for package, version in versions.items() if version]
    missing = [package for package, version in versions.items() if version is None]
    told = [", ".join(present)] if present else []
    if missing:
        told.append(f'missing {", ".join(missing)}: pip install "causalppl[{extra}]"')
    return "; ".join(told)


def _datasets(chosen: Namespace) -> Reply:
    from causalppl.data import datasets

    found = []
    for name in datasets.available():
        text = getattr(datasets, f"load_{name}").__doc__ or ""
        found.append({"name": name, "what": text.strip().splitlines()[0]})
    lines = [f"{entry['name']:<16} {entry['what']}" for entry in found]
    lines += [
        "",
        "In Python: from causalppl.data import load_nhefs; load_nhefs()",
        "On the command line: datasets:nhefs in place of a file",
    ]
    return Reply(found, "\n".join(lines))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _say(line: str) -> None:
    print(line, flush=True)
