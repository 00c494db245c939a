import copy

import pyro
import pyro.distributions as dist
import pytest
import torch

from causalppl.exceptions import DataError, ProgramError
from causalppl.programs import SCM, Shift, World, do


def program():
    z = pyro.sample("Z", dist.Normal(0.0, 1.0))
    x = pyro.sample("X", dist.Bernoulli(logits=z))
    return pyro.sample("Y", dist.Normal(x + z, 1.0))


def sites(changed):
    nodes = pyro.poutine.trace(changed).get_trace().nodes
    return {name: node for name, node in nodes.items() if node["type"] == "sample"}


def test_a_trace_under_do_shows_the_value_that_was_set():
    found = sites(do(program, {"X": 5.0}))
    assert float(found["X"]["value"]) == 5.0
    assert float(found["X"]["fn"].log_prob(found["X"]["value"])) == 0.0


def test_function_decorator_and_context_agree():
    def values(run):
        torch.manual_seed(0)
        return {name: float(node["value"]) for name, node in sites(run).items()}

    def in_context():
        with do({"X": 1.0}):
            return program()

    first = values(do(program, {"X": 1.0}))
    assert first == values(do({"X": 1.0})(program)) == values(in_context)


def test_the_natural_value_is_kept_on_request():
    found = sites(do(program, {"X": 5.0}, keep_natural=True))
    assert float(found["X@natural"]["value"]) in (0.0, 1.0)
    assert float(found["X"]["value"]) == 5.0


def test_policies_see_the_natural_value_and_earlier_sites():
    found = sites(do(program, {"X": lambda natural, Z: 10 * natural + Z}))
    value = {name: float(node["value"]) for name, node in found.items()}
    assert value["X"] == pytest.approx(10 * value["X@natural"] + value["Z"])


def test_a_shift_moves_the_natural_value():
    found = sites(do(program, {"Z": Shift(100.0)}))
    assert float(found["Z"]["value"] - found["Z@natural"]["value"]) == pytest.approx(100.0)


def test_a_distribution_is_a_site_with_its_own_density():
    law = dist.Normal(50.0, 0.1)
    site = sites(do(program, {"X": law}))["X"]
    assert abs(float(site["value"]) - 50.0) < 1.0
    assert not site["is_observed"]
    assert torch.allclose(site["fn"].log_prob(site["value"]), law.log_prob(site["value"]))


def test_do_and_evidence_commute_also_on_the_same_site():
    data = {"X": torch.tensor(1.0), "Z": torch.tensor(0.3)}
    for first, second in (
        (pyro.condition(do(program, {"X": 5.0}), data=data), "evidence outside"),
        (do(pyro.condition(program, data=data), {"X": 5.0}), "evidence inside"),
    ):
        found = sites(first)
        assert float(found["X"]["value"]) == 5.0, second
        assert float(found["X@natural"]["value"]) == 1.0, second
        assert found["X@natural"]["is_observed"], second
        log_prob = found["X@natural"]["fn"].log_prob(torch.tensor(1.0))
        law = dist.Bernoulli(logits=torch.tensor(0.3))
        assert torch.allclose(log_prob, law.log_prob(data["X"]))


def test_per_unit_values_reach_their_units():
    def units(n):
        with pyro.plate("units", n):
            return program()

    values = torch.tensor([0.0, 1.0, 7.0])
    trace = pyro.poutine.trace(do(units, {"X": values})).get_trace(3)
    assert torch.equal(trace.nodes["X"]["value"], values)


def units_program(n):
    with pyro.plate("units", n):
        return program()


@pytest.mark.parametrize(
    ("interventions", "error", "message"),
    [
        ({"Q": 1.0}, ProgramError, "names 'Q'.*sites are"),
        ({"X": float("nan")}, DataError, "'X' holds NaN"),
        ({"X": torch.ones(4)}, DataError, r"'X' has shape \(4,\).*\(3,\)"),
        ({"X": "north"}, DataError, "'X' is the text 'north'"),
        ({"X": None}, DataError, "type NoneType"),
        ({"X": lambda Y: Y}, ProgramError, "asks for 'Y', which has not run"),
        ({"X": lambda Z: "a"}, ProgramError, "returned str"),
        ({"Z": dist.Normal(torch.zeros(2), 1.0).to_event(1)}, DataError, "event shape"),
    ],
)
def test_bad_interventions_are_named(interventions, error, message):
    with pytest.raises(error, match=message):
        do(units_program, interventions)(3)


def test_a_value_from_another_world_needs_twin_worlds():
    with pytest.raises(DataError, match="use twin_worlds"):
        do(program, {"X": World("a")})


def test_a_discrete_site_takes_whole_numbers():
    def categorical():
        return pyro.sample("K", dist.Categorical(torch.ones(3) / 3))

    assert do(categorical, {"K": 2})().dtype == torch.long
    with pytest.raises(DataError, match="not a whole number"):
        do(categorical, {"K": 0.5})()


def test_do_on_a_model_gives_a_model_without_the_edges():
    changed = do(SCM(program), {"X": 1.0})
    assert isinstance(changed, SCM)
    assert set(changed.diagram.directed_edges) == {("X", "Y"), ("Z", "Y")}
    assert set(changed.sample(5, seed=0)["X"].tolist()) == {1.0}


def test_do_on_a_model_takes_policies_and_shifts():
    scm = SCM(program)
    changed = do(scm, {"X": lambda Z: (Z > 0).float()})
    values = changed.sample(50, seed=0)
    assert torch.equal(values["X"], (values["Z"] > 0).float())
    assert ("Z", "X") in changed.diagram.directed_edges
    shifted = do(scm, {"Z": Shift(2.0)}).sample(5, seed=0)
    assert torch.allclose(shifted["Z"], shifted["Z@natural"] + 2.0)


def test_do_on_a_deterministic_site():
    def with_deterministic():
        z = pyro.sample("Z", dist.Normal(0.0, 1.0))
        w = pyro.deterministic("W", 2 * z)
        return pyro.deterministic("V", w + 1)

    assert float(do(with_deterministic, {"W": 3.0})()) == 4.0


def test_a_model_that_is_asked_for_do_says_what_to_write():
    scm = SCM(program)
    with pytest.raises(AttributeError, match=r"scm.intervened\(\{'X': 1\}\)"):
        scm.do(X=1)
    assert not hasattr(scm, "do")
    with pytest.raises(AttributeError, match="no attribute 'grap'") as error:
        _ = scm.grap
    assert error.value.name == "grap"  # by which Python suggests the nearest name
    assert copy.copy(scm).graph == scm.graph
