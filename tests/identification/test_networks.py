"""Formulas on published networks, whose law is contracted and never a joint table."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from causalppl.data import Factor, contract
from causalppl.estimation import evaluate
from causalppl.exceptions import AssumptionError, NotIdentifiableError
from causalppl.graphs import ADMG
from causalppl.identification import identify
from tests.identification.bif import Network, read_bif

FOLDER = Path(__file__).parent / "networks"


def stored(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


@cache
def network(name: str) -> Network:
    return read_bif(FOLDER / f"{name}.bif")


def answer(graph: ADMG, law: Any, x: str, y: str) -> np.ndarray[Any, Any]:
    table = evaluate(identify(graph, f"P({y} | do({x}))"), law)
    assert isinstance(table, Factor)
    if x not in table.names:
        return table.align([y]).values.numpy()
    return table.align([x, y]).values.numpy()


@pytest.mark.parametrize("name", sorted(stored("do_queries")))
def test_effects_without_latents(name: str) -> None:
    found = network(name)
    edges = [(p, child) for child, parents in found.parents.items() for p in parents]
    graph = ADMG(found.states, edges)
    for query in stored("do_queries")[name]:
        try:
            got = answer(graph, found.factors, query["x"], query["y"])
        except AssumptionError:
            assert not query["positive"]
            continue
        np.testing.assert_allclose(got, np.array(query["p_y_do_x"]), atol=1e-8)


@pytest.mark.parametrize("index", range(len(stored("latent_queries"))))
def test_effects_with_latents(index: int) -> None:
    query = stored("latent_queries")[index]
    found = network(query["network"])
    kept = [name for name in found.states if name not in query["latent"]]
    graph = ADMG(kept, map(tuple, query["directed"]), map(tuple, query["bidirected"]))
    if not query["identifiable"]:
        with pytest.raises(NotIdentifiableError):
            identify(graph, f"P({query['y']} | do({query['x']}))")
        return
    law = contract(found.factors, kept) if len(kept) < 15 else found.factors
    try:
        got = answer(graph, law, query["x"], query["y"])
    except AssumptionError:
        assert not query["positive"]
        return
    np.testing.assert_allclose(got, np.array(query["p_y_do_x"]), atol=1e-8)


def test_a_network_reads_as_normalised_tables() -> None:
    for factor in network("alarm").factors:
        assert torch.allclose(factor.values.sum(-1), torch.ones((), dtype=torch.float64))
