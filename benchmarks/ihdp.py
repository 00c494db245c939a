"""How well are effects of single units found on IHDP, against the learners of EconML?

The three realisations that ship with the package, and further draws of response surface B of Hill
(2011) on the same covariates and treatment, which nothing was tuned on. EconML may live in another
environment; all its learners see the same rows in the same run::

    PEERS_PYTHON=/path/bin/python python benchmarks/ihdp.py

Its learners have their own defaults; where it asks for a regression, that is scikit-learn's
gradient boosting with its defaults, or linear regression. Covariates are standardised for all.
"""

import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

NAME = "ihdp"
REALISATIONS, FURTHER_DRAWS = 3, 10
LIMIT = 3_600  # seconds for all learners of EconML
Effects = Mapping[str, list[list[float]]]


# In EconML's environment.


def econml_learners() -> dict[str, Callable[[], Any]]:
    """All its learners of effects for a binary treatment without an instrument."""
    from econml import dml, dr, metalearners
    from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
    from sklearn.linear_model import LinearRegression

    def trees() -> Any:
        return GradientBoostingRegressor(random_state=0)

    def chances() -> Any:
        return GradientBoostingClassifier(random_state=0)

    line = LinearRegression
    meta: Any = metalearners
    double = {"discrete_treatment": True, "random_state": 0}
    names = ("LinearDML", "SparseLinearDML", "KernelDML", "CausalForestDML")
    robust = ("DRLearner", "LinearDRLearner", "SparseLinearDRLearner", "ForestDRLearner")
    return {
        **{name: partial(getattr(dml, name), **double) for name in names},
        "NonParamDML": lambda: dml.NonParamDML(
            model_y="auto", model_t="auto", model_final=trees(), **double
        ),
        **{name: partial(getattr(dr, name), random_state=0) for name in robust},
        "SLearner": lambda: meta.SLearner(overall_model=trees()),
        "TLearner": lambda: meta.TLearner(models=trees()),
        "XLearner": lambda: meta.XLearner(models=trees(), propensity_model=chances()),
        "DomainAdaptationLearner": lambda: meta.DomainAdaptationLearner(
            models=trees(), final_models=trees(), propensity_model=chances()
        ),
        "SLearner, linear": lambda: meta.SLearner(overall_model=line()),
        "TLearner, linear": lambda: meta.TLearner(models=line()),
        "XLearner, linear": lambda: meta.XLearner(models=line()),
    }


def answer(path: str) -> None:
    """Estimate all effects of the rows in a file, and print them."""
    from importlib import metadata

    warnings.simplefilter("ignore")
    given = np.load(path)
    found: dict[str, list[list[float]]] = {}
    for name, build in econml_learners().items():
        found[name] = []
        for y in given["outcomes"]:
            learner = build().fit(y, given["treated"], X=given["covariates"])
            found[name].append(np.ravel(learner.effect(given["covariates"])).tolist())
        print(f"  ({name} is done)", file=sys.stderr, flush=True)
    print(json.dumps({"version": metadata.version("econml"), "effects": found}))


def ask_econml(covariates: Any, treated: Any, outcomes: Any) -> tuple[str | None, Effects]:
    """Have EconML answer, in the first environment that has it; its version and effects."""
    others = [path for path in os.environ.get("PEERS_PYTHON", "").split(":") if path]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npz"
        np.savez(path, covariates=covariates, treated=treated, outcomes=outcomes)
        for python in (sys.executable, *others):
            there = subprocess.run([python, "-c", "import econml"], capture_output=True)
            if there.returncode == 0:
                command = [python, __file__, "--peer", str(path)]
                done = subprocess.run(
                    command, stdout=subprocess.PIPE, text=True, check=True, timeout=LIMIT
                )
                told = json.loads(done.stdout.splitlines()[-1])
                return told["version"], told["effects"]
    print("  (skipped: econml is not installed; `pip install econml` to compare)")
    return None, {}


# Here.


def surface_b(covariates: Any, treated: Any, seed: int) -> tuple[Any, Any]:
    """Draw response surface B of Hill (2011); returns outcomes and effects."""
    rng = np.random.default_rng(seed)
    sizes, shares = [0.0, 0.1, 0.2, 0.3, 0.4], [0.6, 0.1, 0.1, 0.1, 0.1]
    slopes = rng.choice(sizes, p=shares, size=covariates.shape[1])
    low = np.exp((covariates + 0.5) @ slopes)
    high = covariates @ slopes
    high = high - (high - low)[treated == 1].mean() + 4
    return np.where(treated == 1, high, low) + rng.normal(size=len(low)), high - low


def ask_here(covariates: Any, treated: Any, outcomes: Any) -> tuple[list[Any], list[float]]:
    """Effects of the rows, and the doubly robust effect on the treated, for each outcome."""
    from causalppl import ADMG, identify
    from causalppl.estimation.unit_effects import unit_effects

    names = [f"Z{i}" for i in range(covariates.shape[1])]
    listed = ", ".join(names)
    graph = ADMG.parse(f"{{{listed}}} -> X; {{{listed}}} -> Y; X -> Y")
    estimand, effects, robust = identify(graph, "ATE(X -> Y)"), [], []
    for y in outcomes:
        data = {**dict(zip(names, covariates.T, strict=True)), "X": treated, "Y": y}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # overlap is known to be poor
            found = unit_effects(estimand, data, seed=0)
        effects.append(found.effects)
        robust.append(float(found.att))
        print(f"  (chosen: {found.learner})", flush=True)
    return effects, robust


def add(
    run: Any, question: str, cases: str, here: Any, peers: Mapping[str, Any], best: str
) -> None:
    """Add one error, averaged over cases; the target is that of the peer with least sqrt PEHE."""
    from _harness import Measured, Row, Target

    cells = {name: Measured.exactly(float(np.mean(errors))) for name, errors in peers.items()}
    target = Target("at most", cells[best].value) if cells else None
    run.add(Row(question, cases, Measured.exactly(float(np.mean(here))), target, peers=cells))


def main() -> None:
    from _harness import benchmark

    from causalppl.data import load_ihdp

    data = load_ihdp()
    covariates = data.iloc[:, 1:26].to_numpy(float)
    covariates = (covariates - covariates.mean(0)) / covariates.std(0)
    treated = data["treat"].to_numpy()
    with benchmark(NAME) as run:
        further = 1 if run.quick else FURTHER_DRAWS
        outcomes = [data[f"y_b{r}"].to_numpy() for r in range(REALISATIONS)]
        truths = [(data[f"mu1_b{r}"] - data[f"mu0_b{r}"]).to_numpy() for r in range(REALISATIONS)]
        for seed in range(further):
            y, effects = surface_b(covariates, treated, 1_000 + seed)
            outcomes.append(y)
            truths.append(effects)
        version, theirs = ask_econml(covariates, treated, outcomes)
        ours, robust = ask_here(covariates, treated, outcomes)
        rows = list(zip(truths, ours, strict=True))
        pehe = [rms(found - truth) for truth, found in rows]
        on_treated = [abs((found - truth)[treated == 1].mean()) for truth, found in rows]
        aipw = [abs(e - t[treated == 1].mean()) for e, t in zip(robust, truths, strict=True)]
        gaps = {
            name: [np.array(found) - truth for found, truth in zip(all_found, truths, strict=True)]
            for name, all_found in theirs.items()
        }
        their_pehe = {name: [rms(gap) for gap in found] for name, found in gaps.items()}
        their_att = {n: [abs(g[treated == 1].mean()) for g in found] for n, found in gaps.items()}
        peer = f" (EconML {version})" if version else ""
        for first, last, cases in (
            *((r, r + 1, f"realisation {r}") for r in range(REALISATIONS)),
            (0, REALISATIONS, "mean of the three"),
            (REALISATIONS, REALISATIONS + further, f"mean of {further} further draws"),
        ):
            part = slice(first, last)
            known = {name: errors[part] for name, errors in their_pehe.items()}
            best = min(known, key=lambda name: np.mean(known[name]), default="")
            add(run, f"sqrt PEHE{peer}", cases, pehe[part], known, best)
            known = {name: errors[part] for name, errors in their_att.items()}
            question = "error of the effect on the treated"
            add(run, f"{question}, mean of units{peer}", cases, on_treated[part], known, best)
            add(run, f"{question}, doubly robust{peer}", cases, aipw[part], {}, best)


def rms(gaps: Any) -> float:
    """The root of the mean square."""
    return float(np.sqrt(np.mean(np.square(gaps))))


if __name__ == "__main__":
    answer(sys.argv[2]) if sys.argv[1:2] == ["--peer"] else main()
