"""Pictures: nothing overlaps, labels fit, edges begin and end at their nodes."""

import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath

from causalppl.exceptions import GraphError
from causalppl.graphs import ADMG, bow, draw, front_door, random_admg, to_svg
from causalppl.graphs.layout import FONT_SIZE, lay_out, text_width, wrap
from causalppl.graphs.routing import route

from .truth import admgs

SVG = "{http://www.w3.org/2000/svg}"
LONG = ADMG.parse(
    '"smoking cessation between 1971 and 1982" -> weight_change_in_kilograms;'
    "supercalifragilisticexpialidocious -> weight_change_in_kilograms; 体重 -> WWWWWWWWWWWWWWWW"
)
GRAPHS = [
    ADMG(),
    ADMG(["X"]),
    bow(),
    front_door(),
    LONG,
    ADMG([f"V{i}" for i in range(40)]),
    *(
        random_admg(n, directed=d, bidirected=d / 3, seed=n)
        for n in (5, 15, 40)
        for d in (0.05, 0.3)
    ),
]


def overlapping(a, b, gap):
    return (
        abs(a.x - b.x) < (a.width + b.width) / 2 + gap
        and abs(a.y - b.y) < (a.height + b.height) / 2 + gap
    )


@pytest.mark.parametrize("graph", GRAPHS, ids=len)
def test_nodes_do_not_overlap(graph):
    boxes = lay_out(graph).boxes
    assert [box.name for box in boxes] == list(graph.nodes)
    pairs = [(a, b) for i, a in enumerate(boxes) for b in boxes[:i]]
    assert not [(a.name, b.name) for a, b in pairs if overlapping(a, b, gap=10)]


@given(admgs(max_nodes=8))
@settings(max_examples=50)
def test_causes_stand_left_of_effects_and_nothing_overlaps(graph):
    boxes = {box.name: box for box in lay_out(graph).boxes}
    assert all(boxes[a].x < boxes[b].x for a, b in graph.directed_edges)
    pairs = [(a, b) for a in boxes.values() for b in boxes.values() if a.name < b.name]
    assert not any(overlapping(a, b, gap=10) for a, b in pairs)


def test_a_chain_is_straight_and_evenly_spaced():
    boxes = lay_out(ADMG.parse("A -> B -> C -> D")).boxes
    assert len({box.y for box in boxes}) == 1
    assert len(set(np.diff([box.x for box in boxes]).round(6))) == 1


def test_simple_pictures_have_no_edge_behind_a_node():
    for graph in (bow(), front_door(), ADMG.parse("Z -> X -> Y; Z -> Y; W -> Y")):
        layout = lay_out(graph)
        for edge in route(graph, layout):
            for box in layout.boxes:
                if box.name not in (edge.start, edge.end):
                    far = np.abs(edge.points - (box.x, box.y)) > (box.width / 2, box.height / 2)
                    assert far.any(1).all()


@pytest.mark.parametrize("graph", GRAPHS, ids=len)
def test_arrowheads_touch_the_nodes_they_point_to(graph):
    layout = lay_out(graph)
    boxes = {box.name: box for box in layout.boxes}
    routes = route(graph, layout)
    assert [(r.start, r.end) for r in routes if not r.bidirected] == list(graph.directed_edges)
    assert [(r.start, r.end) for r in routes if r.bidirected] == list(graph.bidirected_edges)
    for edge in routes:
        ends = [edge.end, edge.start] if edge.bidirected else [edge.end]
        assert len(edge.heads) == len(ends)
        for head, name in zip(edge.heads, ends, strict=True):
            box, tip = boxes[name], head[0]
            beyond = np.abs(tip - (box.x, box.y)) - (box.width / 2, box.height / 2)
            assert -17 < beyond.max() < 4  # on the outline, whose corners are round


@pytest.mark.parametrize("graph", [LONG, ADMG(["x", "iiiii", "Mmmmm", "Age_at_baseline"])])
def test_labels_fit_their_boxes(graph):
    for box in lay_out(graph).boxes:
        for line in box.lines:
            assert text_width(line) <= box.width - 20
            if line.isascii():
                drawn = TextPath((0, 0), line, size=FONT_SIZE * 0.95).get_extents().width
                assert drawn <= box.width - 8


def test_long_labels_are_broken_evenly():
    assert wrap("X") == ("X",)
    assert wrap("weight_change_in_kg") == ("weight_", "change_in_kg")
    assert "".join(wrap("a_b.c-d/e@f:g,h" * 5)) == "a_b.c-d/e@f:g,h" * 5


# SVG


@pytest.mark.parametrize("graph", GRAPHS, ids=len)
def test_svg_is_well_formed_and_holds_everything(graph):
    root = ET.fromstring(to_svg(graph))
    assert len(root.findall(f"{SVG}path")) == len(graph.directed_edges) + len(
        graph.bidirected_edges
    )
    assert len(root.findall(f"{SVG}rect")) == 1 + len(graph)
    left, top, width, height = map(float, root.get("viewBox").split())
    for node in root.findall(f"{SVG}rect")[1:]:
        assert left < float(node.get("x"))
        assert float(node.get("x")) + float(node.get("width")) < left + width
        assert top < float(node.get("y"))
        assert float(node.get("y")) + float(node.get("height")) < top + height


def test_svg_shows_what_kind_each_edge_and_node_is():
    root = ET.fromstring(to_svg(ADMG.parse("X -> Y; X <-> Y; U"), hidden="U", highlight=["Y"]))
    dashed = [path.get("stroke-dasharray") is not None for path in root.findall(f"{SVG}path")]
    assert dashed == [False, True]
    assert len(root.findall(f"{SVG}polygon")) == 3
    boxes = root.findall(f"{SVG}rect")[1:]
    assert [box.get("stroke-dasharray") is not None for box in boxes] == [False, False, True]
    assert len({box.get("fill") for box in boxes}) == 3


def test_svg_escapes_labels():
    root = ET.fromstring(to_svg(ADMG(["<b>&"])))
    assert [text.text for text in root.findall(f"{SVG}text")] == ["<b>&"]


def test_notebooks_show_the_picture():
    assert bow()._repr_svg_() == to_svg(bow())


def test_svg_needs_no_matplotlib():
    program = (
        "import sys; from causalppl.graphs import bow; bow()._repr_svg_();"
        "print([m for m in ('matplotlib', 'pandas', 'xarray', 'arviz') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_graphs_can_be_used_without_torch():
    program = (
        "import sys, types; package = types.ModuleType('causalppl');"
        "import importlib.util as u; spec = u.find_spec('causalppl');"
        "package.__path__ = list(spec.submodule_search_locations);"
        "sys.modules['causalppl'] = package;"
        "from causalppl.graphs import bow; bow().districts(); print('torch' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "False"


# matplotlib


@pytest.mark.parametrize("graph", GRAPHS[:6], ids=len)
def test_matplotlib_draws_on_the_axes_it_is_given(graph):
    ax = Figure().subplots()
    if "体重" in graph:
        graph = graph.subgraph(set(graph.nodes) - {"体重"})  # not in matplotlib's own font
    assert draw(graph, ax) is ax
    ax.figure.canvas.draw()
    heads = len(graph.directed_edges) + 2 * len(graph.bidirected_edges)
    edges = len(graph.directed_edges) + len(graph.bidirected_edges)
    lines = sum(len(box.lines) for box in lay_out(graph).boxes)
    assert len(ax.patches) == heads + edges + len(graph) + lines


def test_matplotlib_makes_axes_if_none_are_given():
    import matplotlib.pyplot as plt

    ax = draw(ADMG.parse("X -> cost_in_$; X <-> $y^2$"), hidden="X")
    ax.figure.canvas.draw()
    plt.close(ax.figure)
    assert ax.get_aspect() == 1.0


@pytest.mark.parametrize("role", ["hidden", "highlight"])
def test_unknown_nodes_are_named(role):
    for function in (to_svg, draw):
        with pytest.raises(GraphError, match="unknown node 'W'"):
            function(bow(), **{role: ["W"]})
