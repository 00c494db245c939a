"""Pictures of diagrams, as SVG text or on matplotlib axes; Graphviz is not needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from causalppl.given import check_axes
from causalppl.graphs.checked import takes_diagram
from causalppl.graphs.layout import FONT_SIZE, LINE_HEIGHT, Box, lay_out
from causalppl.graphs.mixed import Nodes
from causalppl.graphs.routing import Points, Route, corner_radius, route, sample

if TYPE_CHECKING:
    from causalppl.graphs.admg import ADMG

_MARGIN = 14.0
_TEXT, _CAUSE, _SHARED = "#1b2733", "#46515e", "#b5482f"
_DASHES = (5.0, 3.5)
_PLAIN, _HIDDEN = ("#eaf1fb", "#4a74b0"), ("#ffffff", "#8592a0")
_LIT, _SET = ("#ffe2a0", "#c07f00"), ("#cfe8cf", "#2e6b34")
_WORLDS = (_PLAIN, ("#fbe6dd", "#b5482f"), ("#e3f1df", "#4c8a3f"), ("#efe3f5", "#7d4f96"))


@dataclass(frozen=True)
class _Picture:
    boxes: tuple[Box, ...]
    routes: tuple[Route, ...]
    hidden: frozenset[str]
    highlight: frozenset[str]
    set_here: frozenset[str]
    worlds: Mapping[str, int]
    corner: tuple[float, float]
    size: tuple[float, float]

    def style(self, box: Box) -> dict[str, Any]:
        """Fill, outline and corners: what is set has sharp corners and a strong outline."""
        hidden, lit, is_set = (
            box.name in names for names in (self.hidden, self.highlight, self.set_here)
        )
        plain = _WORLDS[self.worlds.get(box.name, 0) % len(_WORLDS)]
        in_world = box.name in self.worlds
        fill, stroke = (
            _LIT if lit else _SET if is_set and not in_world else _HIDDEN if hidden else plain
        )
        return {
            "fill": fill,
            "stroke": stroke,
            "width": 2.8 if is_set else 2.2 if lit else 1.4,
            "dashed": hidden,
            "radius": 0.0 if is_set else corner_radius(box),
        }


def _picture(
    graph: ADMG,
    hidden: Nodes,
    highlight: Nodes,
    set_here: Nodes = (),
    worlds: Mapping[str, int] | None = None,
) -> _Picture:
    layout = lay_out(graph)
    routes = route(graph, layout)
    corners = [
        (box.x + side * box.width / 2, box.y + side * box.height / 2)
        for box in layout.boxes
        for side in (-1, 1)
    ]
    extent = np.concatenate([np.array(corners).reshape(-1, 2), *(sample(r.points) for r in routes)])
    low = extent.min(0) - _MARGIN if len(extent) else np.zeros(2)
    high = extent.max(0) + _MARGIN if len(extent) else np.full(2, 2 * _MARGIN)
    return _Picture(
        layout.boxes,
        routes,
        frozenset(graph.in_order(hidden)),
        frozenset(graph.in_order(highlight)),
        frozenset(graph.in_order(set_here)),
        worlds or {},
        (float(low[0]), float(low[1])),
        (float(high[0] - low[0]), float(high[1] - low[1])),
    )


@takes_diagram
def to_svg(graph: ADMG, *, hidden: Nodes = (), highlight: Nodes = ()) -> str:
    """Draw a diagram as SVG: causes to the left, ``<->`` dashed; notebooks show it by themselves.

    Args:
        graph: Any diagram; the picture is made for up to about 40 nodes.
        hidden: Nodes to draw with a dashed outline, such as latent ones.
        highlight: Nodes to draw in another colour.

    Returns:
        A complete ``<svg>`` element. The same diagram always gives the same text.

    Raises:
        GraphError: A node of ``hidden`` or ``highlight`` is not in the graph.

    References:
        Sugiyama, Tagawa and Toda (1981), for the layout.

    Example:
        >>> from causalppl.graphs import ADMG
        >>> to_svg(ADMG.parse("X -> Y; X <-> Y"))[:42]
        '<svg xmlns="http://www.w3.org/2000/svg" wi'
    """
    picture = _picture(graph, hidden, highlight)
    (left, top), (width, height) = picture.corner, picture.size
    title = "Diagram: " + (str(graph) or "empty")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="{left:.1f} {top:.1f} {width:.1f} {height:.1f}" role="img" '
        f'font-family="Helvetica, Arial, sans-serif" font-size="{FONT_SIZE:g}" '
        'style="max-width:100%;height:auto">',
        f"<title>{escape(title)}</title>",
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" '
        'rx="6" fill="#ffffff"/>',
        *map(_svg_route, picture.routes),
        *(_svg_box(box, **picture.style(box)) for box in picture.boxes),
        "</svg>",
    ]
    return "\n".join(parts)


def _svg_points(points: Points) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _svg_route(edge: Route) -> str:
    colour = _SHARED if edge.bidirected else _CAUSE
    dashes = f' stroke-dasharray="{_DASHES[0]:g} {_DASHES[1]:g}"' if edge.bidirected else ""
    path = f"M {_svg_points(edge.points[:1])} C {_svg_points(edge.points[1:])}"
    heads = "".join(
        f'<polygon points="{_svg_points(head)}" fill="{colour}"/>' for head in edge.heads
    )
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{dashes}/>{heads}'


def _svg_box(box: Box, fill: str, stroke: str, width: float, dashed: bool, radius: float) -> str:
    dashes = ' stroke-dasharray="4 3"' if dashed else ""
    rectangle = (
        f'<rect x="{box.x - box.width / 2:.1f}" y="{box.y - box.height / 2:.1f}" '
        f'width="{box.width:.1f}" height="{box.height:.1f}" rx="{radius:g}" '
        f'fill="{fill}" stroke="{stroke}" stroke-width="{width:g}"{dashes}/>'
    )
    text = "".join(
        f'<text x="{box.x:.1f}" y="{y:.1f}" text-anchor="middle" fill="{_TEXT}">'
        f"{escape(line)}</text>"
        for line, y in _baselines(box)
    )
    return rectangle + text


def _baselines(box: Box) -> list[tuple[str, float]]:
    first = box.y - LINE_HEIGHT * (len(box.lines) - 1) / 2 + 0.35 * FONT_SIZE
    return [(line, first + k * LINE_HEIGHT) for k, line in enumerate(box.lines)]


@takes_diagram
def draw(
    graph: ADMG,
    ax: Any = None,
    *,
    hidden: Nodes = (),
    highlight: Nodes = (),
    set_here: Nodes = (),
    worlds: Mapping[str, int] | None = None,
) -> Any:
    """Draw a diagram on matplotlib axes; everything, the labels too, scales with the axes.

    Args:
        graph: Any diagram; the picture is made for up to about 40 nodes.
        ax: Axes to draw on; None makes a figure of a fitting size.
        hidden: Nodes to draw with a dashed outline, such as latent ones.
        highlight: Nodes to draw in another colour.
        set_here: Nodes to draw with sharp corners and a strong outline: interventions.
        worlds: Node to the number of its world, 0 for the factual one; each has its tint.

    Returns:
        The axes.

    Raises:
        GraphError: A node of ``hidden``, ``highlight`` or ``set_here`` is not in the graph.

    References:
        Sugiyama, Tagawa and Toda (1981), for the layout.

    Example:
        >>> from causalppl.graphs import ADMG
        >>> from matplotlib.figure import Figure
        >>> ax = draw(ADMG.parse("X -> Y; X <-> Y"), Figure().subplots(), hidden="X")
    """
    check_axes(ax)
    picture = _picture(graph, hidden, highlight, set_here, worlds)
    (left, top), (width, height) = picture.corner, picture.size
    if ax is None:
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(figsize=(width / 72, height / 72), layout="constrained")
    ax.set(xlim=(left, left + width), ylim=(top + height, top), aspect="equal")
    ax.set_axis_off()
    # a line's width is in points on paper, the picture in pixels
    paper = ax.get_position().size * ax.figure.get_size_inches() * 72
    scale = float(min(paper / np.array([width, height])))
    for edge in picture.routes:
        _draw_route(ax, edge, scale)
    for box in picture.boxes:
        _draw_box(ax, box, scale, **picture.style(box))
    return ax


def _draw_route(ax: Any, edge: Route, scale: float) -> None:
    from matplotlib.patches import PathPatch, Polygon
    from matplotlib.path import Path

    colour = _SHARED if edge.bidirected else _CAUSE
    codes = [Path.MOVETO] + [Path.CURVE4] * (len(edge.points) - 1)
    style = (0, _DASHES) if edge.bidirected else "solid"
    line = {"edgecolor": colour, "linewidth": 1.5 * scale, "linestyle": style}
    ax.add_patch(PathPatch(Path(edge.points, codes), fill=False, capstyle="butt", **line))
    for head in edge.heads:
        ax.add_patch(Polygon(head, closed=True, facecolor=colour, linewidth=0))


def _draw_box(
    ax: Any,
    box: Box,
    scale: float,
    fill: str,
    stroke: str,
    width: float,
    dashed: bool,
    radius: float,
) -> None:
    from matplotlib.patches import FancyBboxPatch, PathPatch
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    ax.add_patch(
        FancyBboxPatch(
            (box.x - box.width / 2, box.y - box.height / 2),
            box.width,
            box.height,
            boxstyle=f"round,pad=0,rounding_size={radius}",
            facecolor=fill,
            edgecolor=stroke,
            linewidth=width * scale,
            linestyle=(0, (4, 3)) if dashed else "solid",
            zorder=2,
        )
    )
    for line, baseline in _baselines(box):
        # outlines of letters, since text of a fixed size would not follow the boxes
        letters = TextPath((0, 0), line.replace("$", r"\$"), size=FONT_SIZE * 0.95)
        extents = letters.get_extents() if len(letters.vertices) else None
        middle = (extents.x0 + extents.x1) / 2 if extents is not None else 0.0
        placed = Affine2D().translate(-middle, 0).scale(1, -1).translate(box.x, baseline)
        ax.add_patch(PathPatch(placed.transform_path(letters), color=_TEXT, linewidth=0, zorder=3))
