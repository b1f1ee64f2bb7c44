"""A progress display tells how far a cell is, and is gone when the cell is done.

Notebook tests run in a real kernel, as a notebook that is executed to be stored.
"""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import nbformat
import pytest
from nbclient import NotebookClient

from course_lib.lab import progress as progress_module
from course_lib.lab.progress import progress, track

LOOP = """
import time
from course_lib.lab import progress
progress.REDRAW_SECONDS = 0
print("before")
for i in progress.track(range(3), "prompt lengths", unit="prompts"):
    time.sleep(0.01)
print("after")
"""


class Recorder:
    """In place of an output of a notebook: keeps every state it had."""

    def __init__(self, bundle):
        self.shown = [bundle["text/plain"]]
        self.html = [bundle["text/html"]]

    def update(self, bundle, raw):
        self.shown.append(bundle["text/plain"])
        self.html.append(bundle["text/html"])


@pytest.fixture
def notebook(monkeypatch):
    """As if in a notebook whose display is redrawn at every step; returns the outputs made."""
    made = []

    def display(bundle, raw, display_id):
        made.append(Recorder(bundle))
        return made[-1]

    class Shell:
        kernel = object()

    monkeypatch.delenv("COURSE_PROGRESS", raising=False)
    monkeypatch.setattr(progress_module, "get_ipython", Shell)
    monkeypatch.setattr(progress_module, "display", display)
    monkeypatch.setattr(progress_module, "REDRAW_SECONDS", -1)
    return made


def run_in_kernel(code, monkeypatch, setting):
    if setting is None:
        monkeypatch.delenv("COURSE_PROGRESS", raising=False)
    else:
        monkeypatch.setenv("COURSE_PROGRESS", setting)
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(book, kernel_name="python3").execute()
    return book.cells[0].outputs


def test_the_display_says_what_how_far_and_how_long(notebook):
    assert list(track("abcd", "prompt lengths", unit="prompts")) == list("abcd")
    shown = notebook[0].shown
    assert shown[0] == "prompt lengths: 0 of 4 prompts"
    assert shown[2].startswith("prompt lengths: 2 of 4 prompts, about ") and shown[2].endswith(" left")
    assert 'max="4" value="2"' in notebook[0].html[2]


def test_time_left_is_what_the_rest_would_take_at_the_pace_so_far(notebook, monkeypatch):
    now = iter([0.0] * 4 + [30.0] * 20)
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: next(now))
    with progress("converting", total=4) as bar:
        bar.advance()
        bar.advance()
    assert "2 of 4 steps, about 30.0 s left" in "\n".join(notebook[0].shown)


def test_the_display_is_empty_when_the_work_is_done(notebook):
    list(track(range(3), "steps"))
    assert notebook[0].shown[-1] == ""
    assert notebook[0].html[-1] == ""


def test_the_display_is_empty_after_an_exception_too(notebook):
    with pytest.raises(KeyError), progress("failing", total=2):
        raise KeyError
    assert notebook[0].shown[-1] == ""


def test_an_unknown_total_shows_a_count_without_an_end(notebook):
    list(track((i for i in range(2)), "tokens", unit="tokens"))
    assert notebook[0].shown[1] == "tokens: 1 tokens"
    assert "max=" not in notebook[0].html[1]


def test_a_label_cannot_break_the_page(notebook):
    list(track([1], "<b>bold"))
    assert "&lt;b&gt;bold" in notebook[0].html[0]


def test_without_a_label_nothing_is_shown(notebook):
    with progress(None, total=3) as bar:
        bar.advance()
    assert not notebook


def test_a_stored_notebook_keeps_no_bar(monkeypatch):
    outputs = run_in_kernel(LOOP, monkeypatch, "off")
    assert [o.output_type for o in outputs] == ["stream"]
    assert outputs[0].text == "before\nafter\n"


def test_a_learners_notebook_keeps_its_prints_and_an_empty_bar(monkeypatch):
    outputs = run_in_kernel(LOOP, monkeypatch, None)
    assert "".join(o.text for o in outputs if o.output_type == "stream") == "before\nafter\n"
    assert [o.data for o in outputs if o.output_type != "stream"] == [{"text/html": "", "text/plain": ""}]


def run_in_terminal(code):
    """Run it with a terminal as stderr; returns what the terminal was sent."""
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with subprocess.Popen([sys.executable, "-c", code], stderr=terminal, stdout=terminal) as run:
        os.close(terminal)
        sent = b""
        while True:
            try:
                piece = os.read(screen, 4096)
            except OSError:  # Linux's way of saying that the other end is closed
                break
            if not piece:
                break
            sent += piece
    os.close(screen)
    assert run.returncode == 0
    return sent.decode()


def test_a_terminal_shows_a_bar_and_wipes_it(monkeypatch):
    monkeypatch.delenv("COURSE_PROGRESS", raising=False)
    sent = run_in_terminal(LOOP.replace("0.01", "0.15"))
    assert "prompt lengths" in sent and "/3" in sent
    # What is left on each line once it has been written over.
    lines = [line.rstrip("\r").split("\r")[-1] for line in sent.split("\n")]
    assert "after" in lines
    assert not [line for line in lines if "prompt lengths" in line]


def test_a_log_file_gets_no_bar(monkeypatch):
    monkeypatch.delenv("COURSE_PROGRESS", raising=False)
    ran = subprocess.run([sys.executable, "-c", LOOP], capture_output=True, text=True, check=True)
    assert ran.stderr == ""
