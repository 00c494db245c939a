"""The grammar that Graphviz's DOT and dagitty's text have in common, and its reader.

::

    text      = ["strict"] [kind] [name] "{" statements "}"
    statement = name "=" value | keyword attributes | endpoint {arrow endpoint} {attributes}
    endpoint  = name {":" name} | ["subgraph" [name]] "{" statements "}"
    attribute = "[" [name ["=" value] {(";" | ",") ...}] "]"

Positions, labels and all other looks are read over.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

from causalppl.graphs.parse import syntax_error

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*|\#[^\n]*|/\*.*?\*/)
    |(?P<arrow><->|->|<-|--|@-@|@->|<-@|@--|--@)
    |(?P<quoted>"(?:[^"\\]|\\.)*")
    |(?P<number>-(?:\.\d+|\d+(?:\.\d*)?))
    |(?P<name>[\w.]+)
    |(?P<sign>[{}\[\];,=:])
    |(?P<html><)""",
    re.VERBOSE | re.DOTALL,
)
_KEYWORDS = ("graph", "node", "edge")


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


class Edge(NamedTuple):
    """One edge as written, with the place in the text where its arrow stands."""

    left: str
    arrow: str
    right: str
    attributes: dict[str, str]
    at: int


@dataclass
class DotText:
    """What a text says.

    Attributes:
        kind: The word before the braces in lower case, such as ``"digraph"`` or ``"dag"``.
        nodes: Attributes of each node, in order of first appearance.
        edges: In the order written.
    """

    kind: str = ""
    nodes: dict[str, dict[str, str]] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)


def read_dot(text: str) -> DotText:
    """Read text in the common grammar; what the words mean is left to the caller.

    Raises:
        GraphError: The text cannot be read; the message shows the place.

    Example:
        >>> read_dot('digraph { a -> {b; c} [dir=both] }').edges[1][:3]
        ('a', '->', 'c')
    """
    return _Reader(text).read()


def quote(name: str) -> str:
    """Write a name so that both languages read it back.

    Example:
        >>> print(quote("age"), quote("age (years)"), quote("node"))
        age "age (years)" "node"
    """
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)
    if plain and name.lower() not in (*_KEYWORDS, "digraph", "subgraph", "strict"):
        return name
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _unquote(text: str) -> str:
    return re.sub(r'\\(["\\])', r"\1", text[1:-1])


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(self._tokenise())
        self.position = 0
        self.result = DotText()

    def _tokenise(self) -> Iterator[_Token]:
        at = 0
        while at < len(self.text):
            match = _TOKEN.match(self.text, at)
            if match is None:
                hint = 'write "..." around names with unusual characters and close all quotes'
                raise syntax_error(self.text, at, repr(self.text[at]), hint)
            kind, word, end = str(match.lastgroup), match.group(), match.end()
            if kind == "html":
                end = self._end_of_html(at)
                kind, word = "name", self.text[at:end]
            if kind != "space":
                yield _Token(kind, word, at)
            at = end
        yield _Token("end", "the end of the text", at)

    def _end_of_html(self, start: int) -> int:
        depth = 0
        for at in range(start, len(self.text)):
            depth += {"<": 1, ">": -1}.get(self.text[at], 0)
            if not depth:
                return at + 1
        raise syntax_error(self.text, start, "'<' that is not closed", "close it with '>'")

    def read(self) -> DotText:
        words: list[str] = []
        while (token := self._next()).text != "{" or token.kind != "sign":
            if token.kind not in ("name", "quoted", "number"):
                self._fail(token, "expected a word such as digraph or dag, then '{'")
            words.append(token.text.lower())
        words = [word for word in words if word != "strict"]
        self.result.kind = words[0] if words else ""
        self._statements({"node": {}, "edge": {}})
        if self._peek().kind != "end":
            self._fail(self._peek(), "expected nothing after the closing '}'")
        return self.result

    def _statements(self, defaults: dict[str, dict[str, str]]) -> list[str]:
        """Read up to the closing brace; return the names that were seen."""
        seen: dict[str, None] = {}
        while not self._accept("}"):
            if self._accept(";") or self._accept(","):
                continue
            word = self._peek()
            if self._is_keyword(word) and self._follows("["):
                self._next()
                defaults.setdefault(word.text.lower(), {}).update(self._attributes())
            elif self._follows("="):
                self.position += 2
                self._value()
            else:
                seen.update(dict.fromkeys(self._edges_or_node(defaults)))
        return list(seen)

    def _edges_or_node(self, defaults: dict[str, dict[str, str]]) -> list[str]:
        first = self._peek()
        groups, arrows = [self._endpoint(defaults)], []
        while self._peek().kind == "arrow":
            arrows.append(self._next())
            groups.append(self._endpoint(defaults))
        attributes = self._attributes()
        names = [name for group in groups for name in group]
        if not arrows and first.text != "{" and not self._is_keyword(first):
            self.result.nodes[names[0]].update(attributes)
        style = {**defaults["edge"], **attributes}
        for left, arrow, right in zip(groups, arrows, groups[1:], strict=False):
            self.result.edges += [
                Edge(a, arrow.text, b, style, arrow.at) for a in left for b in right
            ]
        return names

    def _endpoint(self, defaults: dict[str, dict[str, str]]) -> list[str]:
        if self._is_keyword(self._peek()) and self._peek().text.lower() == "subgraph":
            self._next()
            if self._peek().text != "{":
                self._value()
            if self._peek().text != "{":
                self._fail(self._peek(), "expected '{' after subgraph")
        if self._accept("{"):
            return self._statements({key: dict(value) for key, value in defaults.items()})
        name = self._value()
        while self._accept(":"):  # a port: where on the node's outline an edge ends
            self._value()
        self.result.nodes.setdefault(name, dict(defaults["node"]))
        return [name]

    def _attributes(self) -> dict[str, str]:
        found: dict[str, str] = {}
        while self._accept("["):
            while not self._accept("]"):
                if self._accept(",") or self._accept(";"):
                    continue
                key = self._value().lower()
                found[key] = self._value() if self._accept("=") else ""
        return found

    def _value(self) -> str:
        token = self._next()
        if token.kind == "quoted":
            return _unquote(token.text)
        if token.kind not in ("name", "number"):
            self._fail(token, "expected a name")
        return token.text

    def _is_keyword(self, token: _Token) -> bool:
        return token.kind == "name" and token.text.lower() in (*_KEYWORDS, "subgraph")

    def _peek(self) -> _Token:
        return self.tokens[self.position]

    def _next(self) -> _Token:
        token = self.tokens[self.position]
        if token.kind == "end":
            self._fail(token, "expected '}'" if self.position else "expected a graph in braces")
        self.position += 1
        return token

    def _accept(self, sign: str) -> bool:
        token = self._peek()
        if token.kind != "sign" or token.text != sign:
            if token.kind == "end":
                self._next()
            return False
        self.position += 1
        return True

    def _follows(self, sign: str) -> bool:
        token = self.tokens[min(self.position + 1, len(self.tokens) - 1)]
        return token.kind == "sign" and token.text == sign

    def _fail(self, token: _Token, hint: str) -> NoReturn:
        found = token.text if token.kind == "end" else repr(token.text)
        raise syntax_error(self.text, token.at, found, hint)
