"""The parser of the command line, and what becomes of answers, warnings and errors."""

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from causalppl import __version__
from causalppl.cli import about, play, questions
from causalppl.cli.reply import Reply
from causalppl.exceptions import CausalPPLError

__all__ = ["main"]

_BAD_USE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: What follows the command's name; None: from ``sys.argv``.

    Returns:
        The exit code: 0, answered; 1, answered "no"; 2, bad use, which one line on stderr explains.

    Example:
        >>> main(["identify", "X -> Z -> Y; X <-> Y", "P(Y | do(X))"])
        P(Y | do(X)) = sum_Z P(Z | X) sum_X' P(X') P(Y | X', Z)
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
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            reply: Reply = chosen.run(chosen)
        return _print(reply, as_json=chosen.json)
    except KeyboardInterrupt:
        return _fail("interrupted")
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except CausalPPLError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except Exception as error:  # of a program of the user's own, or one that nobody foresaw
        return _fail(f"{chosen.command} stopped with {type(error).__name__}: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="causalppl",
        description="Causal modelling by probabilistic programming, on Pyro.",
        epilog="Exit code: 0 answered, 1 answered no, 2 bad use.",
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], Reply], text: str, example: str = ""
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name, help=text, description=text, epilog=f"Example: {example}" if example else None
        )
        added.add_argument("--json", action="store_true", help="print the answer as JSON")
        added.set_defaults(run=run)
        return added

    questions.add_commands(command)
    play.add_commands(command)
    about.add_commands(command)
    return parser


def _print(reply: Reply, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps(reply.data, default=_plain, indent=2), flush=True)
    elif reply.text:
        print(reply.text, flush=True)
    return reply.code


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"causalppl: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _fail(message: str) -> int:
    print(f"causalppl: error: {_on_one_line(message)}", file=sys.stderr)
    return _BAD_USE


def _on_one_line(message: str) -> str:
    """Join the lines of a message; a caret under a text would lose its place, so say which."""
    *lines, last = message.rstrip().split("\n")
    if last.strip() == "^" and lines:
        *lines, shown = lines
        told = " ".join(lines)
        indent = len(shown) - len(shown.lstrip())
        where = "" if "column" in told else f" at column {len(last) - indent}"
        last = f"in {shown.strip()!r}{where}"
    return " ".join(" ".join([*lines, last]).split())


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)
