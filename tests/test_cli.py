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
    said = 'scale        duckdb 1.2, pyarrow 1.2; missing ray: pip install "causalppl[scale]"'
    assert said in out


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


def test_verify_takes_a_pyro_program(capsys, tmp_path):
    file = tmp_path / "coins.py"
    file.write_text(
        "import pyro, pyro.distributions as dist\n"
        "def coins():\n"
        "    x = pyro.sample('X', dist.Bernoulli(0.5))\n"
        "    return pyro.sample('Y', dist.Bernoulli(0.2 + 0.5 * x))\n"
    )
    assert cli.main(["verify", f"{file}:coins"]) == 0
    assert capsys.readouterr().out.startswith("2 of 2 formulas agree with the program")


def test_what_nobody_foresaw_is_one_sentence_and_exit_code_2(capsys, monkeypatch):
    def fail(*args, **options):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("causalppl.identification.identify", fail)
    assert cli.main(["identify", "X -> Y", "P(Y)"]) == 2
    said = "causalppl: error: identify stopped with ZeroDivisionError: division by zero\n"
    assert capsys.readouterr().err == said


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


# Bounds.


def table(path, columns, rows):
    path.write_text(
        ",".join(columns) + "\n" + "\n".join(",".join(map(str, r)) for r in rows) + "\n"
    )
    return str(path)


@pytest.fixture
def treated(tmp_path):
    """P(X=1) = 1/2; Y is 1 for all who have X=1, and for one of five of the others."""
    rows = [(0, 0)] * 4 + [(0, 1)] + [(1, 1)] * 5
    return table(tmp_path / "treated.csv", ["X", "Y"], rows)


def test_bound_gives_both_ends_and_a_sentence(capsys, treated, tmp_path):
    picture = tmp_path / "bounds.png"
    asked = ["bound", treated, "ATE(X -> Y)", "--graph", BOW, "--plot", str(picture)]
    assert cli.main(asked) == 0
    out = capsys.readouterr().out
    assert "is between -0.1 and 0.9" in out
    assert "97.5%" in out
    assert picture.stat().st_size > 1_000


def test_bound_as_json_is_the_closed_form(capsys, treated):
    asked = ["bound", treated, "ATE(X -> Y)", "--graph", BOW, "--json", "--prob", "0.9"]
    assert cli.main(asked) == 0
    found = json.loads(capsys.readouterr().out)
    (values,) = found["values"]
    # without assumptions: P(Y=1, X=1) - P(Y=1, X=0) - P(X=1), and one more
    assert values["lower"] == pytest.approx(0.5 - 0.1 - 0.5)
    assert values["upper"] == pytest.approx(values["lower"] + 1)
    assert {"5%", "95%"} <= set(values)
    assert found["num_rows"] == 10


def test_bound_of_an_outcome_with_a_range(capsys, tmp_path):
    rows = [(x, y) for x in (0, 1) for y in (1.5, 0.25, 3.125, 2.0, -1.0)]
    data = table(tmp_path / "numbers.csv", ["X", "Y"], rows)
    asked = ["bound", data, "ATE(X -> Y)", "--graph", BOW]
    assert cli.main([*asked, "--range", "-5", "5", "--json"]) == 0
    (values,) = json.loads(capsys.readouterr().out)["values"]
    assert values["upper"] - values["lower"] == pytest.approx(10)  # the span of the outcome
    assert cli.main([*asked, "--range", "0", "1"]) == 2
    assert cli.main([*asked, "--range", "5", "-5"]) == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_data_that_contradict_the_diagram_are_an_answer_with_exit_code_1(capsys, tmp_path):
    """By Z=0 the mean of Y under do(X=0) is about 0, and by Z=1 about 1."""
    rows = [(0, 0, 0)] * 1000 + [(1, 0, 1)] * 1000 + [(0, 1, 0), (1, 1, 1)]
    data = table(tmp_path / "instrument.csv", ["Z", "X", "Y"], rows)
    asked = ["bound", data, "ATE(X -> Y)", "--graph", "Z -> X -> Y; X <-> Y", "--range", "0", "2"]
    assert cli.main(asked) == 1
    captured = capsys.readouterr()
    assert "the data refute" in captured.out
    assert captured.err == ""
    assert cli.main([*asked, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["bounded"] is False
    assert "the data refute" in found["why"]


# Odd input: never a traceback.


@pytest.fixture
def odd(tmp_path, monkeypatch):
    """A folder of odd files, in which the commands are run."""
    for name, text in {
        "empty.csv": "",
        "header.csv": "X,Y\n",
        "words.csv": "X,Y\n0,red\n1,blue\n0,green\n1,red\n",
        "rows.csv": "X,Y\n0,1\n1,0\n1,1\n0,0\n0,1\n",
        "ragged.csv": "X,Y\n0,1\n1\n1,1,3\n",
        "bad.parquet": "no parquet",
        "bad.py": "1 / 0\n",
        "worse.py": "def :\n",
        "leaves.py": "import sys\nsys.exit(0)\n",
        "boom.py": (
            "import sys\n"
            "def raises(): raise ValueError('boom')\n"
            "def leaves(): sys.exit(0)\n"
            "def number(): return 5\n"
        ),
    }.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "binary.csv").write_bytes(b"\x00\x01\xff\xfe")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)


ODD_DATA = ["none", "folder", "empty", "header", "words", "ragged", "binary", "bad.parquet"]


@pytest.mark.parametrize("name", ODD_DATA)
@pytest.mark.parametrize(("verb", "graph"), [("bound", BOW), ("estimate", "X -> Y")])
def test_odd_data_are_refused_in_one_sentence(capsys, odd, verb, graph, name):
    file = name if name == "folder" or "." in name else f"{name}.csv"
    assert cli.main([verb, file, "ATE(X -> Y)", "--graph", graph]) == 2
    is_one_sentence(capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bound", "rows.csv", "ATE(X -> ", "--graph", BOW], "expected the name"),
        (["bound", "rows.csv", "", "--graph", BOW], "expected P"),
        (["bound", "rows.csv", "ATE(W -> Y)", "--graph", BOW], "'W', which is not in the diagram"),
        (["bound", "rows.csv", "P(Y=7 | do(X=1))", "--graph", BOW], "Y=7 never occurs"),
        (["bound", "rows.csv", "ATE(X -> Y)", "--graph", ""], "the diagram is empty"),
        (["bound", "rows.csv", "ATE(X -> Y)", "--graph", "none.dot"], "there is no file"),
        (["bound", "rows.csv", "ATE(X -> Y)", "--graph", "binary.csv"], "is no text"),
        (["bound", "rows.csv", "ATE(X -> Y)", "--graph", BOW, "--seed", "-5"], "seed is -5"),
        (["bound", "rows.csv", "ATE(X -> Y)", "--graph", BOW, "--prob", "2"], "prob is 2.0"),
        (["bound", "rows.csv", "ATE(X -> Y)", "--graph", BOW, "--weights", "w"], "no column 'w'"),
        (["bound", "rows.csv", "ATE(X -> Y)", "--graph", BOW, "--plot", "a.xyz"], "'xyz'"),
        (
            ["bound", "rows.csv", "ATE(X -> Y)", "--graph", BOW, "--plot", "no/a.png"],
            "no folder 'no'",
        ),
        (["estimate", "rows.csv", "ATE(X -> W)", "--graph", "X -> W"], "no column 'W'"),
        (["identify", "binary.csv", "P(Y)"], "is no text"),
        (["identify", "rows.csv", "P(Y)"], "X,Y"),
        (["identify", " ", "P(Y)"], "the diagram is empty"),
        (["identify", "X -> X", "P(X)"], "self-loop"),
        (["verify", "..:x"], "there is no module '..'"),
        (["verify", "bad.py:x"], "bad.py does not run: ZeroDivisionError"),
        (["verify", "worse.py:x"], "worse.py does not run: SyntaxError"),
        (["verify", "leaves.py:x"], "leaves.py does not run: SystemExit"),
        (["verify", "boom.py:raises"], "boom.py:raises raised ValueError: boom"),
        (["verify", "boom.py:leaves"], "boom.py:leaves raised SystemExit"),
        (["verify", "boom.py:number"], "is a int; expected an SCM"),
        (["identify", "X -> Y", "P(Y | do X=1)"], "in 'P(Y | do X=1)' at column 10"),
        (["identify", "X => Y", "P(Y)"], "'=>' found in line 1, column 3; write ->"),
        (["verify", "examples:bow", "hmm"], "hmm"),
        (["run", "SCMMAB1", "--agent", "nobody"], "'nobody' does not play"),
        (["run", "SCMMAB1", "--agent", "uniform", "--steps", "0"], "steps is 0"),
        (["run", "SCMMAB1", "--agent", "uniform", "--runs", "-1"], "runs is -1"),
        (["run", "SCMMAB1", "--agent", "uniform", "--seed", "-1", "--steps", "5"], "seed is -1"),
        (["run", "SCMMAB1", "--agent", "uniform", "--arms", "wrong"], "wrong"),
        (["run", "", "--agent", "uniform"], "there is no environment ''"),
    ],
    ids=lambda value: "_".join(value[:2]) if isinstance(value, list) else "",
)
def test_odd_arguments_are_refused_in_one_sentence(capsys, odd, arguments, message):
    assert cli.main(arguments) == 2
    assert message in is_one_sentence(capsys)


def is_one_sentence(capsys):
    captured = capsys.readouterr()
    assert captured.err.startswith("causalppl: error:")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    return captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bound", "a.csv", "ATE(X -> Y)", "--graph", BOW, "--seed", "x"], "invalid int value"),
        (["bound", "a.csv", "ATE(X -> Y)"], "required: --graph"),
        (["run", "SCMMAB1"], "required: --agent"),
        (["datasets", "nothing"], "unrecognized arguments: nothing"),
        (["doctor", "--what"], "unrecognized arguments: --what"),
    ],
    ids=["seed", "graph", "agent", "data set", "option"],
)
def test_arguments_that_cannot_be_parsed_show_the_usage(capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
