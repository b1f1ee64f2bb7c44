"""`course measure`: a file of times where there is an Apple GPU, and elsewhere a plain word that there is none."""

import json

import mlx.core as mx
import pytest

from course_lib.cli import main
from course_lib.kernels.metal.apple import available
from course_lib.kernels.toolchain import find_compiler
from course_lib.lab import gpu_report

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="there is no C++ compiler")


def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gpu_report, "available", lambda: False)
    assert main(["measure", str(tmp_path / "out.json")]) == 0
    assert "nothing to measure here" in capsys.readouterr().out
    assert not (tmp_path / "out.json").exists()


def test_a_dry_run_has_the_form_and_says_that_it_is_none(tmp_path, capsys):
    path = tmp_path / "out.json"
    assert main(["measure", str(path), "--dry-run"]) == 0
    assert "no measurements" in capsys.readouterr().out
    found = json.loads(path.read_text())
    assert found["dry_run"] and found["format"] == 1 and found["versions"]["mlx"] == mx.__version__
    named = {(row["kernel"], row["contender"]) for row in found["results"]}
    assert {("quantized_matmul", "tiles"), ("quantized_matmul", "MLX"), ("attention", "matrices"), ("attention", "MLX")} <= named
    for row in found["results"]:
        assert row["right"] and len(row["seconds"]) >= 3 and row["quartiles"][0] <= row["median"] <= row["quartiles"][1]
        assert row["bytes_per_second"] == pytest.approx(row["least_bytes"] / row["median"])
    assert all(row["times_mlx"] == 1 for row in found["results"] if row["contender"] == "MLX")


def test_a_kernel_that_is_wrong_or_fails_is_not_timed_and_stops_nobody():
    right = mx.arange(8.0)

    def failing():
        raise RuntimeError("no such function")

    contenders = {"MLX": lambda: right, "failing": failing, "wrong": lambda: right + 1, "nan": lambda: right * float("nan"), "fine": lambda: right}
    question = gpu_report.Question("k", {}, contenders, 1, 1)
    rows = {row["contender"]: row for row in gpu_report._answers(question, dry_run=True)}
    assert [name for name, row in rows.items() if row["right"]] == [name for name, row in rows.items() if row["seconds"]] == ["MLX", "fine"]
    assert rows["failing"]["failure"] == "no such function"
    assert "NaN" not in json.dumps(list(rows.values()))


@pytest.mark.skipif(not available(), reason="there is no Apple GPU")
def test_all_questions_can_be_asked():
    assert sum(len(question.contenders) for question in gpu_report._questions(False)) > 50
