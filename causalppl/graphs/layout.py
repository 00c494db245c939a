"""Where the nodes of a picture go: layers from causes to effects, left to right, few crossings.

The steps are those of Sugiyama, Tagawa and Toda (1981): longest-path layers, stand-ins for long
edges where they pass a layer, barycentre sweeps for the order, and a least-squares placement that
keeps the order and the distances. Units are pixels; y points down.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from causalppl.graphs.admg import ADMG
from causalppl.graphs.components import district_masks
from causalppl.graphs.mixed import iterate_bits

FONT_SIZE = 14.0
LINE_HEIGHT = 17.0
_LONGEST_LINE = 18  # characters, where a label has a place to break it
_COLUMN_GAP, _ROW_GAP, _LANE = 62.0, 26.0, 12.0
_SWEEPS = 12
_SIDEWAYS = 0.4  # how much <-> pulls nodes together, where -> pulls with 1

_Point: TypeAlias = tuple[float, float]
_Placed: TypeAlias = tuple[dict[int, _Point], dict[tuple[int, int], tuple[_Point, ...]]]


@dataclass(frozen=True)
class Box:
    """A node in a picture: centre, size, and its label broken into lines."""

    name: str
    lines: tuple[str, ...]
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Layout:
    """Places of the nodes.

    Attributes:
        boxes: One per node, in the graph's order.
        lanes: For each directed edge (indices of cause and effect) that passes other layers the
            points through which it may do so without meeting a node.
    """

    boxes: tuple[Box, ...]
    lanes: dict[tuple[int, int], tuple[tuple[float, float], ...]]


def lay_out(graph: ADMG) -> Layout:
    """Place the nodes of a diagram.

    References:
        Sugiyama, Tagawa and Toda (1981), Methods for visual understanding of hierarchical system
        structures.

    Example:
        >>> from causalppl.graphs import ADMG
        >>> cause, effect = lay_out(ADMG.parse("X -> Y")).boxes
        >>> cause.x < effect.x, cause.y == effect.y
        (True, True)
    """
    labels = [wrap(name) for name in graph.nodes]
    sizes = [_box_size(lines) for lines in labels]
    places, lanes = _pack([_place(graph, sizes, part) for part in _parts(graph)], sizes)
    boxes = [Box(name, labels[i], *places[i], *sizes[i]) for i, name in enumerate(graph.nodes)]
    return Layout(tuple(boxes), lanes)


# labels


def text_width(text: str) -> float:
    """Estimate how wide a line of sans-serif text is, on the safe side.

    Example:
        >>> text_width("ill") < text_width("WWW")
        True
    """
    return FONT_SIZE * sum(map(_character_width, text))


def _character_width(character: str) -> float:
    if character in "iljI.,:;'|!()[]":
        return 0.36
    if unicodedata.east_asian_width(character) in "WF":
        return 1.05
    if unicodedata.combining(character):
        return 0.0
    return 0.95 if character in "mwMW@%" else 0.72 if character.isupper() else 0.62


def wrap(label: str) -> tuple[str, ...]:
    """Break a long label into lines after blanks and signs such as ``_`` and ``.``.

    Example:
        >>> wrap("smoking_cessation_before_1982")
        ('smoking_cessation_', 'before_1982')
    """
    pieces = re.findall(r"[^\s_./@,:-]*[\s_./@,:-]*", label)
    lines = _fill(pieces, _LONGEST_LINE)
    for longest in range(1, _LONGEST_LINE):  # as many lines, but of even length
        if len(even := _fill(pieces, longest)) == len(lines):
            return even
    return lines


def _fill(pieces: Sequence[str], longest: int) -> tuple[str, ...]:
    lines = [""]
    for piece in pieces:
        if lines[-1] and piece and len(lines[-1]) + len(piece.rstrip()) > longest:
            lines.append("")
        lines[-1] += piece
    return tuple(line.strip() for line in lines)


def _box_size(lines: Sequence[str]) -> tuple[float, float]:
    height = LINE_HEIGHT * len(lines) + 17
    return max(height, max(map(text_width, lines)) + 22), height


# layers


def _parts(graph: ADMG) -> list[int]:
    """Split the nodes into connected parts, as bits, the largest first."""
    masks = zip(graph.parent_masks, graph.child_masks, graph.sibling_masks, strict=True)
    adjacent = [up | down | beside for up, down, beside in masks]
    return sorted(district_masks(adjacent, graph.all_mask), key=int.bit_count, reverse=True)


def _layers(graph: ADMG, part: int) -> dict[int, int]:
    """Give each node its layer: after its causes, sources next to their effects."""
    order = [i for i in map(graph.nodes.index, graph.topological_order()) if part >> i & 1]
    layer: dict[int, int] = {}
    for i in order:
        layer[i] = max((layer[p] + 1 for p in iterate_bits(graph.parent_masks[i])), default=0)
    for i in order:
        if graph.child_masks[i] and not graph.parent_masks[i]:
            layer[i] = min(layer[c] for c in iterate_bits(graph.child_masks[i])) - 1
    for i in order:
        near = sorted(layer[s] for s in iterate_bits(graph.sibling_masks[i]))
        if near and not graph.child_masks[i] and not graph.parent_masks[i]:
            layer[i] = near[(len(near) - 1) // 2]
    return layer


@dataclass
class _Net:
    """Nodes and stand-ins (numbered after the nodes), layer by layer."""

    columns: list[list[int]]
    heights: list[float]
    before: list[list[int]]
    after: list[list[int]]
    beside: list[list[int]]
    chains: dict[tuple[int, int], list[int]]

    def is_stand_in(self, item: int) -> bool:
        return item >= len(self.beside)


def _net(graph: ADMG, sizes: Sequence[tuple[float, float]], layer: dict[int, int]) -> _Net:
    columns: list[list[int]] = [[] for _ in range(max(layer.values()) + 1)]
    for i in sorted(layer):
        columns[layer[i]].append(i)
    heights = [height for _, height in sizes]
    before: list[list[int]] = [[] for _ in sizes]
    after: list[list[int]] = [[] for _ in sizes]
    chains: dict[tuple[int, int], list[int]] = {}
    for cause in sorted(layer):
        for effect in iterate_bits(graph.child_masks[cause]):
            chain = [cause]
            for passed in range(layer[cause] + 1, layer[effect]):
                columns[passed].append(len(heights))
                chain.append(len(heights))
                heights.append(0.0)
                before.append([])
                after.append([])
            chain.append(effect)
            for left, right in pairwise(chain):
                after[left].append(right)
                before[right].append(left)
            if len(chain) > 2:
                chains[cause, effect] = chain[1:-1]
    beside = [list(iterate_bits(mask)) for mask in graph.sibling_masks]
    return _Net(columns, heights, before, after, beside, chains)


# places


def _place(graph: ADMG, sizes: Sequence[tuple[float, float]], part: int) -> _Placed:
    layer = _layers(graph, part)
    net = _net(graph, sizes, layer)
    y = _heights(net)
    x, left = [], 0.0
    for column in net.columns:
        width = max((sizes[i][0] for i in column if not net.is_stand_in(i)), default=0.0)
        x.append(left + width / 2)
        left += width + _COLUMN_GAP + min(60.0, 2.0 * len(column))
    points = {i: (x[c], y[i]) for c, column in enumerate(net.columns) for i in column}
    lanes = {edge: tuple(points[i] for i in chain) for edge, chain in net.chains.items()}
    return {i: points[i] for i in layer}, lanes


def _pack(
    parts: Sequence[_Placed], sizes: Sequence[tuple[float, float]]
) -> tuple[dict[int, _Point], dict[tuple[int, int], tuple[_Point, ...]]]:
    """Put the parts of a picture in rows, none wider than need be."""
    places: dict[int, _Point] = {}
    lanes: dict[tuple[int, int], tuple[_Point, ...]] = {}
    spans = []
    for nodes, between in parts:
        across = [x + side * sizes[i][0] / 2 for i, (x, _) in nodes.items() for side in (-1, 1)]
        down = [y + side * sizes[i][1] / 2 for i, (_, y) in nodes.items() for side in (-1, 1)]
        down += [y for lane in between.values() for _, y in lane]
        spans.append((min(across), min(down), max(across) - min(across), max(down) - min(down)))
    gap = 1.4 * _ROW_GAP
    area = sum((width + gap) * (height + gap) for _, _, width, height in spans)
    limit = max([1.5 * area**0.5, *(width for _, _, width, _ in spans)])
    x = y = row = 0.0
    for (nodes, between), (left, top, width, height) in zip(parts, spans, strict=True):
        if x and x + width > limit:
            x, y, row = 0.0, y + row + gap, 0.0
        dx, dy = x - left, y - top
        places.update({i: (px + dx, py + dy) for i, (px, py) in nodes.items()})
        for edge, lane in between.items():
            lanes[edge] = tuple((px + dx, py + dy) for px, py in lane)
        x, row = x + width + gap, max(row, height)
    return places, lanes


def _heights(net: _Net) -> dict[int, float]:
    """Order each layer and give each item its height on the page."""
    y: dict[int, float] = {}
    for column in net.columns:
        y.update(_evenly(net, column))
    best, fewest = [list(column) for column in net.columns], _crossings(net, y)
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        for column in net.columns if forward else net.columns[::-1]:
            wish = {i: _barycentre(net, i, y, forward, not forward) for i in column}
            column.sort(key=lambda i, wish=wish: (wish[i], y[i]))  # type: ignore[misc]
            y.update(_spread(net, column, wish))
        if (crossings := _crossings(net, y)) < fewest:
            best, fewest = [list(column) for column in net.columns], crossings
    net.columns[:] = best
    for column in net.columns:
        y.update(_evenly(net, column))
    for sweep in range(2 * _SWEEPS):
        for column in net.columns if sweep % 2 == 0 else net.columns[::-1]:
            wish = {i: _barycentre(net, i, y, True, True) for i in column}
            y.update(_spread(net, column, wish))
    return y


def _barycentre(net: _Net, item: int, y: dict[int, float], before: bool, after: bool) -> float:
    near = [y[i] for i in net.before[item] * before + net.after[item] * after]
    beside = [] if net.is_stand_in(item) else [y[i] for i in net.beside[item]]
    weight = len(near) + _SIDEWAYS * len(beside)
    return (sum(near) + _SIDEWAYS * sum(beside)) / weight if weight else y[item]


def _distance(net: _Net, upper: int, lower: int) -> float:
    lanes = net.is_stand_in(upper) or net.is_stand_in(lower)
    return (net.heights[upper] + net.heights[lower]) / 2 + (_LANE if lanes else _ROW_GAP)


def _evenly(net: _Net, column: Sequence[int]) -> dict[int, float]:
    place, y = {}, 0.0
    for k, item in enumerate(column):
        y += _distance(net, column[k - 1], item) if k else 0.0
        place[item] = y
    return {item: value - y / 2 for item, value in place.items()}


def _spread(net: _Net, column: Sequence[int], wish: dict[int, float]) -> dict[int, float]:
    """Come as near to the wishes as order and distances allow, in least squares."""
    offsets = _evenly(net, column)
    blocks: list[list[float]] = []  # mean wish, weight: pool adjacent violators
    for item in column:
        weight = 2.0 if net.is_stand_in(item) else 1.0
        blocks.append([wish[item] - offsets[item], weight, 1])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            mean, weight, count = blocks.pop()
            total = blocks[-1][1] + weight
            blocks[-1][0] += (mean - blocks[-1][0]) * weight / total
            blocks[-1][1:] = [total, blocks[-1][2] + count]
    shifts = [mean for mean, _, count in blocks for _ in range(int(count))]
    return {item: offsets[item] + shift for item, shift in zip(column, shifts, strict=True)}


def _crossings(net: _Net, y: dict[int, float]) -> int:
    total = 0
    for column in net.columns:
        ends = sorted((y[i], y[j]) for i in column for j in net.after[i])
        rights = [right for _, right in ends]
        for k, (left, right) in enumerate(ends):
            total += sum(
                other < right
                for other, (start, _) in zip(rights[k + 1 :], ends[k + 1 :], strict=True)
                if start > left
            )
    return total
