"""Hedges in notebooks."""

import pytest

from causalppl.exceptions import NotIdentifiableError
from causalppl.graphs import bow
from causalppl.identification import Hedge, identify


def test_notebooks_show_the_diagram_and_the_sentence() -> None:
    hedge = Hedge(bow(), inner=("Y",), outer=("X", "Y"))
    html = hedge._repr_html_()
    assert html.startswith("<div><svg")
    assert "cannot be told from {X, Y}" in html
    with pytest.raises(NotIdentifiableError) as caught:
        identify(bow(), "P(Y | do(X))")
    assert "has no formula" in caught.value.hedge._repr_html_()
