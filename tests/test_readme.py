"""The README's first screen runs and prints what stands below it."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist

import causalppl as cp
from causalppl.cli import main

README = Path(__file__).parents[1] / "README.md"


def test_the_first_screen_prints_what_the_readme_shows():
    text = README.read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    shown = re.findall(r"```text\n(.*?)```", text, re.DOTALL)[0]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, str(README), "exec"), {})
    assert printed.getvalue() == shown


def test_the_commands_print_what_the_readme_shows(capsys):
    text = README.read_text(encoding="utf-8")
    shown = re.findall(r"^\$ causalppl (.*)\n((?:[^$`].*\n)+)", text, re.MULTILINE)
    assert len(shown) == 2
    for command, output in shown:
        assert main(shlex.split(command)) == 0
        assert capsys.readouterr().out == output


def test_each_function_of_the_table_is_there():
    names = set(re.findall(r"cp\.(\w+)", README.read_text(encoding="utf-8")))
    assert {"policy_value", "estimate_iv", "unit_effects", "map_units"} <= names
    assert names <= {*cp.__all__}


def test_the_lines_of_the_table_run_as_they_stand(tmp_path):
    rng = np.random.default_rng(0)
    hidden, z = rng.normal(size=(2, 400))
    x = z + hidden
    data = pd.DataFrame({"Z": z, "X": x, "Y": 2 * x + hidden + rng.normal(size=400)})
    graph = cp.ADMG.parse("Z -> X -> Y; X <-> Y")
    seen = cp.ADMG.parse("Z -> X -> Y; Z -> Y")
    estimand = cp.identify(seen, "ATE(X -> Y)")
    first, again = (cp.estimate(estimand, data, seed=0).interpret() for _ in range(2))
    assert first == again
    low, high = cp.estimate_iv(graph, data, "X", "Y").interval()
    assert low < 2 < high
    log = {"action": ["a", "b"] * 50, "reward": [1, 0] * 50, "propensity": [0.5] * 100}
    policy = {"action": ["a", "b"], "probability": [0.8, 0.2]}
    assert 0.7 < float(cp.policy_value(log, policy, seed=0)) < 0.9


def test_a_program_with_unknown_parameters_is_fitted_and_mapped_as_shown(tmp_path):
    def program(n):
        slope = pyro.sample("slope", dist.Normal(0.0, 5.0))
        with pyro.plate("units", n):
            x = pyro.sample("X", dist.Normal(0.0, 1.0))
            pyro.sample("Y", dist.Normal(slope * x, 1.0))

    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    data = pd.DataFrame({"X": x, "Y": 2 * x + rng.normal(size=300)})
    scm = cp.SCM(program, observed=["X", "Y"])
    scm = scm.fit(data, seed=0)
    data[:20].to_parquet(tmp_path / "units.parquet")
    found = cp.map_units(scm, "E[Y_{X=0}]", tmp_path / "units.parquet", tmp_path / "answers")
    frame = found.to_pandas()
    np.testing.assert_allclose(frame["mean(Y)"], (data["Y"] - 2 * data["X"])[:20], atol=0.4)
