"""What users import: complete, sorted, documented with examples, and light."""

import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import causalppl

PACKAGE = Path(causalppl.__file__).parent
FOLDERS = sorted(
    f"causalppl.{path.parent.relative_to(PACKAGE).as_posix().replace('/', '.')}"
    for path in PACKAGE.rglob("*/__init__.py")
)
MODULES = ["causalppl", *FOLDERS]
SINGLE_FILES = ["causalppl.exceptions", "causalppl.parallel", "causalppl.seeding"]

HEAVY = ("arviz", "matplotlib", "pandas", "gymnasium", "duckdb", "ray", "zuko", "xarray", "polars")

# What "import causalppl" changes, seen from outside, on top of what Pyro itself loads.
PROBE = """
import json, logging, os, random, sys, threading, warnings
import numpy, pyro, torch

def state():
    return {
        "default dtype": str(torch.get_default_dtype()),
        "torch threads": torch.get_num_threads(),
        "torch generator": torch.get_rng_state().tolist(),
        "numpy generator": repr(numpy.random.get_state()),
        "python generator": repr(random.getstate()),
        "numpy error handling": repr(numpy.geterr()),
        "parameters of Pyro": sorted(pyro.get_param_store().keys()),
        "effect handlers": pyro.poutine.runtime.am_i_wrapped(),
        "log handlers": repr(logging.getLogger().handlers),
        "environment": dict(os.environ),
        "threads": threading.active_count(),
    }

loaded, before = set(sys.modules), state()
warnings.simplefilter("error")
import causalppl
after = state()
changed = [key for key in before if before[key] != after[key]]
print(json.dumps({"loaded": sorted(set(sys.modules) - loaded), "changed": changed}))
"""


@pytest.fixture(scope="module")
def probe():
    # a bare environment: what importing the package here did to ours must not hide it there
    kept = ("PATH", "HOME", "PYTHONPATH", "LD_LIBRARY_PATH", "SYSTEMROOT")
    run = subprocess.run(
        [sys.executable, "-c", PROBE],
        capture_output=True,
        text=True,
        timeout=120,
        env={key: os.environ[key] for key in kept if key in os.environ},
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("\n") == 1, "import causalppl printed something"
    return json.loads(run.stdout)


def public_names(module):
    """What ``__all__`` lists or, in a file without one, what it defines."""
    found = importlib.import_module(module)
    defined = [
        name
        for name, thing in vars(found).items()
        if not name.startswith("_") and getattr(thing, "__module__", "") == module
    ]
    return getattr(found, "__all__", defined)


PUBLIC = [
    pytest.param(module, name, id=f"{module}.{name}")
    for module in [*MODULES, *SINGLE_FILES]
    for name in public_names(module)
]


def as_isort_orders(names):
    """Constants, classes, the rest; numbers inside names by value (ruff's RUF022)."""

    def key(name):
        kind = 0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2
        return kind, [
            (part.isdigit(), int(part) if part.isdigit() else part)
            for part in re.split(r"(\d+)", name)
            if part
        ]

    return sorted(names, key=key)


def own_docstring(thing):
    """The docstring that was written for ``thing``, not one inherited or made up."""
    text = (vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__) or ""
    is_made_up = inspect.isclass(thing) and text.startswith(f"{thing.__name__}(")
    return "" if is_made_up else inspect.cleandoc(text)


def is_documented(thing):
    """Whether ``thing`` carries a docstring: a constant or a type alias does not."""
    return inspect.isclass(thing) or inspect.isroutine(thing)


def is_error(thing):
    return inspect.isclass(thing) and issubclass(thing, BaseException)


def parameters(thing):
    """What a caller can give, by name; errors are caught by users, not made."""
    if is_error(thing):
        return []
    return [name for name in inspect.signature(thing).parameters if not name.startswith("_")]


def entries(text, section):
    """Names that a section of a docstring explains: ``name:``, ``a, b:`` or ``**options:``."""
    found = re.search(rf"^{section}:\n((?:    .*\n?|\n)*)", text, re.MULTILINE)
    heads = re.findall(r"^    (\*{0,2}\w+(?:, \w+)*): ", found[1], re.MULTILINE) if found else []
    return [name.lstrip("*") for head in heads for name in head.split(", ")]


def has_attribute(thing, name):
    """Whether instances of a class have an attribute, set in the class or by its methods."""
    kinds = [kind for kind in thing.__mro__ if kind.__module__.startswith("causalppl")]
    return hasattr(thing, name) or any(
        name in inspect.get_annotations(kind)
        or re.search(rf"self\.{name}\b.* =", inspect.getsource(kind))
        for kind in kinds
    )


def test_import_loads_nothing_heavy(probe):
    roots = {name.partition(".")[0] for name in probe["loaded"]}
    assert sorted(roots.intersection(HEAVY)) == []


def test_import_has_no_side_effects(probe):
    assert probe["changed"] == []


@pytest.mark.parametrize("module", MODULES)
def test_module_opens_with_a_docstring_and_lists_its_names(module):
    found = importlib.import_module(module)
    assert (found.__doc__ or "").strip(), f"{module} has no docstring"
    assert found.__all__ == as_isort_orders(found.__all__)
    assert len(set(found.__all__)) == len(found.__all__)


@pytest.mark.parametrize("module", FOLDERS)
def test_the_table_at_the_top_names_everything_public(module):
    found = importlib.import_module(module)
    missing = [name for name in found.__all__ if not re.search(rf"\b{name}\b", found.__doc__)]
    assert missing == []


@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_public_name_is_documented_with_an_example(module, name):
    thing = getattr(importlib.import_module(module), name)
    if is_documented(thing):
        text = own_docstring(thing)
        assert text, f"{module}.{name} has no docstring"
        assert re.search(r"^Example:$", text, re.MULTILINE), f"{name} has no Example section"
        assert ">>> " in text, f"the Example of {name} does not run"


@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_docstring_names_every_parameter(module, name):
    thing = getattr(importlib.import_module(module), name)
    if is_documented(thing):
        text = own_docstring(thing)
        told = {*entries(text, "Args"), *entries(text, "Attributes")}
        assert [each for each in parameters(thing) if each not in told] == []


@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_docstring_names_nothing_that_is_not_there(module, name):
    thing = getattr(importlib.import_module(module), name)
    if is_documented(thing):
        text, known = own_docstring(thing), parameters(thing)
        assert [each for each in entries(text, "Args") if each not in known] == []
        kept = [each for each in entries(text, "Attributes") if each not in known]
        assert [each for each in kept if not has_attribute(thing, each)] == []


@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_help_shows_readable_defaults(module, name):
    thing = getattr(importlib.import_module(module), name)
    members = vars(thing).values() if inspect.isclass(thing) else [thing]
    shown = [str(inspect.signature(each)) for each in members if inspect.isfunction(each)]
    assert [signature for signature in shown if " at 0x" in signature] == []


@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_arguments_of_a_method_are_all_told_or_plain_from_its_first_line(module, name):
    thing = getattr(importlib.import_module(module), name)
    for method in vars(thing).values() if inspect.isclass(thing) else ():
        method = getattr(method, "__func__", method)
        if inspect.isfunction(method) and thing.__module__.startswith("causalppl"):
            told = entries(inspect.getdoc(method) or "", "Args")
            known = [each for each in parameters(method) if each not in ("self", "cls")]
            assert not told or told == known, method.__qualname__


@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_public_methods_say_what_they_do(module, name):
    thing = getattr(importlib.import_module(module), name)
    if inspect.isclass(thing) and thing.__module__.startswith("causalppl"):
        silent = [
            attribute
            for attribute, value in vars(thing).items()
            if not attribute.startswith("_")
            and (inspect.isroutine(value) or isinstance(value, property | classmethod))
            and not inspect.getdoc(getattr(thing, attribute))
        ]
        assert silent == []


@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_what_can_say_itself_in_words_does_so_in_a_notebook(module, name):
    thing = getattr(importlib.import_module(module), name)
    if inspect.isclass(thing) and hasattr(thing, "interpret"):
        shown = [form for form in ("html", "latex", "svg") if hasattr(thing, f"_repr_{form}_")]
        assert shown, f"{module}.{name} has no _repr_html_"
