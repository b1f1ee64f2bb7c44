"""The loop in a real notebook kernel: what the learner sees below a check cell."""

import nbformat
import pytest
from nbclient import NotebookClient

GIVEN = "import mlx.core as mx\nfrom course_lib.classroom import check, kept"
RIGHT = """
class Holder:
    def norm(self, x): return scale(x)

def rms_norm(x, weight, eps=1e-5):
    return (Holder().norm(x.astype(mx.float32)) * mx.rsqrt(power(x) + eps)).astype(x.dtype) * weight

def scale(x): return x
def power(x):
    wide = x.astype(mx.float32)
    return mx.mean(wide * wide, axis=-1, keepdims=True)
"""
CHECK = 'rms_norm = check("start_here.rms_norm", rms_norm)'


@pytest.fixture
def run(own_store, monkeypatch):
    monkeypatch.setenv("COURSE_STORE", str(own_store))

    def run(*cells):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in (GIVEN, *cells)])
        client = NotebookClient(notebook, timeout=120, kernel_name="python3", allow_errors=True)
        return [c.outputs for c in client.execute().cells[1:]]

    return run


def texts(outputs):
    return "".join(o.get("text", "") + o.get("data", {}).get("text/plain", "") for o in outputs)


def test_a_right_answer_is_green_and_another_notebook_gets_it(run):
    outputs = run(RIGHT, CHECK)
    assert "✓ start_here.rms_norm: right" in texts(outputs[1])
    assert "text/html" in outputs[1][0].data
    later = run('rms_norm = kept("start_here.rms_norm")\nprint(rms_norm.__module__, rms_norm(mx.array([3.0, 4.0]), mx.ones(2))[0].item())')
    assert texts(later[0]).startswith("kept_start_here_rms_norm") and "0.848" in texts(later[0])


def test_a_wrong_answer_shows_a_panel_and_a_short_traceback(run):
    outputs = run(RIGHT.replace("wide * wide", "wide"), CHECK, "print('the kernel lives')")
    panel, error = outputs[1]
    assert "✗ start_here.rms_norm: not right yet" in panel.data["text/plain"]
    assert error.output_type == "error" and error.ename == "CheckFailed"
    assert "Hint: You divide by the mean" in error.evalue
    assert len(error.traceback) == 1 and "course_lib" not in "".join(error.traceback)
    assert texts(outputs[2]) == "the kernel lives\n"


def test_an_endless_answer_is_stopped_and_the_kernel_lives_on(run):
    # The exercise's own limit would make this test slow: the learner's notebook may lower it, too.
    faster = "from course_lib.classroom.exercise import get_exercise\nget_exercise('start_here.rms_norm').time_limit = 1"
    outputs = run(faster, "def rms_norm(x, weight, eps=1e-5):\n    while True:\n        pass", CHECK, "print('alive')")
    assert "stopped after 1 seconds" in texts(outputs[2])
    assert "in your code, line" in texts(outputs[2])
    assert texts(outputs[3]) == "alive\n"


def test_an_error_in_the_answer_names_the_cells_line(run):
    outputs = run("def rms_norm(x, weight, eps=1e-5):\n    y = x * 2\n    return y @ missing", CHECK)
    assert "NameError: name 'missing' is not defined" in texts(outputs[1])
    assert "in your code, line 3: return y @ missing" in texts(outputs[1])
