"""From source to starter and solution, and never over a learner's work."""

import nbformat
import pytest

from course_lib.classroom.author import build, copies, execute, write
from course_lib.classroom.author.drift import drift
from course_lib.classroom.author.execute import ExecutionError

SOURCE = '''---
kernelspec:
  name: python3
  display_name: Python 3
  language: python
---

# A lesson

```{code-cell} ipython3
import time
print("given")
```

```{code-cell} ipython3
def double(x):
    """Twice x."""
    ### BEGIN SOLUTION
    y = x + x  # secret
    return y
    ### END SOLUTION
```

```{code-cell} ipython3
:tags: [nbval-ignore-output]

print("given")
```

```{code-cell} ipython3
print("given")
```
'''


@pytest.fixture
def lesson(tmp_path, monkeypatch):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "07_toy.md").write_text(SOURCE)
    monkeypatch.setattr(build, "NOTEBOOKS", tmp_path)
    return build.Lesson("07_toy")


def learner_edits(lesson):
    notebook = nbformat.read(lesson.starter, as_version=4)
    notebook.cells[2].source = "def double(x):\n    return 2 * x"
    nbformat.write(notebook, lesson.starter)
    return notebook.cells[2].source


def test_a_starter_has_a_stub_and_no_word_of_the_solution(lesson):
    text = nbformat.writes(build.starter(lesson))
    assert "secret" not in text and "SOLUTION" not in text
    assert build.starter(lesson).cells[2].source == (
        'def double(x):\n    """Twice x."""\n    raise NotImplementedError("yours to write: about 2 lines")'
    )


def test_a_solution_has_the_solution_without_markers(lesson):
    assert build.solution(lesson).cells[2].source.endswith("    y = x + x  # secret\n    return y")


def test_cell_ids_are_the_same_at_every_build_and_unlike_each_other(lesson):
    ids = [c.id for c in build.starter(lesson).cells]
    assert ids == [c.id for c in build.starter(lesson).cells] == [c.id for c in build.solution(lesson).cells]
    assert len(set(ids)) == len(ids)  # the last two cells have the same text


@pytest.mark.parametrize(
    ("marker", "message"),
    [("### BEGIN SOLUTION", "without a '### BEGIN"), ("### END SOLUTION", "without an '### END")],
)
def test_a_missing_marker_is_an_error_that_names_the_cell(lesson, marker, message):
    lesson.source.write_text(SOURCE.replace(marker, "# gone"))
    with pytest.raises(build.SourceError, match=f"07_toy.md, code cell 2: .*{message}"):
        build.starter(lesson)


@pytest.mark.parametrize("name", ["07", "toy", "07_toy", "07_toy.ipynb", "notebooks/07_toy.ipynb"])
def test_a_lesson_is_found_by_number_name_or_file(lesson, name):
    assert build.find_lesson(name) == lesson


def test_an_unknown_lesson_lists_the_known_ones(lesson):
    with pytest.raises(build.SourceError, match="07_toy"):
        build.find_lesson("08")


def test_a_starter_that_a_learner_edited_is_never_overwritten(lesson):
    write.write_starter(lesson)
    mine = learner_edits(lesson)
    lesson.source.write_text(SOURCE.replace("A lesson", "A better lesson"))
    with pytest.raises(write.Edited, match="course reset 07_toy"):
        write.write_starter(lesson)
    assert nbformat.read(lesson.starter, as_version=4).cells[2].source == mine


def test_a_starter_that_was_only_run_may_be_written_anew(lesson):
    write.write_starter(lesson)
    notebook = nbformat.read(lesson.starter, as_version=4)
    notebook.cells[1].execution_count = 3
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="given\n")]
    nbformat.write(notebook, lesson.starter)
    lesson.source.write_text(SOURCE.replace("A lesson", "A better lesson"))
    assert write.write_starter(lesson)
    assert "A better lesson" in lesson.starter.read_text()


def test_reset_gives_the_starter_back_and_keeps_a_backup(lesson):
    write.write_starter(lesson)
    mine = learner_edits(lesson)
    backups = [write.reset(lesson), write.reset(lesson)]
    assert len(set(backups)) == 2
    assert nbformat.read(backups[0], as_version=4).cells[2].source == mine
    assert not build.is_edited(nbformat.read(lesson.starter, as_version=4))


def test_drift_names_the_notebook_and_the_cell(lesson):
    assert drift([lesson]) == [f"{lesson.starter.parent.name}/07_toy.ipynb is missing.", "solutions/07_toy.ipynb is missing."]
    write.write_all([lesson], say=lambda line: None)
    assert drift([lesson]) == []
    lesson.source.write_text(SOURCE.replace("Twice x", "Two times x"))
    found = drift([lesson])
    assert len(found) == 2 and all("cell 2" in f for f in found)


def test_drift_finds_a_generated_notebook_whose_source_is_gone(lesson):
    write.write_all([lesson], say=lambda line: None)
    own = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print('mine')")])
    nbformat.write(own, lesson.starter.parent / "scratch.ipynb")
    assert drift() == []  # a learner's own notebook is nobody's business
    lesson.source.unlink()
    name = lesson.starter.parent.name
    assert drift() == [f"{name}/07_toy.ipynb has no source.", "solutions/07_toy.ipynb has no source."]


def test_drift_finds_a_solution_that_was_never_executed(lesson):
    write.write_all([lesson], say=lambda line: None)
    nbformat.write(build.solution(lesson), lesson.solution)
    assert "never executed" in drift([lesson])[0]


def test_a_solution_runs_only_when_its_source_has_changed(lesson):
    said = []
    write.write_all([lesson], said.append)
    write.write_all([lesson], said.append)
    assert "solution written" in said[2] and said[-1] == "07_toy: solution unchanged"


def run(lesson, code, tmp_path, tags="[]"):
    lesson.source.write_text(SOURCE + f"\n```{{code-cell}} ipython3\n:tags: {tags}\n\n{code}\n```\n")
    notebook = build.solution(lesson)
    execute.execute(notebook, "07_toy", tmp_path / "store")
    return notebook


def test_a_cell_that_raises_is_named(lesson, tmp_path):
    with pytest.raises(ExecutionError, match="(?s)cell 5.*ZeroDivisionError"):
        run(lesson, "1 / 0", tmp_path)


@pytest.mark.parametrize("code", ["print('/home/someone/x')", "import sys; print('x', file=sys.stderr)"])
def test_paths_of_the_machine_and_stderr_are_not_stored(lesson, tmp_path, code):
    with pytest.raises(ExecutionError, match="path of this machine|stderr"):
        run(lesson, code, tmp_path)


def test_the_notebooks_kernel_writes_nothing_into_the_home_folder(lesson, tmp_path, monkeypatch):
    for name in ("IPYTHONDIR", "MPLCONFIGDIR"):
        monkeypatch.delenv(name, raising=False)
    run(lesson, "import os\nassert os.environ['IPYTHONDIR'] and os.environ['MPLCONFIGDIR']", tmp_path)


WIDGET = "import ipywidgets\nipywidgets.IntSlider()"


def test_a_widget_needs_its_tag_and_is_not_stored(lesson, tmp_path):
    with pytest.raises(ExecutionError, match="nbval-ignore-output"):
        run(lesson, WIDGET, tmp_path)
    notebook = run(lesson, WIDGET, tmp_path, tags="[nbval-ignore-output]")
    assert notebook.cells[-1].outputs == [] and "widgets" not in notebook.metadata


CHECKED = '''
```{code-cell} ipython3
from course_lib.classroom import check
def rms_norm(x, weight, eps=1e-5):
    ### BEGIN SOLUTION
    import mlx.core as mx
    wide = x.astype(mx.float32)
    return (wide * mx.rsqrt(mx.mean(wide * wide, axis=-1, keepdims=True) + eps)).astype(x.dtype) * weight
    ### END SOLUTION
```

```{code-cell} ipython3
rms_norm = check("start_here.rms_norm", rms_norm)
```
'''


def test_copies_want_amber_of_starters_and_the_stored_outputs_of_solutions(lesson, tmp_path):
    lesson.source.write_text(SOURCE + CHECKED)
    write.write_all([lesson], say=lambda line: None)
    copies.write_copies(tmp_path / "copies", [lesson])
    starter = nbformat.read(tmp_path / "copies" / "starters" / "07_toy.ipynb", as_version=4)
    assert "nbval-check-output" in starter.cells[-1].metadata.tags
    assert starter.cells[-1].execution_count  # else nbval fails the cell as one that was never run
    assert "start_here.rms_norm: not started" in starter.cells[-1].outputs[0].data["text/plain"]
    solved = nbformat.read(tmp_path / "copies" / "solutions" / "07_toy.ipynb", as_version=4)
    assert "start_here.rms_norm: right" in solved.cells[-1].outputs[0].data["text/plain"]
    assert solved.cells[1].outputs[0].text == "given\n" and solved.cells[1].execution_count
