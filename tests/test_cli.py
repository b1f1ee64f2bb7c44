"""The `course` command."""

import subprocess
import sys

import pytest

from course_lib import cli


def test_every_subcommand_explains_itself(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    for name in ("doctor", "lab", "progress", "reset", "fetch", "build", "notebooks"):
        assert name in shown


def test_what_follows_lab_goes_to_jupyterlab_as_it_stands(monkeypatch):
    given = []
    monkeypatch.setattr("course_lib.jupyter.main", lambda args: given.extend(args) or 0)
    cli.main(["lab", "--no-browser", "--port", "8899"])
    assert given == ["--no-browser", "--port", "8899"]


def test_resetting_an_unknown_notebook_lists_the_known_ones(capsys):
    assert cli.main(["reset", "99_nothing"]) == 1
    assert "00_start_here" in capsys.readouterr().err


def test_progress_lists_every_exercise(capsys):
    assert cli.main(["progress"]) == 0
    shown = capsys.readouterr().out
    assert "start_here  (0 of 4 right)" in shown and "RMSNorm in any dtype" in shown and "not checked" in shown


def test_what_is_built_can_be_asked_for_without_building(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("course_lib.kernels.build.built", lambda: tmp_path)
    assert cli.main(["build", "--check"]) == 0
    monkeypatch.setattr("course_lib.kernels.build.built", lambda: None)
    assert cli.main(["build", "--check"]) == 1
    assert "course build" in capsys.readouterr().out


def test_a_build_that_is_not_possible_is_one_message(monkeypatch, capsys):
    monkeypatch.setenv("CXX", "/nowhere/c++")
    assert cli.main(["build"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("course: ") and "CXX" in said and "Traceback" not in said


def test_the_command_starts_without_mlx_or_jupyter():
    """Each subcommand imports what it needs, so that `course --help` answers at once."""
    probe = "import sys, course_lib.cli; print([m for m in ('mlx', 'jupyterlab', 'nbformat') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
