"""Formulas on exact laws where positivity fails, and laws that do not fit."""

import numpy as np
import pytest
import torch

from causalppl.data import Factor
from causalppl.estimation import evaluate
from causalppl.exceptions import AssumptionError, DataError
from causalppl.graphs import ADMG, back_door
from causalppl.identification import identify
from causalppl.programs.finite import FiniteModel, random_finite_model

NAPKIN = ADMG.parse("W -> Z -> X -> Y; W <-> X; W <-> Y")


def with_dead_state(model: FiniteModel, name: str, state: int) -> FiniteModel:
    """Give one state of a variable probability zero."""
    tables = {key: np.array(table) for key, table in model.tables.items()}
    tables[name][..., state] = 0
    tables[name] /= tables[name].sum(-1, keepdims=True)
    return FiniteModel(model.graph, tables, model.latents)


@pytest.mark.parametrize("seed", range(20))
def test_a_formula_is_pinned_where_it_is_defined(seed: int) -> None:
    model = random_finite_model(NAPKIN, states={"Z": 3, "W": 2, "X": 2, "Y": 2}, seed=seed)
    model = with_dead_state(model, "Z", seed % 3)
    found = evaluate(identify(NAPKIN, "P(Y | do(X))"), model.law())
    torch.testing.assert_close(found.values, model.table("P(Y | do(X))").values)


@pytest.mark.parametrize("query", ["P(Z | do(X=0), Y=1)", "P(Y | do(X=0))", "ATE(X -> Y)"])
def test_undefined_strata_do_not_cancel(query: str) -> None:
    model = with_dead_state(random_finite_model(back_door(), seed=0), "X", 0)
    with pytest.raises(AssumptionError, match="never happens"):
        evaluate(identify(back_door(), query), model.law())


def test_what_does_not_depend_on_undefined_strata_is_answered() -> None:
    model = with_dead_state(random_finite_model(back_door(), seed=0), "X", 0)
    found = evaluate(identify(back_door(), "P(Y | do(X=1))"), model.law())
    torch.testing.assert_close(found.values, model.table("P(Y | do(X=1))").values)


def test_laws_that_do_not_fit_are_named() -> None:
    estimand = identify(back_door(), "P(Y | do(X))")
    law = random_finite_model(back_door(), seed=0).law()
    with pytest.raises(DataError, match="lacks Z"):
        evaluate(estimand, law.marginalise(["Z"]))
    with pytest.raises(DataError, match="a law was given under 'observed'"):
        evaluate(estimand, {"observed": law})
    assert evaluate(estimand, {(None, ()): law}).names == ("Y", "X")
    names = Factor(("X", "Y"), torch.full((2, 2), 0.25), {"X": ("a", "b"), "Y": (0, 1)})
    with pytest.raises(DataError, match="expected numbers"):
        evaluate(identify(ADMG.parse("X -> Y"), "P(X > 1 | Y)"), names)
