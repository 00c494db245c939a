"""The command line: what it prints, and how it fails."""

import json
import subprocess
import sys
import warnings

import pytest

import causalppl
from causalppl import cli
from causalppl.cli import about
from causalppl.exceptions import DataError


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"causalppl {causalppl.__version__}\n"


def test_without_a_command_the_help_is_shown(capsys):
    assert cli.main([]) == 0
    out = capsys.readouterr().out
    assert "usage: causalppl" in out
    assert all(
        command in out
        for command in (
            "identify",
            "verify",
            "estimate",
            "bound",
            "run",
            "demo",
            "doctor",
            "datasets",
        )
    )


def test_an_unknown_command_is_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["demos"])
    assert stopped.value.code == 2
    assert "invalid choice: 'demos'" in capsys.readouterr().err


def test_doctor_lists_versions_and_extras(capsys, monkeypatch):
    def version(package):
        return None if package == "ray" else "1.2"

    monkeypatch.setattr(about, "_version", version)
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert f"causalppl {causalppl.__version__} on Python" in out
    assert "plots        matplotlib 1.2" in out
    assert 'pip install "causalppl[scale]" brings ray' in out


def test_doctor_as_json(capsys):
    assert cli.main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["causalppl"] == causalppl.__version__
    assert found["packages"]["torch"]
    assert set(found["extras"]) == {"plots", "arviz", "deep", "rl", "scale"}


def test_datasets_are_listed_with_what_they_are(capsys):
    assert cli.main(["datasets"]) == 0
    assert "nhefs            Smoking cessation and weight gain" in capsys.readouterr().out
    assert cli.main(["datasets", "--json"]) == 0
    names = [entry["name"] for entry in json.loads(capsys.readouterr().out)]
    assert names == sorted(names)
    assert "kidney_stones" in names


@pytest.mark.parametrize("error", [DataError("two\nlines"), OSError("two lines")])
def test_an_error_is_one_sentence_and_exit_code_2(capsys, monkeypatch, error):
    def fail(output, **options):
        raise error

    monkeypatch.setattr("causalppl.demo.run_demo", fail)
    assert cli.main(["demo"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "causalppl: error: two lines\n"
    assert captured.out == ""


def test_a_folder_that_cannot_be_made_is_an_error_before_any_work(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert cli.main(["demo", "--output", str(tmp_path / "file" / "folder")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("causalppl: error:")
    assert captured.err.count("\n") == 1


def test_python_m_causalppl_is_the_command():
    run = subprocess.run(
        [sys.executable, "-m", "causalppl", "--version"], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0
    assert run.stdout == f"causalppl {causalppl.__version__}\n"


FRONT_DOOR = "X -> Z -> Y; X <-> Y"
BOW = "X -> Y; X <-> Y"
BACK_DOOR = "Z -> X -> Y; Z -> Y"


def test_identify_prints_the_formula_and_its_derivation(capsys):
    assert cli.main(["identify", FRONT_DOOR, "P(Y | do(X))", "--steps"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "P(Y | do(X)) = sum_Z P(Z | X) sum_X' P(X') P(Y | X', Z)"
    assert out[1].startswith("  1. c-factor {Z}: P(Z | X)")


def test_identify_in_latex_and_as_json(capsys):
    assert cli.main(["identify", FRONT_DOOR, "P(Y | do(X))", "--latex"]) == 0
    assert r"\sum_{Z}" in capsys.readouterr().out
    assert cli.main(["identify", FRONT_DOOR, "P(Y | do(X))", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["identifiable"]
    assert found["formula"] == "sum_Z P(Z | X) sum_X' P(X') P(Y | X', Z)"


def test_not_identifiable_is_an_answer_with_exit_code_1(capsys):
    assert cli.main(["identify", BOW, "P(Y | do(X))"]) == 1
    captured = capsys.readouterr()
    assert "not identifiable" in captured.out
    assert captured.err == ""
    assert cli.main(["identify", BOW, "P(Y | do(X))", "--json"]) == 1
    hedges = json.loads(capsys.readouterr().out)["hedges"]
    assert hedges == [{"inner": ["Y"], "outer": ["X", "Y"]}]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("graph.dot", "digraph { X -> Z; Z -> Y; X -> Y [dir=both] }"),
        ("graph.txt", "dag { X -> Z -> Y; X <-> Y }"),
        ("plain.txt", FRONT_DOOR),
    ],
)
def test_a_diagram_may_be_in_a_file(capsys, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert cli.main(["identify", str(tmp_path / name), "P(Y | do(X))"]) == 0
    assert "sum_Z P(Z | X)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["identify", "X -> ", "P(Y)"], "expected a node"),
        (["identify", "missing.dot", "P(Y)"], "there is no file 'missing.dot'"),
        (["identify", BACK_DOOR, "P(W | do(X))"], "W"),
        (["verify", "front_door"], "expected examples:NAME"),
        (["verify", "examples:nothing"], "it has back_door"),
        (["verify", "no_such_module:scm"], "there is no module 'no_such_module'"),
        (["verify", "no_such_file.py:scm"], "there is no file 'no_such_file.py'"),
        (["verify", "causalppl:parse_query"], "expected an SCM"),
        (["estimate", "no.csv", "ATE(X -> Y)", "--graph", BACK_DOOR], "no.csv"),
        (["run", "Nowhere", "--agent", "thompson"], "there is no environment 'Nowhere'"),
        (["run", "SCMMAB1", "--agent", "dovi"], "'dovi' does not play in SCMMAB1"),
        (["run", "TwoStageDTR", "--agent", "thompson"], "does not play in TwoStageDTR"),
        (["run", "TwoStageDTR", "--agent", "dovi", "--arms", "MIS"], "leave it out"),
    ],
)
def test_bad_use_is_one_sentence_and_exit_code_2(capsys, arguments, message):
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("causalppl: error:")
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_verify_checks_a_program_by_name(capsys):
    assert cli.main(["verify", "examples:frontdoor"]) == 0
    assert "6 of 6 formulas agree" in capsys.readouterr().out
    assert cli.main(["verify", "examples:front_door", "P(Y=1 | do(X=1))", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["passed"]
    assert found["difference"] < 1e-10
    assert cli.main(["verify", "examples:bow", "P(Y | do(X))"]) == 1


def test_verify_reads_a_file(capsys, tmp_path):
    (tmp_path / "model.py").write_text(
        "import pyro, pyro.distributions as dist, torch\n"
        "from causalppl import SCM\n"
        "def program():\n"
        "    x = pyro.sample('X', dist.Bernoulli(torch.tensor(0.5).double()))\n"
        "    pyro.sample('Y', dist.Bernoulli(0.2 + 0.5 * x))\n"
        "model = SCM(program, observed=['X', 'Y'])\n"
    )
    assert cli.main(["verify", f"{tmp_path / 'model.py'}:model"]) == 0
    assert "2 of 2 formulas agree" in capsys.readouterr().out


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.csv"
    lines = [
        f"{z},{x},{y}" for z in (0, 1) for x in (0, 1) for y in (0, 1) for _ in range(3 + x + y)
    ]
    path.write_text("Z,X,Y\n" + "\n".join(lines) + "\n")
    return str(path)


def test_estimate_gives_a_table_and_a_sentence(capsys, rows, tmp_path):
    picture = tmp_path / "effect.png"
    asked = ["estimate", rows, "ATE(X -> Y)", "--graph", BACK_DOOR, "--plot", str(picture)]
    assert cli.main(asked) == 0
    out = capsys.readouterr().out
    assert "97.5%" in out
    assert "It rests on" in out
    assert picture.stat().st_size > 1_000


def test_estimate_as_json_with_a_method(capsys, rows):
    asked = ["estimate", rows, "ATE(X -> Y)", "--graph", BACK_DOOR, "--method", "ipw", "--json"]
    assert cli.main(asked) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["method"] == "inverse probability weighting"
    assert found["values"][0]["estimate"] == pytest.approx(5 / 9 - 4 / 7)
    assert found["num_rows"] == 32
    assert cli.main([*asked[:-2], "nonsense"]) == 2
    assert "expected one of Dirichlet" in capsys.readouterr().err


def test_estimate_of_what_is_not_identifiable_points_to_bound(capsys, rows):
    assert cli.main(["estimate", rows, "ATE(X -> Y)", "--graph", BOW]) == 1
    assert "causalppl bound" in capsys.readouterr().out


def test_run_compares_agents(capsys, tmp_path):
    picture = tmp_path / "regret.png"
    asked = ["run", "causalppl/GreedyCasino-v0", "--agent", "uniform", "--agent", "per-arm"]
    assert cli.main([*asked, "--steps", "20", "--runs", "4", "--plot", str(picture)]) == 0
    out = capsys.readouterr().out
    assert "uniform" in out
    assert "per-arm" in out
    assert picture.stat().st_size > 1_000
    assert cli.main(["run", "TwoStageDTR", "--agent", "dovi", "--steps", "5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["agents"][0]["runs"] == 16


def test_a_warning_is_one_line_on_stderr(capsys, monkeypatch):
    def warn(*_, **__):
        warnings.warn("two\nlines", UserWarning, stacklevel=1)
        return []

    monkeypatch.setattr("causalppl.demo.run_demo", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert cli.main(["demo"]) == 0
    assert capsys.readouterr().err == "causalppl: warning: two lines\n"
