"""Units from Parquet to Parquet: the numbers of `infer`, and nothing lost or written twice."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch

from causalppl import SCM, infer
from causalppl.exceptions import DataError, ImpossibleEvidenceError, MissingExtraError, QueryError
from causalppl.inference.importance import Importance
from causalppl.inference.map_units import map_units
from causalppl.inference.map_units_rows import ParquetRows

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra scale)")
pq = pytest.importorskip("pyarrow.parquet")
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed (extra scale)"
)

MEAN = "E[Y_{X=0}]"
LAW = "P(Y_{X=0})"


def program():
    z = pyro.sample("Z", dist.Bernoulli(0.4))
    x = pyro.sample("X", dist.Normal(z, 1.0))
    return pyro.sample("Y", dist.Normal(2 * x + z, 1.0))


def units(n=100):
    sample = SCM(program).sample(n, seed=0)
    data = pd.DataFrame({name: value.double().numpy() for name, value in sample.items()})
    data.insert(0, "key", [f"unit {i}" for i in reversed(range(n))])
    data["note"] = pd.Timestamp("2020-01-01")
    return data


@pytest.fixture
def source(tmp_path):
    """Three files of unequal length, with row groups that fit no batch."""
    folder = tmp_path / "source"
    folder.mkdir()
    data = units()
    for place, rows in enumerate([data[:37], data[37:38], data[38:]]):
        rows.to_parquet(folder / f"{place}.parquet", row_group_size=7, index=False)
    return folder


def mapped(source, destination, query=LAW, **options):
    options = {"batch_rows": 9, "seed": 5, "engine": Importance(100), **options}
    return map_units(program, query, source, destination, columns=["X"], **options)


@pytest.mark.parametrize("batch_rows", [1, 9, 37, 1_000])
def test_means_are_those_of_infer_in_the_order_of_the_rows(source, tmp_path, batch_rows):
    done = map_units(
        program, MEAN, source, tmp_path / "out", keep=["key", "note"], batch_rows=batch_rows
    )
    found, data = done.to_pandas(), units()
    assert (done.rows, done.batches, done.computed) == (100, -(-100 // batch_rows), done.batches)
    assert list(found) == ["row", "key", "note", "mean(Y)", "sd(Y)"]
    assert found["row"].tolist() == list(range(100))
    assert found["key"].tolist() == data["key"].tolist()
    truth = infer(program, MEAN, evidence=data[["X", "Y", "Z"]]).mean()["Y"]
    np.testing.assert_array_equal(found["mean(Y)"], truth)
    np.testing.assert_allclose(found["mean(Y)"], data["Y"] - 2 * data["X"], atol=1e-5)
    assert (found["sd(Y)"] == 0).all()


def test_results_are_read_column_by_column(source, tmp_path):
    done = map_units(program, MEAN, source, tmp_path / "out", batch_rows=30)
    assert done.to_dataset().count_rows() == 100
    assert done.to_arrow(["mean(Y)"]).column_names == ["mean(Y)"]
    assert [file.name for file in done.files] == [f"batch-0000000{k}.parquet" for k in range(4)]


def test_missing_values_are_unobserved_as_in_infer(tmp_path):
    data = units(40)[["X", "Y", "Z"]]
    data.loc[::3, "Z"] = np.nan
    data.to_parquet(tmp_path / "units.parquet")
    done = map_units(program, "E[Z]", tmp_path / "units.parquet", tmp_path / "out", batch_rows=16)
    found = done.to_pandas()["mean(Z)"]
    truth = infer(program, "E[Z]", evidence=data, update_parameters=False).mean()["Z"]
    np.testing.assert_allclose(found, truth, atol=1e-6)
    assert set(found[data["Z"].notna()]) == {0.0, 1.0}
    notes = [
        json.loads(pq.read_schema(file).metadata[b"causalppl"])["notes"] for file in done.files
    ]
    assert "6 of 16 units have no value of Z" in " ".join(notes[0])


def test_text_is_evidence_and_names_probabilities(tmp_path):
    def choice():
        arm = pyro.sample("A", dist.Categorical(torch.tensor([0.5, 0.3, 0.2])))
        pyro.sample("B", dist.Categorical(torch.tensor([[0.6, 0.4], [0.2, 0.8], [0.5, 0.5]])[arm]))

    scm = SCM(choice, categories={"A": ("new", "old", "none"), "B": ("ill", "well")})
    data = pd.DataFrame({"B": ["ill", "well", None]})
    data.to_parquet(tmp_path / "units.parquet")
    done = map_units(scm, "P(A)", tmp_path / "units.parquet", tmp_path / "out", batch_rows=2)
    found = done.to_pandas()
    assert list(found) == ["row", "P(A=new)", "P(A=old)", "P(A=none)"]
    truth = np.array([[0.3, 0.06, 0.1], [0.2, 0.24, 0.1], [0.5, 0.3, 0.2]])
    truth /= truth.sum(1, keepdims=True)
    np.testing.assert_allclose(found.iloc[:2, 1:], truth[:2], atol=1e-6)
    # without any evidence the law is drawn; six standard errors of 1,000 draws
    np.testing.assert_allclose(found.iloc[2, 1:].astype(float), truth[2], atol=0.1)


def test_vectors_have_a_column_for_each_entry(tmp_path):
    def pair():
        x = pyro.sample("X", dist.Normal(0.0, 1.0))
        loc = torch.stack([x, 2 * x], -1)
        pyro.sample("Y", dist.Normal(loc, 1.0).to_event(1))

    pd.DataFrame({"X": [1.0, 2.0]}).to_parquet(tmp_path / "units.parquet")
    done = map_units(pair, "P(Y)", tmp_path / "units.parquet", tmp_path / "out", seed=0)
    found = done.to_pandas()
    assert list(found) == ["row", "mean(Y[0])", "sd(Y[0])", "mean(Y[1])", "sd(Y[1])"]
    np.testing.assert_allclose(found["mean(Y[1])"], [2, 4], atol=0.2)
    np.testing.assert_allclose(found["sd(Y[1])"], [1, 1], atol=0.2)


class Crashed(BaseException):
    """Not an Exception: nothing may catch it."""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_at_a_rename_loses_and_repeats_nothing(source, tmp_path, monkeypatch, when):
    whole = mapped(source, tmp_path / "whole")
    replace, renamed = os.replace, []

    def crash(hidden, path):
        if when == "after" or len(renamed) < 5:
            replace(hidden, path)
        renamed.append(path)
        if len(renamed) == 6:
            raise Crashed

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", crash)
        with pytest.raises(Crashed):
            mapped(source, tmp_path / "out")
    written = sorted(path.name for path in (tmp_path / "out").glob("batch-*"))
    assert len(written) == (4 if when == "before" else 5)  # one rename was the manifest's
    assert len(list((tmp_path / "out").glob(".*.tmp"))) == (when == "before")
    times = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in written}
    done = mapped(source, tmp_path / "out")
    assert done.computed == done.batches - len(written)
    assert {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in written} == times
    assert done.to_arrow().equals(whole.to_arrow())
    assert not list((tmp_path / "out").glob(".*"))


def test_a_crash_before_the_manifest_leaves_a_folder_that_can_be_used(
    source, tmp_path, monkeypatch
):
    def crash(hidden, path):
        raise Crashed

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", crash)
        with pytest.raises(Crashed):
            mapped(source, tmp_path / "out")
    assert mapped(source, tmp_path / "out").computed == 12


def test_a_finished_call_is_not_computed_again(source, tmp_path):
    first = mapped(source, tmp_path / "out")
    again = mapped(source, tmp_path / "out")
    assert (first.computed, again.computed) == (12, 0)
    assert mapped(source, tmp_path / "out", seed=None).computed == 0


def test_lost_and_damaged_batches_are_computed_again(source, tmp_path):
    done = mapped(source, tmp_path / "out")
    whole = done.to_arrow()
    done.files[3].unlink()
    done.files[5].write_bytes(done.files[5].read_bytes()[:100])
    pq.write_table(pq.read_table(done.files[7]).slice(1), done.files[7])
    assert mapped(source, tmp_path / "out").computed == 3
    assert done.to_arrow().equals(whole)


def test_seeds_follow_the_position_of_a_batch(source, tmp_path):
    found = mapped(source, tmp_path / "out").to_pandas()["mean(Y)"]
    assert found.nunique() == 100
    other = mapped(source, tmp_path / "other", seed=6).to_pandas()["mean(Y)"]
    assert (found != other).all()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("query", {"query": "P(Y_{X=1})"}),
        ("seed", {"seed": 6}),
        ("batch_rows", {"batch_rows": 10}),
        ("num_draws", {"num_draws": 3}),
        ("engine", {"engine": Importance(200)}),
        ("keep", {"keep": ["key"]}),
    ],
)
def test_another_call_is_refused(source, tmp_path, name, options):
    mapped(source, tmp_path / "out")
    with pytest.raises(DataError, match=f"begun with another {name}: .*, now .*a new folder"):
        mapped(source, tmp_path / "out", **options)


def test_another_source_or_model_is_refused(source, tmp_path):
    mapped(source, tmp_path / "out")

    def other():
        z = pyro.sample("Z", dist.Bernoulli(0.4))
        x = pyro.sample("X", dist.Normal(z, 1.0))
        return pyro.sample("Y", dist.Normal(2.1 * x + z, 1.0))

    with pytest.raises(DataError, match="another model"):
        map_units(
            other, LAW, source, tmp_path / "out", columns=["X"], batch_rows=9,
            engine=Importance(100),
        )  # fmt: skip
    data = pd.read_parquet(source / "1.parquet")
    data.assign(X=data["X"] + 1e-12).to_parquet(source / "1.parquet", index=False)
    with pytest.raises(DataError, match="another source"):
        mapped(source, tmp_path / "out")


def test_a_folder_with_other_things_is_refused(source, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(DataError, match=r"holds 'thesis.tex' and no manifest"):
        mapped(source, tmp_path / "out")
    (tmp_path / "out" / "manifest.json").write_text("{")
    with pytest.raises(DataError, match="is no manifest"):
        mapped(source, tmp_path / "out")


def test_bad_questions_and_sources_leave_no_folder(source, tmp_path):
    with pytest.raises(QueryError):
        mapped(source, tmp_path / "out", "E[Q_{X=0}]")
    with pytest.raises(DataError, match="no file matches"):
        mapped(f"{source}/*.pq", tmp_path / "out")
    with pytest.raises(DataError, match=r"no column 'kye'.*did you mean 'key'"):
        mapped(source, tmp_path / "out", keep=["kye"])
    with pytest.raises(DataError, match="batch_rows is 0"):
        mapped(source, tmp_path / "out", batch_rows=0)
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="none of which is a site"):
        map_units(program, MEAN, tmp_path / "a.parquet", tmp_path / "out")
    pd.DataFrame({"row": [1], "X": [1.0]}).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(DataError, match="named 'row'"):
        mapped(tmp_path / "b.parquet", tmp_path / "out", keep=["row"])
    with pytest.raises(DataError, match="differ in names, order or types"):
        mapped(f"{tmp_path}/?.parquet", tmp_path / "out")
    (tmp_path / "a.parquet").write_text("not Parquet")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        mapped(tmp_path / "a.parquet", tmp_path / "out")
    pd.DataFrame({"X": pd.Series(dtype=float)}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="no rows"):
        mapped(tmp_path / "a.parquet", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_failure_names_the_rows(tmp_path):
    data = pd.DataFrame({"Z": [1.0, 0.0, 1.0, 2.0]})
    data.to_parquet(tmp_path / "units.parquet")
    with pytest.raises(ImpossibleEvidenceError, match="at rows 2 to 3"):
        map_units(program, MEAN, tmp_path / "units.parquet", tmp_path / "out", batch_rows=2)


@pytest.mark.parametrize("value", [2.0, 0.5])
def test_a_value_that_a_site_cannot_take_is_refused(tmp_path, value):
    def binary():
        z = pyro.sample("Z", dist.Bernoulli(0.4))
        x = pyro.sample("X", dist.Bernoulli(0.2 + 0.5 * z))
        return pyro.sample("Y", dist.Normal(2 * x + z, 1.0))

    pd.DataFrame({"X": [1.0, value], "Y": [1.0, 1.0]}).to_parquet(tmp_path / "units.parquet")
    said = rf"{value}.*'X'.*unit 1.*Bernoulli.*expected 0 or 1"
    with pytest.raises(ImpossibleEvidenceError, match=said):
        map_units(binary, MEAN, tmp_path / "units.parquet", tmp_path / "out", seed=0)


def test_arguments_of_another_kind_are_refused_by_name(source, tmp_path):
    with pytest.raises(DataError, match="num_workers is 0; expected a whole number"):
        mapped(source, tmp_path / "out", num_workers=0)
    with pytest.raises(DataError, match=r"source is a DataFrame.*evidence=frame"):
        mapped(units(), tmp_path / "out")
    with pytest.raises(DataError, match="destination is a int"):
        mapped(source, 3)
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DataError, match=r"cannot be a folder, as .*file is a file"):
            mapped(source, place)
    assert not (tmp_path / "out").exists()


def test_a_list_of_files_is_read_in_its_order(source, tmp_path):
    files = [source / "2.parquet", source / "0.parquet"]
    found = mapped(files, tmp_path / "out", keep=["key"]).to_pandas()["key"]
    assert found.tolist() == pd.concat(map(pd.read_parquet, files))["key"].tolist()


@pytest.mark.slow
def test_a_script_without_the_main_guard_is_told_of_it(source, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from tests.inference.test_map_units import mapped\n"
        f"mapped({str(source)!r}, {str(tmp_path / 'out')!r}, num_workers=2)\n"
    )
    root = Path(__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=False,
    )
    assert ran.returncode == 1
    last = ran.stderr.strip().splitlines()[-1]
    assert "DataError: one of 2 processes ended" in last
    assert 'if __name__ == "__main__":' in last


def test_a_missing_pyarrow_names_the_extra(source, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtraError, match=r"causalppl\[scale\]"):
        mapped(source, tmp_path / "out")


def test_any_rows_are_read_in_batches(source):
    files = ParquetRows.of(sorted(source.iterdir()))
    everything = units()["key"].tolist()
    rng = np.random.default_rng(0)
    for _ in range(100):
        start, stop = sorted(rng.integers(0, 101, 2).tolist())
        size = int(rng.integers(1, 40))
        tables = list(files.read(["key"], start, stop, size))
        assert [key for table in tables for key in table["key"].to_pylist()] == everything[
            start:stop
        ]
        assert all(len(table) == size for table in tables[:-1])


SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from tests.inference.test_map_units import one_by_one
one_by_one({source!r}, {out!r})
"""


def one_by_one(source, destination):
    return mapped(source, destination, batch_rows=1, engine=Importance(50_000))


@pytest.mark.slow
def test_a_killed_process_loses_and_repeats_nothing(source, tmp_path):
    whole = one_by_one(source, tmp_path / "whole")
    out, root = tmp_path / "out", Path(__file__).parents[2]
    script = SCRIPT.format(root=str(root), source=str(source), out=str(out))
    process = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 120
    while len(list(out.glob("batch-*"))) < 10 and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    written = len(list(out.glob("batch-*")))
    assert 10 <= written < 100
    done = one_by_one(source, out)
    assert done.computed == 100 - written
    assert done.to_arrow().equals(whole.to_arrow())
    assert not list(out.glob(".*"))


@pytest.mark.slow
def test_processes_give_the_same_table(source, tmp_path):
    whole = mapped(source, tmp_path / "whole").to_arrow()
    assert mapped(source, tmp_path / "two", num_workers=2).to_arrow().equals(whole)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert mapped(source, tmp_path / "pool", parallel=pool).to_arrow().equals(whole)


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_ray_gives_the_same_table(source, tmp_path):
    whole = mapped(source, tmp_path / "whole").to_arrow()
    there = mapped(source, tmp_path / "ray", parallel="ray", num_workers=2)
    assert there.to_arrow().equals(whole)
