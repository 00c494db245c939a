"""Every public function that takes a seed refuses what is none, in the same words."""

import importlib
import inspect
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch

from causalppl import ADMG, SCM, estimate, falsify, fit, identify, infer, verify
from causalppl.estimation import (
    balance,
    counterexample,
    estimate_iv,
    one_step,
    policy_value,
    refute,
    unit_effects,
)
from causalppl.estimation.independence_tests import StratifiedPermutation
from causalppl.exceptions import DataError, NotIdentifiableError
from causalppl.graphs import back_door, front_door, random_admg
from causalppl.inference import compare, fit_to_arviz, log_likelihood, loo, map_units
from causalppl.parallel import parallel_map
from causalppl.programs.finite import random_finite_model

FOLDERS = ("data", "graphs", "programs", "identification", "inference", "estimation", "parallel")
SETTINGS = {"Posterior", "StratifiedPermutation"}  # classes whose field it is
ROWS = pd.DataFrame({"Z": [0, 1] * 20, "X": [0, 1, 1, 0] * 10, "Y": [0, 0, 1, 1, 1] * 8})
EFFECT = identify(back_door(), "ATE(X -> Y)")
LOG = {"action": [0, 1] * 20, "reward": [0.0, 1.0] * 20, "propensity": [0.5] * 40}


def learned(n: int) -> Any:
    mean = pyro.sample("mean", dist.Normal(0.0, 10.0))
    with pyro.plate("units", n):
        return pyro.sample("Y", dist.Normal(mean, 1.0))


def unit() -> Any:
    x = pyro.sample("X", dist.Normal(0.0, 1.0))
    return pyro.sample("Y", dist.Normal(2 * x, 1.0))


def fitted() -> SCM:
    return SCM(learned).with_parameters({"mean": torch.tensor([1.8])})


@cache
def kept_fit() -> SCM:
    return fit(learned, {"Y": Y}, seed=0)


def unidentified() -> NotIdentifiableError:
    with pytest.raises(NotIdentifiableError) as caught:
        identify(ADMG.parse("X -> Y; X <-> Y"), "P(Y | do(X))")
    return caught.value


def mapped(folder: Path, seed: Any) -> Any:
    pd.DataFrame({"X": [1.0], "Y": [3.0]}).to_parquet(folder / "units.parquet")
    return map_units(unit, "E[Y_{X=0}]", folder / "units.parquet", folder / "out", seed=seed)


Y = torch.tensor([1.0, 2.0, 3.0])
CALLS: dict[str, Callable[[Any, Path], Any]] = {
    "balance": lambda seed, _: balance(EFFECT, ROWS, seed=seed),
    "compare": lambda seed, _: compare({"a": kept_fit(), "b": kept_fit()}, seed=seed),
    "counterexample": lambda seed, _: counterexample(unidentified(), seed=seed),
    "estimate": lambda seed, _: estimate(EFFECT, ROWS, seed=seed),
    "falsify": lambda seed, _: falsify(back_door(), ROWS, seed=seed),
    "fit": lambda seed, _: fit(learned, {"Y": Y}, seed=seed),
    "fit_to_arviz": lambda seed, _: fit_to_arviz(kept_fit(), log_likelihood=True, seed=seed),
    "infer": lambda seed, _: infer(unit, "E[Y_{X=0} | X=1, Y=3]", seed=seed),
    "log_likelihood": lambda seed, _: log_likelihood(kept_fit(), seed=seed),
    "loo": lambda seed, _: loo(kept_fit(), seed=seed),
    "map_units": lambda seed, folder: mapped(folder, seed),
    "one_step": lambda seed, _: one_step(fitted(), "E[Y]", {"Y": Y}, seed=seed),
    "parallel_map": lambda seed, _: parallel_map(lambda x, seed: x, [1, 2], seed=seed),
    "policy_value": lambda seed, _: policy_value(
        LOG, {"action": [0], "probability": [1.0]}, seed=seed
    ),
    "random_admg": lambda seed, _: random_admg(3, directed=0.5, bidirected=0.0, seed=seed),
    "random_finite_model": lambda seed, _: random_finite_model(front_door(), seed=seed),
    "refute": lambda seed, _: refute(estimate(EFFECT, ROWS, seed=0), seed=seed),
    "sample": lambda seed, _: SCM(unit).sample(2, seed=seed),
    "estimate_iv": lambda seed, _: estimate_iv("Z -> X -> Y; X <-> Y", ROWS, "X", "Y", seed=seed),
    "shifted": lambda seed, _: random_finite_model(front_door(), seed=0).shifted([], seed=seed),
    "StratifiedPermutation": lambda seed, _: StratifiedPermutation(draws=9, seed=seed).test(
        ROWS, "X", "Y"
    ),
    "unit_effects": lambda seed, _: unit_effects(EFFECT, ROWS, seed=seed),
    "verify": lambda seed, _: verify(
        EFFECT, random_finite_model(back_door(), seed=0).scm(), seed=seed
    ),
}


@pytest.mark.parametrize("seed", ["a", 1.5, True, -1, np.float64(2.0)], ids=str)
@pytest.mark.parametrize("name", list(CALLS))
def test_what_is_no_seed_is_refused(name: str, seed: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"seed is .*; expected a non-negative integer or None"):
        CALLS[name](seed, tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_seed_of_numpy_is_one(tmp_path: Path) -> None:
    seed = np.int64(3)
    assert infer(unit, "E[Y_{X=0} | X=1, Y=3]", seed=seed).seed == 3
    mapped(tmp_path, seed)
    assert mapped(tmp_path, 3).to_pandas()["mean(Y)"].tolist() == [1.0]


def functions_with_a_seed() -> Iterator[str]:
    for folder in FOLDERS:
        module = importlib.import_module(f"causalppl.{folder}")
        for name in getattr(module, "__all__", ()):
            public = getattr(module, name)
            if inspect.isfunction(public) and "seed" in inspect.signature(public).parameters:
                yield name


def test_every_public_function_with_a_seed_is_tried() -> None:
    found = set(functions_with_a_seed())
    assert {"estimate", "infer", "falsify"} < found
    assert not found - set(CALLS)
