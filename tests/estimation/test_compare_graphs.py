"""Diagrams read from programs against diagrams given by hand."""

import pytest

from causalppl import ADMG
from causalppl.estimation.falsify import compare_graphs
from causalppl.exceptions import GraphError
from causalppl.programs.finite import random_finite_model


def test_diagrams_are_compared_edge_by_edge() -> None:
    read = ADMG.parse("Z -> X -> Y; X <-> Y; A -> X")
    assert compare_graphs(read, read)
    given = ADMG.parse("X -> Z; X -> Y; Z -> Y; B -> Y; A <-> X")
    found = compare_graphs(read, given)
    assert not found
    assert found.missing == (("A", "->", "X"), ("X", "<->", "Y"))
    assert found.extra == (("Z", "->", "Y"), ("A", "<->", "X"))
    assert found.reversed == (("Z", "->", "X"),)
    assert found.only_given == ("B",)
    assert str(found).startswith("missing: A -> X, X <-> Y; extra: ")


def test_a_program_is_compared_by_its_diagram() -> None:
    scm = random_finite_model(ADMG.parse("X -> M -> Y; X <-> Y"), seed=0).scm()
    assert str(compare_graphs(scm, scm.graph)) == "the diagrams are the same"
    found = compare_graphs(scm, ADMG.parse("X -> Y"))
    assert found.only_read == ("M",)
    assert found.missing == (("X", "<->", "Y"),)
    with pytest.raises(GraphError, match="expected an ADMG"):
        compare_graphs(scm, "X -> Y")
