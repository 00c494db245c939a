"""Each tutorial as a Jupyter notebook, to download from the end of its page."""

import re
from pathlib import Path
from typing import Any

FOLDER = "notebooks"


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", write_notebooks)
    app.connect("source-read", link_notebook)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_notebooks(app: Any) -> None:
    """Write ``notebooks/NAME.ipynb`` for each ``tutorials/NAME.md``, not executed."""
    import nbformat
    from myst_nb.core.read import read_myst_markdown_notebook

    home = Path(app.srcdir)
    (home / FOLDER).mkdir(exist_ok=True)
    for page in sorted((home / "tutorials").glob("*.md")):
        notebook = read_myst_markdown_notebook(page.read_text(encoding="utf-8"), path=page)
        for number, cell in enumerate(notebook.cells):
            cell["id"] = f"cell-{number}"  # the same at every build
            # pages of this site are not beside the notebook
            cell.source = re.sub(r"\{doc\}`([^<`]*?) ?<[^>]*>`", r"\1", cell.source)
        text = nbformat.writes(notebook)
        path = home / FOLDER / f"{page.stem}.ipynb"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def link_notebook(app: Any, docname: str, source: list[str]) -> None:
    """Add the link at the end of a tutorial's page."""
    folder, _, name = docname.partition("/")
    if folder == "tutorials":
        target = f"{name}.ipynb </{FOLDER}/{name}.ipynb>"
        source[0] += f"\n\n---\n\nThis page as a notebook: {{download}}`{target}`\n"
