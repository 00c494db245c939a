"""How messages of the package are told at a terminal: on one line, with options for keywords."""

import argparse
import re
from collections.abc import Callable, Iterator
from typing import NoReturn

from causalppl.spelling import closest

__all__ = ["Parser", "on_one_line", "with_options"]

_NUMBERS = re.compile(r"\((-?[\d.]+(?:e[+-]?\d+)?), (-?[\d.]+(?:e[+-]?\d+)?)\)")


class Parser(argparse.ArgumentParser):
    """A parser that suggests the nearest command or option."""

    def error(self, message: str) -> NoReturn:
        """Stop with a message, and a suggestion where a word is not known."""
        found = re.search(r"(?:invalid choice: '|unrecognized arguments: )([^\s']+)", message)
        if found:
            known = set(self._words())
            behind = f"; {found[1]} stands behind the command"
            message += behind if found[1] in known else closest(found[1], sorted(known))
        super().error(message)

    def _words(self) -> Iterator[str]:
        for action in self._actions:
            yield from action.option_strings
            if isinstance(action, argparse._SubParsersAction):
                for name, parser in action.choices.items():
                    yield name
                    yield from parser._words()


def with_options(message: str, parser: argparse.ArgumentParser, given: str) -> str:
    """Name the options of a command where a message names keywords of Python.

    Args:
        message: Such as "declare outcome_range=(smallest, largest)".
        parser: Of the command; an option's ``dest`` is the keyword for which it stands.
        given: What the user wrote, the words of which are names of theirs, not keywords.

    Example:
        >>> parser = Parser()
        >>> ends = {"nargs": 2, "metavar": ("LOW", "HIGH")}
        >>> _ = parser.add_argument("--range", dest="outcome_range", **ends)
        >>> with_options("declare outcome_range=(smallest, largest)", parser, "ATE(X -> Y)")
        'declare --range LOW HIGH'
    """
    theirs = set(re.findall(r"\w+", given))
    for action in parser._actions:
        if action.option_strings and action.dest not in theirs:
            message = _with_option(message, action)
    return message


def _with_option(message: str, action: argparse.Action) -> str:
    name, option = re.escape(action.dest), action.option_strings[-1]
    told = re.sub(rf"(?<!\S){name}=(\([^)]*\)|\w[\w.]*)?(?:\(\))?", _filled(action), message)
    told = re.sub(rf"^{name}(?= is )", option, told)
    if "_" in action.dest:  # no word of a sentence
        told = re.sub(rf"\b{name}\b", option, told)
    return _NUMBERS.sub(r"\1 \2", told) if isinstance(action.metavar, tuple) else told


def _filled(action: argparse.Action) -> Callable[[re.Match[str]], str]:
    """Write an option with the value that the keyword had, or with what stands for one."""
    metavar = action.metavar or action.dest.upper()
    names = [metavar] if isinstance(metavar, str) else list(metavar)

    def written(found: re.Match[str]) -> str:
        value = found[1] or ""
        values = [value] if value and value[0] != "(" else names
        return " ".join([action.option_strings[-1], *values])

    return written


def on_one_line(message: str) -> str:
    """Join the lines of a message; a caret under a text would lose its place, so say which."""
    *lines, last = message.rstrip().split("\n")
    if last.strip() == "^" and lines:
        *lines, shown = lines
        told = " ".join(lines)
        indent = len(shown) - len(shown.lstrip())
        where = "" if "column" in told else f" at column {len(last) - indent}"
        last = f"in {shown.strip()!r}{where}"
    return " ".join(" ".join([*lines, last]).split())
