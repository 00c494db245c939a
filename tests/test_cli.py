"""The command line: what it prints, and how it fails."""

import json
import subprocess
import sys

import pytest

import causalppl
from causalppl import cli
from causalppl.exceptions import DataError


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"causalppl {causalppl.__version__}\n"


def test_without_a_command_the_help_is_shown(capsys):
    assert cli.main([]) == 0
    out = capsys.readouterr().out
    assert "usage: causalppl" in out
    assert all(command in out for command in ("demo", "doctor", "datasets"))


def test_an_unknown_command_is_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["demos"])
    assert stopped.value.code == 2
    assert "invalid choice: 'demos'" in capsys.readouterr().err


def test_doctor_lists_versions_and_extras(capsys, monkeypatch):
    def version(package):
        return None if package == "ray" else "1.2"

    monkeypatch.setattr(cli, "_version", version)
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
