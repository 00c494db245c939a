"""The layers of the package, read from its imports: each module imports from below only."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "causalppl"
MAX_LINES = 600
# Files that still hold more than one idea, and what they may not grow beyond.
TO_BE_SPLIT: dict[str, int] = {}

# From the bottom up. Members of one row do not import each other.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"exceptions", "typing", "seeding", "parallel", "shapes", "given", "spelling"}),
    frozenset({"user_warning"}),
    frozenset({"queries", "data"}),
    frozenset({"graphs"}),
    frozenset({"programs", "identification"}),
    frozenset({"inference"}),
    frozenset({"estimation", "discovery", "mechanisms"}),
    frozenset({"bounds"}),
    frozenset({"examples"}),
    frozenset({"envs"}),
    frozenset({"agents"}),
    frozenset({"plots", "cli", "demo"}),
)
LAYER = {member: number for number, row in enumerate(LAYERS) for member in row}
# These stand above all layers: they only put the rest together.
ENTRY_POINTS = {"__init__", "__main__"}

# Single files on one row may be ordered among themselves.
NEIGHBOURS = {
    "seeding": {"exceptions", "typing"},
    "given": {"exceptions"},
    "parallel": {"exceptions", "typing", "seeding"},
    "cli": {"demo", "plots"},
}

# (importing file, imported module): upward imports made when a method is called.
LATE_UPWARD_IMPORTS = {
    # scm.fit(data) is how users write it; fitting itself is inference and lives there
    ("programs/scm.py", "causalppl.inference.fit"),
    # so are model.save(path) and SCM.load(path, program), which write and read how it was fitted
    ("programs/scm.py", "causalppl.inference.model_files"),
}

NO_TORCH = ("identification", "queries")
NOT_A_NOUN = {"utils", "util", "core", "common", "misc", "helpers", "contrib"}


@dataclass(frozen=True)
class Import:
    """One import of a module of this package or of another."""

    module: str
    line: int
    late: bool  # inside a function, or for the type checker only

    @property
    def member(self) -> str:
        """``graphs`` for ``causalppl.graphs.mixed``; empty for the package itself."""
        return self.module.partition(".")[2].partition(".")[0]

    @property
    def is_ours(self) -> bool:
        return self.module.partition(".")[0] == "causalppl"


def imports(source: str) -> list[Import]:
    """All imports of a file, at whatever depth."""
    return sorted(
        _walk(ast.parse(source), late=False), key=lambda found: (found.line, found.module)
    )


def _walk(node: ast.AST, *, late: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, node.lineno, late) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from _from_import(node, late=late)
    elif isinstance(node, ast.Call) and (name := _dynamic_import(node)):
        yield Import(name, node.lineno, late)
    late = late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    late = late or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, late=late)


def _from_import(node: ast.ImportFrom, *, late: bool) -> Iterator[Import]:
    if node.level:
        yield Import("." * node.level + (node.module or ""), node.lineno, late)
    elif node.module == "causalppl":
        # "from causalppl import graphs" names a member, "import SCM" the package's own page
        # (the version is a constant that stands below everything)
        for alias in node.names:
            if alias.name == "__version__":
                continue
            is_member = alias.name in LAYER
            yield Import(f"causalppl.{alias.name}" if is_member else "causalppl", node.lineno, late)
    else:
        yield Import(str(node.module), node.lineno, late)


def _dynamic_import(call: ast.Call) -> str | None:
    name = ast.unparse(call.func).rpartition(".")[2]
    if name not in {"import_module", "__import__"} or not call.args:
        return None
    first = call.args[0]
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def violations(path: str, source: str) -> list[str]:
    """What is wrong with the imports of ``path`` (relative to the package), one line each."""
    member = path.partition("/")[0].removesuffix(".py")
    if member in ENTRY_POINTS:
        return []
    if member not in LAYER:
        return [f"{path}: {member!r} is in no layer; add it to the table in this file"]
    found = []
    for each in imports(source):
        where = f"{path}:{each.line}"
        if each.module.startswith("."):
            found.append(f"{where}: relative import {each.module!r}; write it out")
        elif each.is_ours and not _may_import(member, each.member):
            if (path, each.module) not in LATE_UPWARD_IMPORTS:
                found.append(f"{where}: {member} (layer {LAYER[member]}) imports {each.module}")
            elif not each.late:
                found.append(f"{where}: {each.module} may only be imported inside a function")
        elif member in NO_TORCH and each.module.partition(".")[0] in {"torch", "pyro"}:
            found.append(f"{where}: {member} is symbols only, but imports {each.module}")
    return found


def _may_import(member: str, target: str) -> bool:
    if target == member or target in NEIGHBOURS.get(member, ()):
        return True
    return target in LAYER and LAYER[target] < LAYER[member]


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_imports_point_down():
    found = []
    for file in files():
        path = file.relative_to(PACKAGE).as_posix()
        found += violations(path, file.read_text(encoding="utf-8"))
    assert found == []


def test_allowed_upward_imports_are_still_needed():
    for path, module in LATE_UPWARD_IMPORTS:
        if (PACKAGE / path).exists():
            source = (PACKAGE / path).read_text(encoding="utf-8")
            assert module in {each.module for each in imports(source)}, f"{path} has no {module}"


def test_nothing_is_named_after_a_place_for_leftovers():
    names = [path for path in PACKAGE.rglob("*") if path.stem.strip("_") in NOT_A_NOUN]
    assert names == []


def test_files_hold_one_idea():
    long = {
        file.relative_to(ROOT).as_posix(): lines
        for file in files()
        if (lines := len(file.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    }
    too_long = {path: lines for path, lines in long.items() if lines > TO_BE_SPLIT.get(path, 0)}
    assert too_long == {}, f"over {MAX_LINES} lines: which noun is missing?"
    assert set(long) == set(TO_BE_SPLIT), "a file was split: take it off the list"


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("graphs/admg.py", "import causalppl.programs.scm"),
        ("graphs/admg.py", "from causalppl.programs import SCM"),
        ("graphs/admg.py", "from causalppl import programs"),
        ("graphs/admg.py", "from causalppl import ADMG"),
        ("graphs/admg.py", "import causalppl as cp"),
        ("graphs/admg.py", "def f():\n    from causalppl.inference.infer import infer"),
        ("graphs/admg.py", "class A:\n    def f(self):\n        import causalppl.inference"),
        ("graphs/admg.py", "if TYPE_CHECKING:\n    from causalppl.programs.scm import SCM"),
        ("graphs/admg.py", "importlib.import_module('causalppl.programs')"),
        ("graphs/admg.py", "try:\n    import causalppl.envs\nexcept ImportError:\n    pass"),
        ("graphs/admg.py", "from .mixed import Mixed"),
        ("programs/scm.py", "from causalppl.identification import identify"),
        ("programs/scm.py", "from causalppl.inference.fit import fit"),
        ("programs/do.py", "def f():\n    from causalppl.inference.fit import fit"),
        ("queries.py", "from causalppl.data.table import Table"),
        ("queries.py", "import torch.distributions"),
        ("identification/id.py", "def f():\n    import pyro"),
        ("exceptions.py", "from causalppl.seeding import forked_rng"),
        ("leftovers/thing.py", "import os"),
    ],
)
def test_a_bad_import_is_seen(path, source):
    assert len(violations(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("graphs/admg.py", "from causalppl.graphs.mixed import Mixed\nimport numpy as np"),
        ("graphs/admg.py", "from causalppl import exceptions, queries"),
        ("programs/scm.py", "import torch\nfrom causalppl.graphs import ADMG"),
        ("programs/scm.py", "def fit(self):\n    from causalppl.inference.fit import fit"),
        ("seeding.py", "from causalppl.exceptions import DataError"),
        ("cli.py", "import causalppl.plots"),
        ("inference/posterior.py", "def save():\n    from causalppl import __version__"),
        ("__init__.py", "from causalppl.inference.infer import infer"),
        ("__main__.py", "from causalppl.cli import main"),
        ("graphs/admg.py", '"""import causalppl as cp"""'),
    ],
)
def test_a_good_import_passes(path, source):
    assert violations(path, source) == []
