"""Diagrams as text: ``X -> Z -> Y; X <-> Y``.

::

    graph     = [statement] {(";" | line break) [statement]}
    statement = group {arrow group}
    group     = name | "{" [name {[","] name}] "}"
    arrow     = "->" | "<-" | "<->"
    name      = a run without white space or any of  { } , ; # < > - "     or a JSON string

A line break after an arrow or inside braces does not end the statement; ``#`` starts a comment.
"""

import json
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, NoReturn, TypeAlias

from causalppl.exceptions import GraphError

Edges: TypeAlias = list[tuple[str, str]]

_BARE = r'[^\s{},;#<>\-"←→↔]+'
_TOKEN = re.compile(
    rf"""(?P<space>(?:[^\S\r\n]|\#[^\r\n]*)+)
    |(?P<end>[;\r\n]) |(?P<arrow><->|->|<-|↔|→|←)
    |(?P<open>{{) |(?P<close>}}) |(?P<comma>,)
    |(?P<quoted>"(?:[^"\\\r\n]|\\.)*") |(?P<bare>{_BARE})""",
    re.VERBOSE,
)
_ASCII = {"↔": "<->", "→": "->", "←": "<-"}


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


def parse_graph(text: str) -> tuple[list[str], Edges, Edges]:
    """Read nodes and edges from text; the grammar is at the top of the module.

    Args:
        text: For example ``"X -> Z -> Y; X <-> Y"``.

    Returns:
        Nodes in the order in which they first appear, directed edges (cause, effect), and
        bidirected edges. Repeated edges are kept; nothing is checked beyond the grammar.

    Raises:
        GraphError: The text cannot be read; the message shows the place.

    Example:
        >>> parse_graph("{A, B} -> C; A <-> C")
        (['A', 'B', 'C'], [('A', 'C'), ('B', 'C')], [('A', 'C')])
    """
    if not isinstance(text, str):
        raise GraphError(
            f"a diagram's text is {text!r}; expected a string such as 'X -> Y'; pass a string"
        )
    return _Reader(text).graph()


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(self._tokenise())
        self.position = 0

    def _tokenise(self) -> Iterable[_Token]:
        at = 0
        while at < len(self.text):
            match = _TOKEN.match(self.text, at)
            if match is None:
                self._fail_on_character(at)
            if match.lastgroup != "space":
                yield _Token(str(match.lastgroup), match.group(), at)
            at = match.end()
        yield _Token("end", "", at)

    def _fail_on_character(self, at: int) -> NoReturn:
        character = self.text[at]
        if character == '"':
            raise syntax_error(self.text, at, "a quote that is not closed", "close it")
        if character == ">" and self.text[at - 1 : at] in ("=", "~"):
            arrow = self.text[at - 1 : at + 1]
            raise syntax_error(self.text, at - 1, repr(arrow), "write ->")
        hint = 'write "..." around a name that contains it'
        if character in "-<>":
            hint = f"the arrows are ->, <- and <->; {hint}"
        raise syntax_error(self.text, at, f"{character!r}", hint)

    def graph(self) -> tuple[list[str], Edges, Edges]:
        nodes: dict[str, None] = {}
        directed: Edges = []
        bidirected: Edges = []
        while self.position < len(self.tokens):
            if self._accept("end"):
                continue
            left = self._group()
            nodes.update(dict.fromkeys(left))
            while arrow := self._accept("arrow"):
                self._skip_line_breaks()
                right = self._group()
                nodes.update(dict.fromkeys(right))
                pairs = [(a, b) for a in left for b in right]
                match _ASCII.get(arrow.text, arrow.text):
                    case "->":
                        directed += pairs
                    case "<-":
                        directed += [(b, a) for a, b in pairs]
                    case _:
                        bidirected += pairs
                left = right
            self._expect_end()
        return list(nodes), directed, bidirected

    def _group(self) -> list[str]:
        if not self._accept("open"):
            return [self._name("a node or '{'")]
        names: list[str] = []
        self._skip_line_breaks()
        while not self._accept("close"):
            names.append(self._name("a node or '}'"))
            self._skip_line_breaks()
            if self._accept("comma"):
                self._skip_line_breaks()
        return names

    def _name(self, expected: str) -> str:
        token = self._peek()
        self.position += 1
        if token.kind == "bare":
            return token.text
        if token.kind != "quoted":
            raise syntax_error(self.text, token.at, _shown(token), f"expected {expected}")
        try:
            return str(json.loads(token.text, strict=False))
        except ValueError:
            hint = r"inside quotes write \" and \\"
            raise syntax_error(self.text, token.at, f"bad quoted name {token.text}", hint) from None

    def _expect_end(self) -> None:
        token = self._peek()
        if token.kind == "comma":
            hint = "write several nodes in braces, as in {A, B} -> C"
            raise syntax_error(self.text, token.at, "','", hint)
        if token.kind != "end":
            hint = (
                "expected an arrow (->, <-, <->), ';' or a line break; "
                'write "..." around a name with spaces'
            )
            raise syntax_error(self.text, token.at, _shown(token), hint)

    def _peek(self) -> _Token:
        return self.tokens[min(self.position, len(self.tokens) - 1)]

    def _accept(self, kind: str) -> _Token | None:
        token = self._peek()
        if token.kind != kind:
            return None
        self.position += 1
        return token

    def _skip_line_breaks(self) -> None:
        while self._peek().kind == "end" and self._peek().text in ("\n", "\r"):
            self.position += 1


def _shown(token: _Token) -> str:
    ends = {"": "the end of the text", "\n": "the end of the line"}
    return ends.get(token.text, repr(token.text))


def syntax_error(text: str, at: int, found: str, hint: str) -> GraphError:
    """Describe what was found in a text, with the line and a caret under the place."""
    lines = text[:at].split("\n")
    line = text.split("\n")[len(lines) - 1]
    column = len(lines[-1])
    start = max(0, column - 50)
    excerpt = line[start : column + 30]
    return GraphError(
        f"{found} found in line {len(lines)}, column {column + 1}; {hint}\n"
        f"    {excerpt}\n    {' ' * (column - start)}^"
    )


def format_graph(
    nodes: Sequence[str],
    directed: Sequence[tuple[str, str]],
    bidirected: Sequence[tuple[str, str]],
) -> str:
    """Write a diagram as text that ``parse_graph`` reads back, with the same order of nodes.

    Args:
        nodes: All nodes, in order.
        directed: Pairs (cause, effect) in the order of nodes.
        bidirected: Pairs in the order of nodes.

    Example:
        >>> format_graph(["X", "Z", "Y", "W"], [("X", "Z"), ("Z", "Y")], [("X", "Y")])
        'X -> Z -> Y; X <-> Y; W'
    """
    effects = {effect for _, effect in directed}
    starts = (nodes, sorted(nodes, key=effects.__contains__))
    texts = [_format(nodes, _chains(order, directed), bidirected) for order in starts]
    return min(texts, key=len)


def _format(
    nodes: Sequence[str], chains: list[list[str]], bidirected: Sequence[tuple[str, str]]
) -> str:
    place = {node: i for i, node in enumerate(nodes)}
    statements: list[str] = []
    written = 0  # nodes[:written] have appeared
    lines = [(" -> ", chain) for chain in chains] + [(" <-> ", list(edge)) for edge in bidirected]
    for arrow, chain in lines:
        new = [place[node] for node in chain if place[node] >= written]
        while new != list(range(written, written + len(new))):
            # name a node ahead where the chain alone would change the order
            statements.append(format_name(nodes[written]))
            written += 1
            new = [i for i in new if i >= written]
        written += len(new)
        statements.append(arrow.join(map(format_name, chain)))
    return "; ".join([*statements, *map(format_name, nodes[written:])])


def _chains(starts: Sequence[str], edges: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Lay the edges end to end, each used once."""
    unused: dict[str, list[str]] = {node: [] for node in starts}
    for cause, effect in reversed(edges):
        unused[cause].append(effect)
    chains = []
    for node in starts:
        while unused[node]:
            chain = [node]
            while unused[chain[-1]]:
                chain.append(unused[chain[-1]].pop())
            chains.append(chain)
    return chains


def format_name(name: str) -> str:
    """Write a node's name, in quotes where the grammar needs them.

    Example:
        >>> print(format_name("age"), format_name("age-group"))
        age "age-group"
    """
    return name if re.fullmatch(_BARE, name) else json.dumps(name, ensure_ascii=False)
