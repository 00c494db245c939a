"""Names of the package in the reference's text lead to where they are documented.

The introduction of a page names what is on it as `name` or ``name``, in reStructuredText or
Markdown. Docstrings write `name`; it is looked up as a member of the class it stands in, then on
its page, then among the names of the whole package, where it must be the only one so called.
What is no public name stays as it is, in the type of code.
"""

from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from typing import Any

from docutils import nodes
from reference_pages import documented_modules, public_names
from sphinx import addnodes
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

FOLDER = "reference/generated/"
log = logging.getLogger(__name__)


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("doctree-resolved", link_names)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def link_names(app: Any, doctree: nodes.document, page: str) -> None:
    """Turn the names on a page of the reference into links; warn of a table without a name."""
    if not page.startswith(FOLDER):
        return
    module = page.removeprefix(FOLDER)
    known = app.env.domains["py"].objects
    tables = list(above_entries(doctree, nodes.table))
    for table in tables:
        write_dashes(table)
        join_rows(table)
    linked = set()
    for node in [*doctree.findall(nodes.title_reference), *above_entries(doctree, nodes.literal)]:
        place = next((each for each in candidates(node, module) if each in known), None)
        if place:
            text = nodes.literal("", node.astext(), classes=["xref", "py", "py-obj"])
            at = known[place]
            node.replace_self(make_refnode(app.builder, page, at.docname, at.node_id, text, place))
            linked.add(place)
        else:
            node.replace_self(nodes.literal("", node.astext()))
    names = public_names(module) if tables and module in documented_modules() else []
    missing = [name for name in names if f"{module}.{name}" not in linked]
    if missing:
        log.warning("the table of %s does not name %s", module, ", ".join(missing), location=page)


def write_dashes(table: nodes.Element) -> None:
    """Show the cells that hold a dash: to reStructuredText it begins a list."""
    for cell in table.findall(nodes.entry):
        if len(cell) == 1 and isinstance(cell[0], nodes.bullet_list) and not cell.astext():
            cell[0].replace_self(nodes.paragraph("", "-"))


def join_rows(table: nodes.Element) -> None:
    """Join rows whose names end with a comma to the next: to reStructuredText they are two."""
    rows = list(table.findall(nodes.row))
    above = rows[0]
    for row in rows[1:]:
        if not above[0].astext().endswith(","):
            above = row
            continue
        for cell, more in zip(above, row, strict=True):
            if cell.children and more.children:
                cell[0].extend([nodes.Text(" "), *more[0].children])
            else:
                cell.extend(more.children)
        row.parent.remove(row)


def above_entries(doctree: nodes.document, kind: type[nodes.Element]) -> Iterator[nodes.Element]:
    """Nodes of a kind in the introduction; below it, a literal is often an argument's name."""
    outside = (addnodes.desc, nodes.reference, nodes.title)
    for node in doctree.findall(kind):
        if enclosing(node, outside) is None:
            yield node


def candidates(node: nodes.Element, module: str) -> Iterator[str]:
    """Full names that the text of ``node`` may stand for, nearest first."""
    text = node.astext().removesuffix("()").removeprefix("cp.").removeprefix("causalppl.")
    entry = enclosing(node, addnodes.desc)
    while entry is not None:
        yield f"{module}.{entry[0].get('fullname', '')}.{text}"
        entry = enclosing(entry, addnodes.desc)
    yield f"{module}.{text}"
    yield f"causalppl.{text}"
    if isinstance(node, nodes.title_reference) or module == "causalppl":
        first, dot, rest = text.partition(".")
        places = homes().get(first, [])
        if len(places) == 1:
            yield f"{places[0]}.{first}{dot}{rest}"


@cache
def homes() -> dict[str, list[str]]:
    """For each public name, the modules that it is documented in."""
    found: dict[str, list[str]] = defaultdict(list)
    for module in documented_modules():
        for name in public_names(module):
            found[name].append(module)
    return found


def enclosing(node: nodes.Element, kind: type | tuple[type, ...]) -> Any:
    """Find the nearest ancestor of a kind, or of some; None where there is none."""
    above = node.parent
    while above is not None and not isinstance(above, kind):
        above = above.parent
    return above
