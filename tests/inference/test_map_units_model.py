"""A folder of results belongs to one model: by code, parameters, behaviour and libraries."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch

from causalppl import SCM
from causalppl.exceptions import DataError
from causalppl.inference import map_units_model
from causalppl.inference.map_units import map_units
from causalppl.inference.map_units_model import find_difference, model_mark

pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra scale)")

SHIFT = 1.0


def line(spread=1.0, rare=5.0):
    """A line, with an accident for about one unit in a million."""

    def program():
        x = pyro.sample("X", dist.Normal(0.0, 1.0))
        y = torch.where(x > 4.75, rare, 2 * x)
        return pyro.sample("Y", dist.Normal(y, spread))

    return program


def shifted():
    x = pyro.sample("X", dist.Normal(0.0, 1.0))
    return pyro.sample("Y", dist.Normal(x + SHIFT, 1.0))


def doubled():
    return helper(pyro.sample("X", dist.Normal(0.0, 1.0)))


def helper(x):
    return pyro.sample("Y", dist.Normal(2 * x, 1.0))


def difference(one, other):
    return find_difference(json.loads(json.dumps(model_mark(SCM(one)))), model_mark(SCM(other)))


def test_the_same_model_is_known_again():
    for make in (line, lambda: shifted, lambda: partial(helper_of, 2.0)):
        assert difference(make(), make()) is None


def helper_of(slope):
    return pyro.sample("Y", dist.Normal(slope * pyro.sample("X", dist.Normal(0.0, 1.0)), 1.0))


def test_models_that_nearly_agree_are_told_apart(monkeypatch):
    assert difference(line(), line(spread=1.0005)) is not None
    assert difference(line(), line(spread=1 + 1e-12)) is not None
    assert "program" in str(difference(line(), line(rare=6.0)))  # no simulated unit shows it
    assert difference(partial(helper_of, 2.0), partial(helper_of, 2.0 + 1e-9)) is not None
    before = {name: model_mark(SCM(program)) for name, program in programs().items()}
    monkeypatch.setitem(globals(), "SHIFT", 1 + 1e-12)
    monkeypatch.setitem(globals(), "helper", lambda x: pyro.sample("Y", dist.Normal(2 * x, 1.0)))
    for name, program in programs().items():
        told = find_difference(before[name], model_mark(SCM(program, check=False)))
        assert "program" in str(told)


def programs():
    return {"shifted": shifted, "doubled": doubled}


def test_behaviour_differs_though_the_code_does_not():
    """The code is the same text, and reads something that no digest sees: a file, here a slot."""
    scale = Slot(1.0)
    scm = SCM(scale.program)
    mark = model_mark(scm)
    scale.value = 1.0005
    told = find_difference(mark, model_mark(scm))
    assert told is not None
    assert "Y was" in told


class Slot:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value

    def program(self):
        x = pyro.sample("X", dist.Normal(0.0, 1.0))
        return pyro.sample("Y", dist.Normal(2 * x, self.value))


def test_parameters_differ_in_the_last_bit():
    def program(n):
        slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
        with pyro.plate("units", n):
            pyro.sample("Y", dist.Normal(slope * pyro.sample("X", dist.Normal(0.0, 1.0)), 1.0))

    scm, draws = SCM(program), torch.linspace(0, 1, 50)
    other = draws.clone()
    other[-1] = torch.nextafter(other[-1], torch.tensor(2.0))
    marks = [model_mark(scm.with_parameters({"slope": d})) for d in (draws, draws.clone(), other)]
    assert find_difference(marks[0], marks[1]) is None
    assert "parameters" in str(find_difference(marks[0], marks[2]))


def test_weights_of_a_network_are_parameters():
    class Network(pyro.nn.PyroModule):
        def __init__(self):
            super().__init__()
            self.layer = pyro.nn.PyroModule[torch.nn.Linear](1, 1)

        def forward(self):
            x = pyro.sample("X", dist.Normal(0.0, 1.0))
            return pyro.sample("Y", dist.Normal(self.layer(x[..., None])[..., 0], 1.0))

    network = Network()
    mark = model_mark(SCM(network))
    assert find_difference(mark, model_mark(SCM(network))) is None
    with torch.no_grad():
        network.layer.weight += 1e-7
    assert find_difference(mark, model_mark(SCM(network))) is not None


def test_code_without_source_is_known_by_its_bytes():
    def made(slope):
        space = {"pyro": pyro, "dist": dist}
        text = f"""
def program():
    x = pyro.sample("X", dist.Normal(0.0, 1.0))
    return pyro.sample("Y", dist.Normal({slope} * x, 1.0))
"""
        exec(text, space)
        return space["program"]

    assert difference(made(2.0), made(2.0)) is None
    assert "program" in str(difference(made(2.0), made(2.0 + 1e-12)))


def test_other_libraries_are_other_draws(monkeypatch):
    monkeypatch.setattr(map_units_model, "version", lambda name: "1")
    mark = model_mark(SCM(line()))
    monkeypatch.setattr(map_units_model, "version", lambda name: "9.9" if name == "torch" else "1")
    assert "torch was" in str(find_difference(mark, model_mark(SCM(line()))))


SCRIPT = """
import json, sys
sys.path.insert(0, {tests!r})
from test_map_units_model import SCM, doubled, line, model_mark, shifted
print(json.dumps([model_mark(SCM(p)) for p in (line(), shifted, doubled)]))
"""


@pytest.mark.slow
def test_a_model_is_known_in_another_process():
    script = SCRIPT.format(tests=str(Path(__file__).parent))
    told = [
        subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in "12"
    ]
    for one, other in zip(*map(json.loads, told), strict=True):
        assert find_difference(one, other) is None


def test_a_folder_is_not_taken_up_by_a_model_that_nearly_agrees(tmp_path):
    pd.DataFrame({"X": [1.0, 2.0], "Y": [3.0, 4.0]}).to_parquet(tmp_path / "units.parquet")

    def mapped(program):
        return map_units(program, "E[Y_{X=0}]", tmp_path / "units.parquet", tmp_path / "out")

    assert mapped(line()).computed == 1
    assert mapped(line()).computed == 0
    for other in (line(spread=1.0005), line(rare=6.0)):
        with pytest.raises(DataError, match=r"another model: program.*changed.*a new folder"):
            mapped(other)
