"""The command ``causalppl``: exit code 0, or 2 with one sentence on what is wrong."""

import argparse
import importlib.metadata
import json
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from causalppl import __version__
from causalppl.exceptions import CausalPPLError

EXTRAS = {
    "plots": ("matplotlib",),
    "arviz": ("arviz",),
    "deep": ("zuko",),
    "rl": ("gymnasium",),
    "scale": ("duckdb", "pyarrow", "ray"),
}
"""Optional extra to the packages that it brings."""

_CORE = ("torch", "pyro-ppl", "numpy", "pandas", "scipy", "xarray", "networkx", "opt_einsum")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: What follows the command's name; None: from ``sys.argv``.

    Returns:
        The exit code: 0, or 2 where something is wrong, which one line on stderr says.

    Example:
        >>> main(["--version"])  # doctest: +ELLIPSIS
        causalppl ...
        0
    """
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.version:
        print(f"causalppl {__version__}")
        return 0
    if chosen.command is None:
        parser.print_help()
        return 0
    try:
        result = chosen.run(chosen)
    except KeyboardInterrupt:
        return _fail("interrupted")
    except (CausalPPLError, OSError) as error:
        return _fail(str(error))
    if chosen.json:
        print(json.dumps(result, default=_plain, indent=2))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="causalppl", description="Causal modelling by probabilistic programming, on Pyro."
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def command(name: str, run: Callable[[Any], Any], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.add_argument("--json", action="store_true", help="print the result as JSON")
        added.set_defaults(run=run)
        return added

    demo = command("demo", _demo, "fit a causal model to real data and ask it questions")
    demo.add_argument(
        "--output",
        type=Path,
        default=Path("demo-output"),
        metavar="DIR",
        help="folder for the pictures (default: demo-output)",
    )
    demo.add_argument("--seed", type=int, default=0, help="seed of everything random (default: 0)")
    command("doctor", _doctor, "show versions, devices and optional packages")
    command("datasets", _datasets, "list the data sets that ship with the package")
    return parser


def _demo(chosen: argparse.Namespace) -> dict[str, Any]:
    from causalppl.demo import run_demo

    say: Callable[[str], None] = (lambda line: None) if chosen.json else _print
    return run_demo(chosen.output, seed=chosen.seed, say=say)


def _doctor(chosen: argparse.Namespace) -> dict[str, Any]:
    import torch

    extras = {
        extra: {package: _version(package) for package in packages}
        for extra, packages in EXTRAS.items()
    }
    found: dict[str, Any] = {
        "causalppl": __version__,
        "python": platform.python_version(),
        "packages": {package: _version(package) for package in _CORE},
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "threads": torch.get_num_threads(),
        "extras": extras,
    }
    if chosen.json:
        return found
    _print(f"causalppl {__version__} on Python {found['python']}, {platform.platform()}")
    for package, version in found["packages"].items():
        _print(f"  {package:<12} {version or 'not installed'}")
    gpus = ", ".join(found["gpus"]) or "no GPU"
    _print(f"device: {found['device']} ({gpus}), {found['threads']} threads")
    for extra, packages in extras.items():
        missing = [package for package, version in packages.items() if version is None]
        have = ", ".join(f"{package} {version}" for package, version in packages.items() if version)
        state = (
            have if not missing else f'pip install "causalppl[{extra}]" brings {", ".join(missing)}'
        )
        _print(f"  {extra:<12} {state}")
    return found


def _datasets(chosen: argparse.Namespace) -> list[dict[str, str]]:
    from causalppl.data import datasets

    found = []
    for name in datasets.available():
        text = getattr(datasets, f"load_{name}").__doc__ or ""
        found.append({"name": name, "what": text.strip().splitlines()[0]})
    if not chosen.json:
        for entry in found:
            _print(f"{entry['name']:<16} {entry['what']}")
        _print("\nLoad one with: from causalppl.data import load_nhefs; load_nhefs()")
    return found


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _print(line: str) -> None:
    print(line, flush=True)


def _fail(message: str) -> int:
    print(f"causalppl: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return str(value)
