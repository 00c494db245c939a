"""What the command line says to a newcomer: options, files, examples, suggestions."""

import io
import json
import re
import shlex
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from causalppl import cli
from causalppl.cli import about

BACK_DOOR = "Z -> X -> Y; Z -> Y"
BOW = "X -> Y; X <-> Y"
ATE = "ATE(X -> Y)"
VERBS = ["identify", "verify", "estimate", "bound", "run", "demo", "doctor", "datasets"]


def refused(capsys, *arguments):
    """What is said, in one sentence, of bad use."""
    assert cli.main(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("causalppl: error:")
    assert captured.err.count("\n") == 1
    return captured.err


def answered(capsys, *arguments, code=0):
    assert cli.main([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def frame():
    rows = [
        (z, x, int(y < 2 + x + 2 * z))
        for z in (0, 1)
        for x in (0, 1)
        for y in range(6)
        for _ in "ab"
    ]
    return pd.DataFrame(rows, columns=["Z", "X", "Y"])


@pytest.fixture
def folder(frame, tmp_path, monkeypatch):
    """A folder of files, in which the commands are run."""
    monkeypatch.chdir(tmp_path)
    frame.to_csv("rows.csv", index=False)
    frame.assign(Y=frame.Y + 0.01 * frame.index).to_csv("measured.csv", index=False)
    frame.head(0).to_csv("header.csv", index=False)
    (tmp_path / "empty.csv").write_text("")
    return tmp_path


# Keywords of Python are told as options.


def test_a_missing_range_is_asked_for_by_its_option(capsys, folder):
    told = refused(capsys, "bound", "measured.csv", ATE, "--graph", BOW)
    assert "declare --range LOW HIGH, the possible values of Y" in told
    assert "outcome_range" not in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bound", "measured.csv", ATE, "--graph", BOW, "--range", "9", "-9"], "--range is 9.0 -9"),
        (
            ["bound", "measured.csv", ATE, "--graph", BOW, "--range", "0", "0.5"],
            "outside the --range 0 0.5;",
        ),
        (["bound", "rows.csv", ATE, "--graph", BOW, "--prob", "95"], "--prob is 95.0"),
        (["bound", "rows.csv", ATE, "--graph", BOW, "--seed", "-1"], "such as --seed 0"),
        (["run", "SCMMAB1", "--agent", "uniform", "--arms", "FOO"], "--arms is 'FOO'"),
        (["run", "SCMMAB1", "--agent", "uniform", "--natural-rows", "-3"], "--natural-rows is -3"),
        (
            ["estimate", "rows.csv", ATE, "--graph", BACK_DOOR, "--method", "frontdoor"],
            "use --method Dirichlet, which can",
        ),
    ],
    ids=["order", "outside", "prob", "seed", "arms", "natural rows", "method"],
)
def test_settings_are_told_as_options(capsys, folder, arguments, message):
    assert message in refused(capsys, *arguments)


def test_a_variable_that_is_named_like_an_option_stays(capsys, frame, folder):
    frame.rename(columns={"X": "seed"}).to_csv("named.csv", index=False)
    asked = ["estimate", "named.csv", "P(Y=1 | do(Z=0, seed=7))", "--graph", "seed -> Y; Z -> Y"]
    told = refused(capsys, *asked)
    assert "seed=7" in told
    assert "--seed" not in told


# Files.


@pytest.mark.parametrize("verb", ["estimate", "bound"])
def test_files_without_rows_are_named(capsys, folder, verb):
    assert "empty.csv is empty" in refused(capsys, verb, "empty.csv", ATE, "--graph", BACK_DOOR)
    assert "header.csv has no rows" in refused(
        capsys, verb, "header.csv", ATE, "--graph", BACK_DOOR
    )


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("semicolons.csv", {"sep": ";"}),
        ("tabs.tsv", {"sep": "\t"}),
        ("marked.csv", {"encoding": "utf-8-sig"}),
        ("windows.csv", {"lineterminator": "\r\n"}),
        ("packed.csv.gz", {}),
        ("quoted.csv", {"quoting": 2}),
        ("indexed.csv", {"index": True}),
    ],
)
def test_files_of_many_dialects_hold_the_same_rows(capsys, frame, folder, name, written):
    frame.to_csv(name, **{"index": False, **written})
    asked = [ATE, "--graph", BACK_DOOR]
    expected = answered(capsys, "estimate", "rows.csv", *asked)
    assert expected["values"][0]["estimate"] == pytest.approx(1 / 6, abs=0.03)
    assert answered(capsys, "estimate", name, *asked) == expected


def test_words_for_truth_values_are_words(capsys, frame, folder):
    frame.replace({"X": {0: "no", 1: "yes"}}).to_csv("words.csv", index=False)
    asked = ["ATE(X: yes vs no -> Y)", "--graph", BACK_DOOR]
    found = answered(capsys, "estimate", "words.csv", *asked)["values"]
    expected = answered(capsys, "estimate", "rows.csv", ATE, *asked[1:])["values"]
    assert found[0]["estimate"] == pytest.approx(expected[0]["estimate"])


@pytest.mark.parametrize("kind", ["csv", "parquet", "csv.gz"])
def test_a_dash_is_standard_input(capsys, frame, folder, monkeypatch, kind):
    write = frame.to_parquet if kind == "parquet" else frame.to_csv
    write(f"piped.{kind}", index=False)
    content = (folder / f"piped.{kind}").read_bytes()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    found = answered(capsys, "estimate", "-", ATE, "--graph", BACK_DOOR)
    assert found == answered(capsys, "estimate", "rows.csv", ATE, "--graph", BACK_DOOR)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"")))
    told = refused(capsys, "estimate", "-", ATE, "--graph", BACK_DOOR)
    assert "standard input is empty" in told


def test_data_sets_of_the_package_are_data(capsys):
    graph = "stone_size -> treatment -> success; stone_size -> success"
    asked = ["P(success=yes | do(treatment=open))", "--weights", "count", "--graph", graph]
    found = answered(capsys, "estimate", "datasets:kidney_stones", *asked)
    assert found["values"][0]["estimate"] == pytest.approx(0.832, abs=0.003)  # 0.8325 by the paper
    told = refused(capsys, "estimate", "datasets:kidney_stone", *asked)
    assert "there is no data set 'kidney_stone'" in told
    assert "did you mean 'kidney_stones'" in told


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("latin.csv", "Größe,Y\n0,1\n".encode("latin-1"), "latin.csv is not in UTF-8"),
        ("mixed.csv", b"X,Y\n0,1\n1,0\noops,1\n", "X=0 never occurs in the data; it has ('0', '1'"),
        ("rows.json", b"[]", "expected all to be Parquet"),
    ],
)
def test_files_that_cannot_serve_say_why(capsys, folder, name, content, message):
    (folder / name).write_bytes(content)
    assert message in refused(capsys, "estimate", name, ATE, "--graph", "X -> Y")


def test_a_query_in_place_of_data_is_noticed(capsys, folder):
    told = refused(capsys, "estimate", ATE, "rows.csv", "--graph", BACK_DOOR)
    assert "expected the data first: causalppl estimate DATA QUERY" in told


def test_a_folder_for_pictures_that_is_not_there_is_told_before_the_work(
    capsys, folder, monkeypatch
):
    monkeypatch.setattr("causalppl.estimation.estimate", lambda *_, **__: pytest.fail("worked"))
    asked = ["estimate", "rows.csv", ATE, "--graph", BACK_DOOR, "--plot"]
    assert "there is no folder 'nowhere'" in refused(capsys, *asked, "nowhere/a.png")
    assert "is a folder" in refused(capsys, *asked, ".")


def test_a_folder_that_cannot_be_made_is_named(capsys, folder):
    told = refused(capsys, "demo", "--output", "rows.csv")
    assert "the folder 'rows.csv' cannot be made" in told
    assert "Errno" not in told


def test_no_name_of_data_is_not_the_present_folder(capsys, frame, folder):
    frame.to_parquet("rows.parquet")
    assert "no data are named" in refused(capsys, "estimate", "", ATE, "--graph", BACK_DOOR)


# Queries and programs.


@pytest.mark.parametrize("text", ["dag { X -> Y }", "digraph { X -> Y; }", "X -> Y"])
def test_a_diagram_may_be_written_in_three_languages(capsys, text):
    assert answered(capsys, "identify", text, "P(Y | do(X))")["formula"] == "P(Y | X)"


def test_an_effect_that_the_diagram_excludes_is_0_and_asks_for_no_data(capsys, folder):
    found = answered(capsys, "bound", "rows.csv", ATE, "--graph", "Z -> X; Z -> Y")
    assert found["values"][0]["upper"] == 0
    assert not any("not given" in note for note in found["notes"])


def test_names_with_spaces_are_refused_with_what_to_do(capsys):
    told = refused(capsys, "identify", '"took drug" -> Y', 'ATE("took drug" -> Y)')
    assert "no quotes, only letters, digits, _ and ." in told
    told = refused(capsys, "identify", "took drug -> Y", "P(Y)")
    assert 'write "..." around a name with spaces' in told


def test_a_small_letter_for_p_is_noticed(capsys):
    assert "did you mean P?" in refused(capsys, "identify", "X -> Y", "p(Y | do(X))")


def test_the_query_is_the_same_text_whether_answered_or_refused(capsys, folder):
    full = "ATE(X: 1 vs 0 -> Y)"
    assert answered(capsys, "identify", "X -> Y", ATE)["query"] == full
    assert answered(capsys, "identify", BOW, ATE, code=1)["query"] == full
    asked = ["estimate", "rows.csv", ATE, "--graph"]
    assert answered(capsys, *asked, BACK_DOOR)["query"] == full
    assert answered(capsys, *asked, BOW, code=1)["query"] == full


def test_verify_shows_which_query_of_a_continuous_program_it_can_check(capsys, folder):
    (folder / "model.py").write_text(
        "import pyro, pyro.distributions as dist\n"
        "def program():\n"
        "    x = pyro.sample('X', dist.Normal(0.0, 1.0))\n"
        "    pyro.sample('Y', dist.Normal(x, 1.0))\n"
    )
    told = refused(capsys, "verify", "model.py:program", "P(Y | do(X))")
    (example,) = re.findall(r"as in (.*)\n", told)
    assert example == "E[Y | do(X=1)]"
    assert answered(capsys, "verify", "model.py:program", example)["passed"]


def test_bounds_that_meet_are_one_number(capsys, folder):
    assert cli.main(["bound", "rows.csv", ATE, "--graph", BACK_DOOR]) == 0
    out = capsys.readouterr().out
    assert re.search(r"ATE\(X: 1 vs 0 -> Y\) is 0\.1\d+ \(95%", out)
    assert " between " not in out


def test_rows_that_are_moved_onto_the_model_are_answered_and_told(capsys, folder):
    """P(X=0, Y=0 | Z=0) + P(X=0, Y=1 | Z=1) is 1.05; no instrument has above 1 (Pearl, 1995)."""
    rows = [(0, 0, 0)] * 11 + [(0, 1, 0)] * 9 + [(1, 0, 1)] * 10 + [(1, 1, 1)] * 10
    pd.DataFrame(rows, columns=["Z", "X", "Y"]).to_csv("trial.csv", index=False)
    assert cli.main(["bound", "trial.csv", ATE, "--graph", "Z -> X -> Y; X <-> Y"]) == 0
    told = capsys.readouterr().out
    assert "The frequencies fit no model on the diagram; the nearest that do were used" in told
    assert "e-1" not in told  # the rounding of a solver


# Doctor.


def test_doctor_tells_of_each_extra_what_is_there_and_what_is_missing(capsys, monkeypatch):
    there = {"duckdb": "2.0", "matplotlib": "3.9"}
    monkeypatch.setattr(about, "_version", there.get)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "plots        matplotlib 3.9\n" in out
    assert 'deep         missing zuko: pip install "causalppl[deep]"' in out
    assert 'duckdb 2.0; missing pyarrow, ray: pip install "causalppl[scale]"' in out
    assert ", 1 thread\n" in out
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert cli.main(["doctor"]) == 0
    assert ", 4 threads\n" in capsys.readouterr().out


# Help and suggestions.


def help_of(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        cli.main([*arguments, "--help"])
    assert stopped.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS)
def test_the_example_of_each_command_runs_as_it_is_printed(capsys, folder, monkeypatch, verb):
    monkeypatch.setattr("causalppl.demo.run_demo", lambda *_, **__: {})  # has tests of its own
    told = help_of(capsys, verb)
    (example,) = re.findall(r"^Example:\n  causalppl (.*)\n", told, re.MULTILINE)
    arguments = shlex.split(example)
    assert arguments[0] == verb
    if verb == "run":
        arguments[arguments.index("--steps") + 1] = "5"
    assert cli.main(arguments) == 0
    assert capsys.readouterr().err == ""
    assert "\n\nExit code: 0 " in told


def test_help_of_bound_says_what_its_exit_codes_mean(capsys):
    told = " ".join(help_of(capsys, "bound").split())
    assert "1 the data refute the diagram or no method can answer" in told
    assert "the nearest that does is taken, and the answer says so" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["identifi", "X -> Y", "P(Y)"], "did you mean 'identify'?"),
        (["identify", "X -> Y", "P(Y)", "--jsn"], "did you mean '--json'?"),
        (["--json", "identify", "X -> Y", "P(Y)"], "--json stands behind the command"),
    ],
    ids=["command", "option", "order"],
)
def test_the_nearest_command_or_option_is_suggested(capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_without_a_command_a_start_is_shown(capsys):
    assert cli.main([]) == 0
    out = capsys.readouterr().out
    assert 'causalppl identify "X -> Z -> Y; X <-> Y" "P(Y | do(X))"' in out


def test_an_interrupted_command_says_so(capsys, folder, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("causalppl.demo.run_demo", interrupted)
    assert refused(capsys, "demo") == "causalppl: error: interrupted\n"
