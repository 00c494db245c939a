"""What is asked in a slightly wrong way: the answer says what to write."""

import pickle

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from causalppl import SCM, do, infer, twin_worlds
from causalppl.exceptions import DataError, GraphError, ProgramError, QueryError
from causalppl.graphs import ADMG
from causalppl.identification import identify


def program(n):
    effect = pyro.sample("effect", dist.Normal(0.0, 10.0))
    base = pyro.param("base", torch.tensor(1.0))
    with pyro.plate("units", n):
        x = pyro.sample("Dose", dist.Bernoulli(0.5))
        pyro.sample("Y", dist.Normal(base + effect * x, 1.0))


MODEL = SCM(program)
KNOWN = MODEL.with_parameters({"effect": torch.tensor([1.0, 2.0, 3.0])})


@pytest.mark.parametrize(
    "ask",
    [
        lambda: KNOWN.intervened("Dose=1"),
        lambda: do(program, "Dose=1"),
        lambda: infer(KNOWN, ["Y@x0"], worlds={"x0": "Dose=1"}),
        lambda: twin_worlds(program, {"x0": "Dose=1"})(3),
    ],
    ids=["intervened", "do", "worlds", "twin_worlds"],
)
def test_interventions_are_a_mapping(ask):
    with pytest.raises(DataError, match="interventions are 'Dose=1'; expected a mapping from site"):
        ask()


@pytest.mark.parametrize("number", [2.5, 3.0, 0, -1, True, "3"])
def test_units_are_counted_in_whole_numbers(number):
    with pytest.raises(DataError, match="expected a whole number, at least 1"):
        KNOWN.sample(number)
    assert KNOWN.sample(np.int64(3), seed=0)["Y"].shape == (3,)


class TestPosterior:
    answer = infer(KNOWN, "E[Y | do(Dose=1)]", seed=0)

    def test_a_name_that_is_not_there_is_told(self):
        for found in (self.answer.mean(), self.answer.sd(), self.answer.interval()):
            with pytest.raises(KeyError, match="has Y; did you mean 'Y'"):
                found["y"]
        with pytest.raises(QueryError, match="did you mean 'Y'"):
            self.answer.law("y")
        assert self.answer.mean() == {"Y": 3.0} == pickle.loads(pickle.dumps(self.answer.mean()))
        assert self.answer.mean().get("y") is None

    def test_one_number_is_a_float(self):
        assert float(self.answer) == 3.0
        with pytest.raises(QueryError, match=r"holds Y .2 values.; float.. is for a single number"):
            float(infer(KNOWN, "E[Y]", evidence={"Dose": [0.0, 1.0]}, seed=0))
        with pytest.raises(QueryError, match=r"Dose .1 values., Y .1 values."):
            float(infer(KNOWN, ["Dose", "Y"], seed=0))

    @pytest.mark.parametrize("level", [[0.1, 0.9], "0.1", 1.5])
    def test_quantiles_are_asked_one_at_a_time(self, level):
        with pytest.raises(DataError, match="one at a time"):
            self.answer.quantile(level)

    @pytest.mark.parametrize("prob", [95, [0.1, 0.9], "0.9"])
    def test_an_interval_has_one_probability(self, prob):
        for ask in (self.answer.interval, self.answer.summary, self.answer.interpret):
            with pytest.raises(DataError, match="expected a number between 0 and 1"):
                ask(prob)


@pytest.mark.parametrize(
    ("model", "query", "where"),
    [
        (KNOWN, "P(effect)", r"; scm\.parameters\['effect'\] holds its draws"),
        (MODEL, "E[effect]", r"fitted = scm\.fit\(data\), then fitted\.parameters\['effect'\] "),
        (KNOWN, "E[Y | do(effect=0)]", r"scm\.parameters\['effect'\]"),
        (MODEL, "E[base]", r"fitted\.learned\.values\['base'\] holds its value, unconstrained"),
    ],
)
def test_a_parameter_in_a_query_is_told_from_a_misspelt_site(model, query, where):
    with pytest.raises(QueryError, match=f"a parameter that all units share; .*{where}"):
        infer(model, query)


@pytest.mark.parametrize(
    ("ask", "meant"),
    [
        (lambda: infer(KNOWN, "E[y | do(Dose=1)]"), "Y"),
        (lambda: infer(KNOWN, "E[Y | do(dose=1)]"), "Dose"),
        (lambda: infer(KNOWN, ["Does"]), "Dose"),
        (lambda: infer(KNOWN, "E[Y]", evidence={"Dosis": 1}), "Dose"),
        (lambda: infer(KNOWN, ["Y@w"], worlds={"w": {"dose": 1}}), "Dose"),
        (lambda: do(program, {"dose": 1.0})(3), "Dose"),
        (lambda: SCM(program, observed=["y"]), "Y"),
        (lambda: identify("Dose -> Y", "P(Y | do(dose))"), "Dose"),
        (lambda: ADMG.parse("Dose -> Y").parents("y"), "Y"),
    ],
    ids=["case", "do", "key", "evidence", "world", "handler", "observed", "identify", "node"],
)
def test_a_near_name_is_suggested(ask, meant):
    errors = (QueryError, DataError, ProgramError, GraphError)
    with pytest.raises(errors, match=f"did you mean '{meant}'"):
        ask()
