"""What functions take for a diagram."""

import inspect

import pyro
import pyro.distributions as dist
import pytest

from causalppl import SCM, graphs, identification
from causalppl.exceptions import GraphError
from causalppl.graphs import ADMG

TEXT = "Z -> X -> Y; Z -> Y"


def doors():
    """Every public function whose first argument is a diagram."""
    found = {}
    for module in (graphs, identification):
        for name in module.__all__:
            function = getattr(module, name)
            if not inspect.isfunction(function):
                continue
            first = next(iter(inspect.signature(function).parameters.values()), None)
            if first is not None and str(first.annotation).startswith(
                ("ADMG", "<class 'causalppl")
            ):
                found[name] = function
    return found


def program():
    z = pyro.sample("Z", dist.Bernoulli(0.5))
    x = pyro.sample("X", dist.Bernoulli(0.2 + 0.5 * z))
    return pyro.sample("Y", dist.Bernoulli(0.1 + 0.3 * x + 0.4 * z))


def test_all_doors_are_found():
    assert len(doors()) > 45


@pytest.mark.parametrize("name", sorted(doors()))
def test_what_is_no_diagram_is_refused_at_each_door_with_its_call(name):
    function = doors()[name]
    needed = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    others = ["Y"] * (len([p for p in needed if p.kind is not p.KEYWORD_ONLY]) - 1)
    keywords = {p.name: "Y" for p in needed if p.kind is p.KEYWORD_ONLY}
    with pytest.raises(GraphError, match=rf"is 5; expected an ADMG.* first: {name}\("):
        function(5, *others, **keywords)


@pytest.mark.parametrize(
    "call",
    [
        lambda g: set(identification.adjustment_sets(g, "X", "Y")),
        lambda g: identification.is_back_door_set(g, "X", "Y", "Z"),
        lambda g: identification.possibly_optimal_sets(g, "Y"),
        lambda g: graphs.is_separated(g, "X", "Y", "Z"),
        lambda g: graphs.is_separated(graph=g, X="X", Y="Y", Z="Z"),
        lambda g: graphs.implied_independences(g),
        lambda g: graphs.latent_projection(g, ["X", "Y"]),
        lambda g: graphs.to_dot(g),
    ],
)
def test_text_and_programs_stand_for_their_diagram(call):
    known = call(ADMG.parse(TEXT))
    assert call(TEXT) == known
    assert call(SCM(program)) == known


def test_a_plain_program_is_told_what_to_write_around_it():
    told = r"is a function; .*write SCM\(program\) around a program"
    with pytest.raises(GraphError, match=told):
        identification.identify(program, "P(Y | do(X))")
    with pytest.raises(GraphError, match=told):
        identification.is_back_door_set(program, "X", "Y")
