"""Fitted models in files: the same digits in another process, and no other program's."""

import json
import pickle
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal

import causalppl as cp
from causalppl.exceptions import ConvergenceWarning, DataError, FitError, ProgramError
from causalppl.graphs import ADMG
from causalppl.inference.fit_record_files import SavedMethod
from causalppl.programs.finite import FiniteModel, random_finite_model
from tests.inference import saved_programs as saved
from tests.inference.saved_programs import PROGRAMS, line

X = torch.cat([torch.linspace(-1, 1, 60), torch.tensor([1.0])])
DATA = {"X": X, "Y": torch.cat([2 * X[:-1] + torch.linspace(-1, 1, 60).sin(), torch.ones(1) * 2.5])}
SHORT = cp.SVIFit(num_steps=60, num_draws=50)


def fitted():
    generator = torch.Generator().manual_seed(0)
    words = np.array(["bike", "bus", "car"])[torch.randint(3, (90,), generator=generator)]
    choices = {"T": torch.arange(90) % 2, "C": words}
    confounded = cp.SCM(saved.confounded, observed=["X", "M", "Y"])
    ordered = cp.SCM(saved.choice, couplings={"C": cp.Quantile()})
    return {
        "line": cp.SCM(line).fit(DATA, method=SHORT, seed=0),
        "chains": cp.SCM(line).fit(DATA, method=cp.NUTSFit(20, 10, 2), seed=0),
        "confounded": confounded.fit(DATA, method=SHORT, seed=0),
        "choice": ordered.fit(choices, method=SHORT, seed=0),
        "network": cp.SCM(saved.network()).fit(DATA, method=SHORT, seed=0),
    }


@pytest.fixture(scope="module")
def models():
    with warnings.catch_warnings():
        # short fits are still moving, which does not matter here
        warnings.simplefilter("ignore", ConvergenceWarning)
        return fitted()


@pytest.fixture(scope="module")
def file(models, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "line.pt"
    models["line"].save(path)
    return path


def test_a_fresh_process_gives_the_same_digits(models, tmp_path):
    tables = random_finite_model(ADMG.parse("Z -> X -> Y; X <-> Y"), seed=0)
    tables.save(tmp_path / "finite.npz")
    expected = {"finite": [tables.probability(query) for query in saved.TABLES]}
    for name, model in models.items():
        model.save(tmp_path / f"{name}.pt")
        expected[name] = saved.answers(model, PROGRAMS[name][1])
    expected["known unit"] = saved.known_unit(models["line"])
    run = subprocess.run(
        [sys.executable, saved.__file__, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == expected


def test_without_the_rows_they_are_taken_for_new_units(models, tmp_path):
    models["line"].save(tmp_path / "with.pt")
    models["line"].save(tmp_path / "without.pt", with_data=False)
    known = cp.SCM.load(tmp_path / "with.pt", line)
    unknown = cp.SCM.load(tmp_path / "without.pt", line)
    assert unknown.fit_record.data is None
    assert "rows that the model was fitted to" in str(saved.known_unit(known)[0][1])
    assert "rows that the model was fitted to" not in str(saved.known_unit(unknown)[0][1])
    assert saved.known_unit(known)[1] == saved.known_unit(unknown)[1]
    assert (tmp_path / "without.pt").stat().st_size < (tmp_path / "with.pt").stat().st_size


def test_how_it_was_fitted_is_kept(models, file):
    record, again = models["line"].fit_record, cp.SCM.load(file, line).fit_record
    assert again.interpret() == record.interpret()
    assert again.method == record.method
    assert torch.equal(again.elbo, record.elbo)


def test_a_guide_is_code_and_is_kept_by_name(tmp_path, recwarn):
    guided = cp.SVIFit(20, num_draws=10, guide=AutoNormal)
    model = cp.SCM(line).fit(DATA, method=guided, seed=0)
    model.save(tmp_path / "model.pt")
    method = cp.SCM.load(tmp_path / "model.pt", line).fit_record.method
    assert isinstance(method, SavedMethod)
    assert (method.name, method.settings["guide"]) == ("SVIFit", "AutoNormal")
    with pytest.raises(FitError, match="does not hold its code"):
        cp.SCM(line).fit(DATA, method=method, seed=0)


def test_a_loaded_model_can_be_saved_again(file, tmp_path):
    first = cp.SCM.load(file, line)
    first.save(tmp_path / "again.pt")
    second = cp.SCM.load(tmp_path / "again.pt", line)
    assert torch.equal(first.parameters["slope"], second.parameters["slope"])
    assert second.fit_record.interpret() == first.fit_record.interpret()


def test_a_view_of_a_large_tensor_is_not_saved_whole(tmp_path):
    large = torch.zeros(1_000_000)
    cp.SCM(line).with_parameters({"slope": large[:10]}).save(tmp_path / "model.pt")
    assert (tmp_path / "model.pt").stat().st_size < 100_000


def variant(*, parent="slope", family=dist.Normal, scale=1.0, shape=()):
    def program(n):
        slope = pyro.sample("slope", dist.Normal(torch.zeros(shape), 5.0).to_event(len(shape)))
        with pyro.plate("units", n):
            x = pyro.sample("X", dist.Normal(0.0, 1.0))
            y = pyro.sample("Y", family((slope.sum() if parent == "slope" else 2.0) * x, scale))
            return y

    return program


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (variant(family=dist.Laplace), "'Y' was a site, Normal of slope, X .* and is a site, Lapl"),
        (variant(parent="none"), "'Y' was a site, Normal of slope, X"),
        (variant(shape=(2,)), r"'slope' was .* shape \(\) .* and is .* shape \(2,\)"),
        (variant(scale=1.01), "the log density of 'Y' differs by up to"),
        (saved.confounded, "'slope' was a parameter, .* and is not there"),
        (lambda: pyro.sample("X", dist.Normal(0.0, 1.0)), "'slope' was a parameter"),
    ],
    ids=["family", "parents", "shape", "coefficient", "sites", "units"],
)
def test_another_program_is_refused(file, program, message):
    with pytest.raises(ProgramError, match=f"written for another program: .*{message}"):
        cp.SCM.load(file, program)


def test_the_same_program_written_otherwise_is_taken(file):
    assert cp.SCM.load(file, variant()).parameters["slope"].shape == (50,)


def test_a_model_may_be_given_if_it_is_described_alike(models, tmp_path):
    models["choice"].save(tmp_path / "model.pt")
    alike = cp.SCM(saved.choice, couplings={"C": cp.Quantile()})
    assert cp.SCM.load(tmp_path / "model.pt", alike).categories == models["choice"].categories
    with pytest.raises(ProgramError, match="the couplings of the model that was saved are"):
        cp.SCM.load(tmp_path / "model.pt", cp.SCM(saved.choice))
    swapped = cp.SCM(
        saved.choice, couplings={"C": cp.Quantile()}, categories={"C": ["car", "bus", "bike"]}
    )
    with pytest.raises(ProgramError, match="would be taken for others"):
        cp.SCM.load(tmp_path / "model.pt", swapped)


def test_a_coupling_of_ones_own_comes_with_the_model(tmp_path):
    class Own(cp.Quantile):
        name = "own"

    model = cp.SCM(saved.choice, couplings={"C": Own()})
    model = model.with_parameters({"shares": torch.full((1, 2, 3), 1 / 3)})
    model.save(tmp_path / "model.pt")
    with pytest.raises(ProgramError, match="the coupling of C is a Own, which a file cannot hold"):
        cp.SCM.load(tmp_path / "model.pt", saved.choice)
    again = cp.SCM.load(tmp_path / "model.pt", cp.SCM(saved.choice, couplings={"C": Own()}))
    assert isinstance(again.couplings["C"], Own)


def test_learned_values_must_fit_the_program(models, tmp_path):
    models["network"].save(tmp_path / "model.pt")
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    content["learned"]["scale"] = torch.zeros(3)
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(ProgramError, match="learned values of the shapes"):
        cp.SCM.load(tmp_path / "model.pt", saved.network())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, r"has file version 99; expected 1; it was written by causalppl '0"),
        ({"format": "other"}, "is not a fitted model"),
        ({"record": {}}, "is damaged"),
        ({"parameters": {"slope": torch.tensor([torch.nan])}}, "NaN"),
    ],
    ids=["version", "format", "damaged", "numbers"],
)
def test_a_file_that_does_not_fit_is_refused(file, tmp_path, change, message):
    torch.save(torch.load(file, weights_only=True) | change, tmp_path / "changed.pt")
    with pytest.raises(DataError, match=message):
        cp.SCM.load(tmp_path / "changed.pt", line)


def test_what_is_no_file_of_save_is_refused(tmp_path, models):
    (tmp_path / "text.pt").write_text("hello")
    torch.save(torch.zeros(2), tmp_path / "tensor.pt")
    with pytest.raises(DataError, match=r"there is no file .*none\.pt"):
        cp.SCM.load(tmp_path / "none.pt", line)
    with pytest.raises(DataError, match="there is no file"):
        cp.SCM.load(tmp_path, line)
    with pytest.raises(DataError, match="cannot be read as a fitted model"):
        cp.SCM.load(tmp_path / "text.pt", line)
    with pytest.raises(DataError, match="is not a fitted model"):
        cp.SCM.load(tmp_path / "tensor.pt", line)
    for path in (tmp_path, tmp_path / "nowhere" / "model.pt"):
        with pytest.raises(DataError, match="cannot be written"):
            models["line"].save(path)


class Boom:
    """What a pickle may do, and a file of ours may not."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "boom")


def test_code_in_a_file_is_not_executed(tmp_path):
    with open(tmp_path / "model.pt", "wb") as file:
        pickle.dump({"format": "causalppl.SCM", "sites": Boom(tmp_path / "boom")}, file)
    with pytest.raises(DataError, match="cannot be read"):
        cp.SCM.load(tmp_path / "model.pt", line)
    assert not (tmp_path / "boom").exists()


def test_a_model_that_was_not_fitted_has_nothing_to_save(tmp_path):
    with pytest.raises(DataError, match="not fitted"):
        cp.SCM(line).save(tmp_path / "model.pt")
    odd = cp.SCM(line).with_parameters({"slope": torch.ones(2)}, record="by hand")
    with pytest.raises(DataError, match="fit_record is a str"):
        odd.save(tmp_path / "model.pt")


def test_a_finite_model_comes_back_as_it_was(tmp_path):
    graph = ADMG(["Y", "a b/c", "X"], [("X", "a b/c"), ("a b/c", "Y")], [("X", "Y")])
    model = random_finite_model(graph, states={"Y": 2, "a b/c": 3, "X": 2}, seed=0)
    model.save(tmp_path / "model.bin")
    again = FiniteModel.load(tmp_path / "model.bin")
    assert again.graph.nodes == graph.nodes
    assert again.graph == graph
    assert list(again.latents) == list(model.latents)
    assert all((again.tables[name] == model.tables[name]).all() for name in graph.nodes)
    assert torch.equal(again.law({"X": 1}).values, model.law({"X": 1}).values)


def test_what_is_no_finite_model_is_refused(tmp_path):
    model = random_finite_model(ADMG.parse("X -> Y"), seed=0)
    (tmp_path / "text").write_text("hello")
    np.savez(tmp_path / "other.npz", x=np.zeros(2))
    header = {"format": "causalppl.FiniteModel", "version": 2, "causalppl": "9.9", "arrays": []}
    np.savez(tmp_path / "newer.npz", header=np.array(json.dumps(header)))
    for name, message in {
        "none": "there is no file",
        "text": "cannot be read as a finite model",
        "other.npz": "cannot be read as a finite model",
        "newer.npz": "has file version 2; expected 1; it was written by causalppl '9.9'",
    }.items():
        with pytest.raises(DataError, match=re.escape(message)):
            FiniteModel.load(tmp_path / name)
    with pytest.raises(DataError, match="cannot be written"):
        model.save(tmp_path)
