"""How the edges of a picture run: curves that begin and end at the boxes and avoid the others."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.graphs.admg import ADMG
from causalppl.graphs.layout import Box, Layout
from causalppl.graphs.mixed import iterate_bits

Points: TypeAlias = NDArray[np.float64]

HEAD_LENGTH, HEAD_WIDTH = 10.0, 8.0
_CLEARANCE = 2.0
_STEPS = np.linspace(0, 1, 24)[:, None]


@dataclass(frozen=True)
class Route:
    """An edge in a picture.

    Attributes:
        start: Name of the node where it starts.
        end: Name of the node where it ends.
        points: Cubic Bézier curves laid end to end, shape ``(3 * curves + 1, 2)``.
        heads: Arrowheads as triangles, each of shape ``(3, 2)``; the tip comes first.
        bidirected: Whether it is ``<->``.
    """

    start: str
    end: str
    points: Points
    heads: tuple[Points, ...]
    bidirected: bool


def route(graph: ADMG, layout: Layout) -> tuple[Route, ...]:
    """Draw all edges: of several courses each takes the one that least disturbs what is there.

    Example:
        >>> from causalppl.graphs import ADMG
        >>> from causalppl.graphs.layout import lay_out
        >>> bow = ADMG.parse("X -> Y; X <-> Y")
        >>> [len(edge.heads) for edge in route(bow, lay_out(bow))]
        [1, 2]
    """
    field = _Field(layout.boxes)
    routes = []
    for bidirected, masks in ((False, graph.child_masks), (True, graph.sibling_masks)):
        for i, mask in enumerate(masks):
            for j in iterate_bits(mask >> i << i if bidirected else mask):
                a, b = layout.boxes[i], layout.boxes[j]
                courses = _arcs(a, b) if bidirected else _arrows(a, b, layout.lanes.get((i, j), ()))
                points = field.best(courses, i, j)
                routes.append(_with_heads(a, b, points, bidirected))
    return tuple(routes)


class _Field:
    """What is on the page so far; courses are offered to it by rising cost."""

    def __init__(self, boxes: Iterable[Box]) -> None:
        self.centres = np.array([(box.x, box.y) for box in boxes])
        self.halves = np.array([(box.width / 2, box.height / 2) for box in boxes]) + 5
        self.drawn: list[Points] = []

    def best(self, courses: Iterator[tuple[float, Points]], a: int, b: int) -> Points:
        others = np.delete(np.arange(len(self.centres)), [a, b])
        centres, halves = self.centres[others], self.halves[others]
        # among more than a hundred edges, keeping clear of them all is hopeless
        drawn = np.concatenate(self.drawn) if 0 < len(self.drawn) < 100 else np.zeros((0, 2))
        lowest, chosen = np.inf, None
        for cost, points in courses:
            if cost >= lowest:
                break
            samples = sample(points)
            inside = (np.abs(samples[:, None] - centres) < halves).all(-1).any(1).sum()
            total = cost + 100.0 * inside
            if total < lowest:
                gaps = np.abs(samples[2:-2:2, None] - drawn).max(-1)
                total += 6.0 * (gaps < 6).any(1).sum()
            if total < lowest:
                lowest, chosen = total, points
        assert chosen is not None  # there is always at least one course
        self.drawn.append(sample(chosen)[::2])
        return chosen


def sample(points: Points) -> Points:
    """Take points along Bézier curves.

    Args:
        points: Shape ``(3 * curves + 1, 2)``.

    Returns:
        Shape ``(24 * curves, 2)``.
    """
    t = _STEPS
    parts = [
        (1 - t) ** 3 * p[0] + 3 * t * (1 - t) ** 2 * p[1] + 3 * t**2 * (1 - t) * p[2] + t**3 * p[3]
        for p in (points[k : k + 4] for k in range(0, len(points) - 1, 3))
    ]
    return np.concatenate(parts)


def _arrows(
    a: Box, b: Box, lane: tuple[tuple[float, float], ...]
) -> Iterator[tuple[float, Points]]:
    yield 0.0, _arc(a, b, 0.0)
    if lane:
        yield 6.0, _spline(a, b, lane)
    length = math.hypot(b.x - a.x, b.y - a.y)
    for bulge in (0.12, 0.25, 0.4, 0.6, 0.9):
        for side in (-1, 1):
            yield 8.0 + 40 * bulge, _arc(a, b, side * (20 + bulge * length))
        for side in (-1, 1):
            yield 10.0 + 45 * bulge, _arch(a, b, side * (15 + 0.7 * bulge * length))


def _arcs(a: Box, b: Box) -> Iterator[tuple[float, Points]]:
    length = math.hypot(b.x - a.x, b.y - a.y)
    # upwards first, and to the left for nodes above one another
    first = -1 if b.x >= a.x else 1
    for bulge in (0.1, 0.25, 0.45, 0.7, 1.0, 1.4):
        for side in (first, -first):
            yield 40 * bulge + (side != first), _arc(a, b, side * (42 + bulge * length))
        for side in (first, -first):
            yield 2 + 45 * bulge + (side != first), _arch(a, b, side * (30 + 0.7 * bulge * length))


def _arch(a: Box, b: Box, rise: float) -> Points:
    """A flatter curve that leaves both ends steeply, to go around what lies between them."""
    ends = np.array([(a.x, a.y), (b.x, b.y)])
    along = ends[1] - ends[0]
    unit = along / max(math.hypot(*along), 1e-9)
    lift = rise * np.array([-unit[1], unit[0]])
    controls = ends + lift + np.outer((1, -1), along / 8)
    return np.array([_edge_of(a, controls[0]), *controls, _edge_of(b, controls[1])])


def _arc(a: Box, b: Box, bulge: float) -> Points:
    """One curve whose control point lies ``bulge`` pixels beside the middle."""
    ends = np.array([(a.x, a.y), (b.x, b.y)])
    along = ends[1] - ends[0]
    across = np.array([-along[1], along[0]]) / max(math.hypot(*along), 1e-9)
    control = ends.mean(0) + bulge * across
    start, end = _edge_of(a, control), _edge_of(b, control)
    return np.array([start, start + (control - start) * 2 / 3, end + (control - end) * 2 / 3, end])


def _spline(a: Box, b: Box, lane: tuple[tuple[float, float], ...]) -> Points:
    """A smooth curve through the points of a lane (Catmull and Rom's)."""
    inner = np.array(lane)
    knots = np.vstack([_edge_of(a, inner[0]), inner, _edge_of(b, inner[-1])])
    padded = np.vstack([knots[0], knots, knots[-1]])
    slopes = (padded[2:] - padded[:-2]) / 6
    points = [knots[0]]
    for k in range(len(knots) - 1):
        points += [knots[k] + slopes[k], knots[k + 1] - slopes[k + 1], knots[k + 1]]
    return np.array(points)


def _edge_of(box: Box, towards: Points) -> Points:
    """Find where the ray from a box's centre leaves its rounded outline."""
    x, y = float(towards[0]) - box.x, float(towards[1]) - box.y
    length = max(math.hypot(x, y), 1e-9)
    x, y = x / length, y / length
    radius = corner_radius(box) + _CLEARANCE
    core_x, core_y = box.width / 2 + _CLEARANCE - radius, box.height / 2 + _CLEARANCE - radius
    near, far = 0.0, (box.width + box.height) / 2 + 2 * _CLEARANCE
    for _ in range(16):
        middle = (near + far) / 2
        dx, dy = abs(middle * x) - core_x, abs(middle * y) - core_y
        outside = math.hypot(max(dx, 0.0), max(dy, 0.0)) + min(max(dx, dy), 0.0) > radius
        near, far = (near, middle) if outside else (middle, far)
    return np.array((box.x + far * x, box.y + far * y))


def corner_radius(box: Box) -> float:
    """Say how round a box is; one line of text makes a pill."""
    return min(box.height / 2, 17.0)


def _with_heads(a: Box, b: Box, points: Points, bidirected: bool) -> Route:
    points = points.copy()
    heads = [_head(points[-2], points[-1])]
    points[-1] = heads[0][1:].mean(0)
    if bidirected:
        heads.append(_head(points[1], points[0]))
        points[0] = heads[1][1:].mean(0)
    return Route(a.name, b.name, points, tuple(heads), bidirected)


def _head(before: Points, tip: Points) -> Points:
    along = (tip - before) / max(math.hypot(*(tip - before)), 1e-9)
    across = np.array([-along[1], along[0]]) * HEAD_WIDTH / 2
    base = tip - HEAD_LENGTH * along
    return np.array([tip, base + across, base - across])
