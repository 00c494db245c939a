"""The table of names for those who come from causalrl: ours exist, and those to come do not yet."""

import importlib
import re
from pathlib import Path

import pytest

import causalppl
from tests.test_public_api import MODULES

PAGE = Path(causalppl.__file__).parents[1] / "docs" / "coming_from" / "causalrl.md"
FOLDERS = {module.rpartition(".")[2] for module in MODULES}
# sections whose names are written without their folder
BARE = {"Bounds": "bounds", "Decision certificates": "bounds", "Errors": "exceptions"}


def rows():
    """Section, name of causalrl and our answer, of each row of the tables."""
    text = PAGE.read_text(encoding="utf-8").partition("## Every name")[2]
    for section in text.split("\n### ")[1:]:
        title, _, body = section.partition("\n")
        for line in body.splitlines():
            cells = [c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]]
            if len(cells) == 2 and "`" in cells[0]:
                yield title, *cells


ROWS = list(rows())
each_row = pytest.mark.parametrize(
    ("section", "theirs", "ours"), ROWS, ids=[f"row {number}" for number in range(len(ROWS))]
)


def names(section, text):
    """Module and name of all that a cell says is ours."""
    for code in re.findall(r"`([^`]+)`", text):
        for folder, name in re.findall(r"\b(\w+)\.([A-Za-z]\w*)", code):
            if folder == "cp" or folder in FOLDERS:
                yield "causalppl" if folder == "cp" else f"causalppl.{folder}", name
        bare = re.match(r"([A-Za-z]\w*)(?=\(|$)", code)
        if section in BARE and bare and not code.endswith("="):
            yield f"causalppl.{BARE[section]}", bare[1]


@each_row
def test_our_names_can_be_imported(section, theirs, ours):
    for module, name in names(section, ours):
        assert hasattr(importlib.import_module(module), name), f"{module} has no {name}"


@each_row
def test_what_is_to_come_is_not_there(section, theirs, ours):
    if not ours.startswith("to come"):
        return
    public = {name for module in MODULES for name in importlib.import_module(module).__all__}
    asked = re.findall(r"`([A-Za-z_]\w*)", theirs)
    assert public.isdisjoint(asked), f"{asked} are said to come, but are there"


def test_the_tables_were_read():
    found = {each for section, _, ours in ROWS for each in names(section, ours)}
    assert len(ROWS) > 60
    assert ("causalppl.agents", "DOVI") in found
    assert ("causalppl.bounds", "manski_bounds") in found
    assert ("causalppl.exceptions", "AssumptionError") in found
    assert ("causalppl", "infer") in found
