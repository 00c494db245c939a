"""What was given where something else was expected: said shortly, with what to write."""

import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch

import causalppl as cp
from causalppl.bounds import NoAssumptions
from causalppl.estimation import AIPW, Wald, estimate_iv
from causalppl.exceptions import DataError, GraphError, HeuristicWarning, ProgramError
from causalppl.given import told

GRAPH = cp.ADMG.parse("X -> Y")
FRAME = pd.DataFrame({"X": [0, 1] * 20, "Y": [0, 1, 1, 1] * 10})
QUERY = "ATE(X -> Y)"


def coins():
    x = pyro.sample("X", dist.Bernoulli(0.5))
    return pyro.sample("Y", dist.Bernoulli(0.2 + 0.5 * x))


def normal(n):
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("units", n):
        return pyro.sample("Y", dist.Normal(mean, 1.0))


CALLS = {
    "engine": (lambda engine: cp.infer(coins, "E[Y | do(X=1)]", engine=engine), cp.NUTS),
    "fit": (lambda m: cp.fit(normal, {"Y": torch.zeros(3)}, method=m), cp.NUTSFit),
    "estimate": (lambda m: cp.estimate(cp.identify(GRAPH, QUERY), FRAME, method=m), AIPW),
    "bound": (lambda m: cp.bound(GRAPH, QUERY, FRAME, method=m), NoAssumptions),
    "estimate_iv": (
        lambda m: estimate_iv(
            cp.ADMG.parse("Z -> X -> Y; X <-> Y"), FRAME.assign(Z=FRAME.X), "X", "Y", method=m
        ),
        Wald,
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_class_without_brackets_or_a_name_is_told_what_to_write(name):
    call, kind = CALLS[name]
    what = "engine" if name == "engine" else "method"
    written = rf"write {what}={kind.__name__}\(\), with brackets and without quotes"
    with pytest.raises(DataError, match=f"{what} is the class {kind.__name__}; .*{written}"):
        call(kind)
    with pytest.raises(DataError, match=f"{what} is '{kind.__name__.lower()}'; .*{written}"):
        call(kind.__name__.lower())


@pytest.mark.parametrize("name", CALLS)
def test_what_names_nothing_is_told_an_example(name):
    call, _ = CALLS[name]
    with pytest.raises(DataError, match=r"is 'nothing'; expected .* or "):
        call("nothing")


def test_swapped_arguments_are_told_by_type_and_in_which_order():
    estimand = cp.identify(GRAPH, QUERY)
    with pytest.raises(DataError, match=r"a DataFrame; .* first: estimate\(estimand, data\)$"):
        cp.estimate(FRAME, estimand)
    with pytest.raises(GraphError, match=r"argument is a DataFrame; .*bound\(graph, query, data\)"):
        cp.bound(FRAME, QUERY, GRAPH)
    with pytest.raises(ProgramError, match=r"is 'Y'; .* first: infer\(scm, query\)$"):
        cp.infer("Y", coins)
    with pytest.raises(ProgramError, match=r"is a DataFrame; .* first: fit\(scm, data\)$"):
        cp.fit(FRAME, normal)


def test_only_what_is_short_is_shown():
    assert told(FRAME) == "a DataFrame"
    assert told(FRAME.X) == "a Series"
    assert told(list(range(3))) == "[0, 1, 2]"
    assert told("x" * 100) == f"'{'x' * 59}..."
    assert told(object()) == "a object"


def test_a_diagram_may_be_text_or_in_a_model():
    text, scm = "X -> Y", cp.SCM(coins)
    for given in (text, scm, GRAPH):
        assert str(cp.identify(given, QUERY)) == "E[Y | X=1] - E[Y | X=0]"
        assert cp.bound(given, QUERY, FRAME, seed=0).method
        assert cp.falsify(given, FRAME).graph == GRAPH
    instrument = "Z -> X -> Y; X <-> Y"
    rows = FRAME.assign(Z=[0, 1, 1, 1] * 10)
    by_text = estimate_iv(instrument, rows, "X", "Y")
    assert float(by_text) == float(estimate_iv(cp.ADMG.parse(instrument), rows, "X", "Y"))
    assert cp.falsify(coins, FRAME).graph == GRAPH


@pytest.mark.parametrize(
    "call",
    [
        lambda graph: cp.identify(graph, QUERY),
        lambda graph: cp.bound(graph, QUERY, FRAME),
        lambda graph: cp.falsify(graph, FRAME),
        lambda graph: estimate_iv(graph, FRAME, "X", "Y"),
    ],
    ids=["identify", "bound", "falsify", "estimate_iv"],
)
def test_what_is_no_diagram_is_refused_with_the_call(call):
    with pytest.raises(GraphError, match=r"is a DataFrame; expected an ADMG.* first: \w+\(graph, "):
        call(FRAME)
    with pytest.raises(GraphError, match="is empty"):
        call(" ")
    with pytest.raises(GraphError, match="found in line 1, column 3"):
        call("X =")


def test_a_plate_around_a_program_of_one_unit_is_warned_of():
    def program():
        with pyro.plate("data", 100):
            return coins()

    with pytest.warns(HeuristicWarning, match="all sites stand in the plate 'data', which is part"):
        cp.SCM(program)


def test_a_part_of_a_unit_may_have_a_plate():
    def program():
        x = pyro.sample("X", dist.Bernoulli(0.5))
        with pyro.plate("items", 3):
            return pyro.sample("Y", dist.Bernoulli(0.2 + 0.5 * x))

    assert cp.SCM(program).structure.sites["Y"].plates == ("items", "units")


def test_bounds_that_meet_are_told_as_a_number():
    found = cp.bound(GRAPH, "P(Y=1)", FRAME, seed=0).interpret()
    assert found.startswith("P(Y=1) is 0.74")
