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
from causalppl.cli.reply import NO, Reply, check_picture
from causalppl.cli.wording import Parser, on_one_line, with_options
from causalppl.exceptions import CausalPPLError

__all__ = ["main"]

_BAD_USE = 2
_START = """\
Start with:
  causalppl identify "X -> Z -> Y; X <-> Y" "P(Y | do(X))"
  causalppl demo
  causalppl estimate --help

Exit code: 0 answered, 1 answered no, 2 bad use."""


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
            warnings.showwarning = _warner(chosen)
            if getattr(chosen, "plot", None) is not None:
                check_picture(chosen.plot)  # before the work, which would be lost
            reply: Reply = chosen.run(chosen)
        return _print(reply, chosen)
    except KeyboardInterrupt:
        return _fail("interrupted")
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except CausalPPLError as error:
        return _fail(_worded(str(error), chosen))
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except Exception as error:  # of a program of the user's own, or one that nobody foresaw
        return _fail(f"{chosen.command} stopped with {type(error).__name__}: {error}")


def _parser() -> Parser:
    parser = Parser(
        prog="causalppl",
        description="Causal modelling by probabilistic programming, on Pyro.",
        epilog=_START,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def command(
        name: str,
        run: Callable[[argparse.Namespace], Reply],
        text: str,
        example: str,
        codes: str = "0 answered, 2 bad use",
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=f"Example:\n  {example}\n\nExit code: {codes}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.add_argument(
            "--json", action="store_true", help="print the answer as JSON (errors stay one line)"
        )
        added.set_defaults(run=run, parser=added)
        return added

    questions.add_commands(command)
    play.add_commands(command)
    about.add_commands(command)
    return parser


def _print(reply: Reply, chosen: argparse.Namespace) -> int:
    if chosen.json:
        print(json.dumps(reply.data, default=_plain, indent=2), flush=True)
    elif reply.text:
        is_no = reply.code == NO
        print(_worded(reply.text, chosen) if is_no else reply.text, flush=True)
    return reply.code


def _worded(message: str, chosen: argparse.Namespace) -> str:
    """Name options in place of keywords; what the user wrote stays."""
    written = (getattr(chosen, name, "") for name in ("query", "graph"))
    return with_options(message, chosen.parser, " ".join(filter(None, written)))


def _warner(chosen: argparse.Namespace) -> Callable[..., None]:
    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        told = on_one_line(_worded(str(message), chosen))
        print(f"causalppl: warning: {told}", file=sys.stderr)

    return show


def _fail(message: str) -> int:
    print(f"causalppl: error: {on_one_line(message)}", file=sys.stderr)
    return _BAD_USE


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)
