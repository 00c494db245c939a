"""One reference page for each folder of the package, written from its ``__all__``.

A name is documented where users import it from (``causalppl.graphs.ADMG``), not in the file that
defines it; references to the defining file are led to the public name.
"""

import importlib
import inspect
from pathlib import Path
from typing import Any

from sphinx.pycode import ModuleAnalyzer

import causalppl

PACKAGE = Path(causalppl.__file__).parent
SINGLE_FILES = ("queries", "exceptions", "seeding", "parallel")


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", write_pages)
    app.connect("missing-reference", lead_to_public_name)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def documented_modules() -> list[str]:
    """Folders with a list of public names, then the single files that are there."""
    folders = sorted(
        f"causalppl.{'.'.join(path.parent.relative_to(PACKAGE).parts)}"
        for path in PACKAGE.rglob("*/__init__.py")
    )
    files = [f"causalppl.{name}" for name in SINGLE_FILES if (PACKAGE / f"{name}.py").exists()]
    return [name for name in folders if public_names(name)] + files


def public_names(module: str) -> list[str]:
    """What ``__all__`` lists or, in a single file without one, what it defines."""
    found = importlib.import_module(module)
    defined = [
        name
        for name, thing in vars(found).items()
        if not name.startswith("_") and getattr(thing, "__module__", None) == module
    ]
    is_folder = hasattr(found, "__path__")
    return list(getattr(found, "__all__", [] if is_folder else defined))


def write_pages(app: Any) -> None:
    """Write ``reference/generated/*.md``, leaving unchanged pages alone."""
    folder = Path(app.srcdir) / "reference" / "generated"
    folder.mkdir(parents=True, exist_ok=True)
    pages = {f"{module}.md": module_page(module) for module in documented_modules()}
    pages["causalppl.md"] = front_page()
    for stale in set(folder.glob("*.md")) - {folder / name for name in pages}:
        stale.unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def module_page(module: str) -> str:
    """The module's own introduction, then each public name in full."""
    found = importlib.import_module(module)
    text = inspect.getdoc(found) or ""
    lines = [f"# `{module}`", ""]
    if "|--" in text or "| --" in text:  # a Markdown table
        lines += [text, "", "```{eval-rst}", f".. module:: {module}", ""]
    else:
        lines += ["```{eval-rst}", f".. automodule:: {module}", ""]
    for name in public_names(module):
        lines += directive(module, name, getattr(found, name))
    return "\n".join([*lines, "```", ""])


def directive(module: str, name: str, thing: Any) -> list[str]:
    """The autodoc directive that fits ``thing``."""
    if inspect.isclass(thing) and issubclass(thing, BaseException):
        return [f".. autoexception:: {module}.{name}", "   :show-inheritance:", ""]
    if inspect.isclass(thing):
        # Python would call the fields of a named tuple "Alias for field number 0"
        fields = ", ".join(getattr(thing, "_fields", ()))
        told = [f"   :exclude-members: {fields}"] if fields else []
        options = ["   :members:", *told, "   :show-inheritance:", ""]
        return [f".. autoclass:: {module}.{name}", *options]
    if inspect.isroutine(thing):
        return [f".. autofunction:: {module}.{name}", ""]
    # a type alias or a constant: autodoc would show the docstring of its type
    text = [f"   {line}".rstrip() for line in written_below(module, name)]
    return [f".. py:data:: {name}", "", *text, ""]


def written_below(module: str, name: str) -> list[str]:
    """The string literal below the line that defines ``name`` in ``module`` or in its folder."""
    place = PACKAGE.joinpath(*module.split(".")[1:])
    files = sorted(place.glob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    for file in files:
        inner = ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
        found = ModuleAnalyzer.for_module(inner.removesuffix(".__init__")).find_attr_docs()
        if ("", name) in found:
            return found["", name]
    raise LookupError(f"{module}.{name} has no docstring; write one below the line that defines it")


def front_page() -> str:
    """Names of ``import causalppl as cp``, each linked to its place and summed up in a line."""
    lines = ["# `causalppl`", "", inspect.getdoc(causalppl) or "", ""]
    for name in getattr(causalppl, "__all__", []):
        thing = getattr(causalppl, name)
        place = public_place(thing, name)
        if place:
            role = "class" if inspect.isclass(thing) else "func"
            summary = (inspect.getdoc(thing) or "").partition("\n")[0]
            lines.append(f"- {{py:{role}}}`{name} <{place}>`: {summary}")
    return "\n".join([*lines, ""])


def public_place(thing: Any, name: str) -> str | None:
    """The dotted name under which ``thing`` is documented, if it is."""
    for module in documented_modules():
        if name in public_names(module):
            if getattr(importlib.import_module(module), name) is thing:
                return f"{module}.{name}"
    return None


def lead_to_public_name(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Resolve ``causalppl.graphs.admg.ADMG`` and ``causalppl.ADMG`` to the documented name."""
    target = str(node.get("reftarget", ""))
    if node.get("refdomain") != "py" or not target.startswith("causalppl."):
        return None
    parts = target.split(".")
    for module in documented_modules():
        names = public_names(module)
        for position, part in enumerate(parts[1:], start=1):
            home = ".".join(parts[:position])
            if part in names and (home == "causalppl" or home.startswith(f"{module}.")):
                place = ".".join([module, *parts[position:]])
                return env.domains["py"].resolve_xref(
                    env, node["refdoc"], app.builder, "obj", place, node, contnode
                )
    return None
