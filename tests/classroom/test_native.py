"""The loop of native exercises: states, files, panels, and what a learner's code can do to the notebook: nothing."""

import ctypes
import os
import re

import mlx.core as mx
import pytest

from course_lib.classroom import panel
from course_lib.classroom.native import check_kernel, compiler, kept_kernel, student
from course_lib.classroom.native import judge as judging
from course_lib.classroom.native.compiler import DoesNotCompile
from course_lib.classroom.native.judge import judge_rung
from course_lib.classroom.native.ladder import get_ladder
from course_lib.classroom.native.program import run
from course_lib.classroom.native.report import read_report
from course_lib.classroom.native.student import Edited, solved_text, starter_text, student_file
from course_lib.classroom.verdict import CheckFailed, State
from course_lib.cli import main
from course_lib.kernels.build import built
from course_lib.kernels.toolchain import find_compiler
from course_lib.paths import EXTENSIONS

pytestmark = pytest.mark.skipif(find_compiler() is None or built() is None, reason="the native kernels are not built")

LADDER = get_ladder("quantized_matmul")
VECTORS, THREADS, TILES = LADDER.rungs
BODY = re.compile(r"( *// BEGIN YOUR CODE\n).*?( *// END YOUR CODE)", re.DOTALL)


@pytest.fixture(autouse=True)
def on_the_cpu():
    """The kernels run on the CPU, also where MLX's default device is a GPU."""
    before = mx.default_device()
    mx.set_default_device(mx.cpu)
    yield
    mx.set_default_device(before)


def write(rung, text):
    path = student_file(rung)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def with_body(rung, body):
    """The learner's file with this between the markers."""
    return BODY.sub(lambda m: f"{m[1]}{body}\n{m[2]}", starter_text(rung))


def line_of(text, words):
    return next(i for i, line in enumerate(text.splitlines(), 1) if words in line)


def failing(rung, text):
    verdict = judge_rung(LADDER, rung, text, ahead=())
    assert verdict.state is State.WRONG
    return verdict


# --- what is generated ---------------------------------------------------------------------------------------


def test_the_learners_files_in_the_checkout_are_those_that_the_reference_gives():
    if not os.environ.get("COURSE_CI"):
        pytest.skip("in a learner's checkout they may be edited: CI asks")
    assert student.drift() == []


def test_a_starter_keeps_everything_but_the_solution(own_store):
    for rung in LADDER.rungs:
        given, solved = starter_text(rung), solved_text(rung)
        assert "SOLUTION" not in given + solved
        assert student.unwritten(given) == list(rung.parts)
        assert student.unwritten(solved) == []
        region = student.SOLUTION.search(student.reference_text(rung))[2]
        code = [line for line in region.splitlines() if len(line.strip()) > 8]
        assert code and not any(line in given for line in code)


def test_an_edited_file_is_never_overwritten(own_store):
    folder = own_store / "student"
    assert all("written" in line for line in student.write_starters(folder))
    assert all("unchanged" in line for line in student.write_starters(folder))
    path = student_file(VECTORS)
    path.write_text(path.read_text() + "// mine\n")
    with pytest.raises(Edited, match="vectors.cpp was edited.*course reset quantized_matmul.vectors"):
        student.write_starter(VECTORS, folder)
    assert path.read_text().endswith("// mine\n")
    assert student.drift(folder) == ["extensions/student/quantized_matmul/vectors.cpp differs from extensions/reference/quantized_matmul_vectors.cpp."]
    (path.parent / "older.cpp").write_text("")
    path.unlink()
    assert student.drift(folder) == [
        "extensions/student/quantized_matmul/vectors.cpp is missing.",
        "extensions/student/quantized_matmul/older.cpp belongs to no rung.",
    ]


def test_a_file_that_was_given_by_an_older_course_is_replaced(own_store):
    body = "// what the course gave last year\n"
    path = write(VECTORS, f"{body}\n{student.DIGEST}{student._digest(body)}\n")
    assert student.write_starter(VECTORS, own_store / "student")
    assert path.read_text() == starter_text(VECTORS)


def test_reset_keeps_a_backup(own_store, capsys):
    path = write(THREADS, starter_text(THREADS) + "// mine\n")
    assert main(["reset", "quantized_matmul"]) == 0
    said = capsys.readouterr().out
    backups = list((own_store / "backups").glob("quantized_matmul.threads_*.cpp"))
    assert len(backups) == 1 and backups[0].name in said and backups[0].read_text().endswith("// mine\n")
    assert path.read_text() == starter_text(THREADS)
    assert student_file(TILES).exists()
    assert main(["reset", "quantized_matmul.threads"]) == 0  # unedited: nothing to keep
    assert len(list((own_store / "backups").iterdir())) == 1
    assert main(["reset", "quantized_matmul.scalar"]) == 1
    assert "has no rung 'scalar'" in capsys.readouterr().err


# --- the four states -----------------------------------------------------------------------------------------


def test_untouched_gives_the_reference_and_compiles_nothing(monkeypatch, capsys):
    monkeypatch.setattr(compiler, "_run", lambda *a: pytest.fail("something was compiled"))
    write(VECTORS, starter_text(VECTORS))
    kernel = check_kernel("quantized_matmul", rung="vectors")
    assert kernel.library is None and kernel.rung == "vectors"
    assert "Write yours in `extensions/student/quantized_matmul/vectors.cpp`, save it" in capsys.readouterr().out
    monkeypatch.setenv("COURSE_STRICT", "1")
    with pytest.raises(CheckFailed):
        check_kernel("quantized_matmul", rung="vectors")


def test_part_done_says_what_passes_and_what_is_left():
    solved, given = solved_text(TILES), starter_text(TILES)
    body = re.search(r"void unpack_row\(.*?\n}\n", solved, re.DOTALL)[0]
    half = re.sub(r"void unpack_row\(.*?\n}\n", lambda _: body, given, flags=re.DOTALL)
    verdict = judge_rung(LADDER, TILES, half)
    assert verdict.state is State.PART_DONE
    assert [r.state for r in verdict.results][:4] == ["pass"] * 4  # one token needs no tiles
    left = next(r for r in verdict.results if r.state == "left")
    assert (left.title, left.message) == (TILES.cases["tokens"], "multiply_many: about 13 lines")


def test_right_is_loaded_kept_and_timed(own_store, capsys):
    write(VECTORS, solved_text(VECTORS))
    kernel = check_kernel("quantized_matmul", rung="vectors")
    said = capsys.readouterr().out
    assert "✓ quantized_matmul.vectors: right, 9 of 9 cases pass" in said and "Times of the rungs" in said
    assert kernel.library.suffix == ".so"
    x, w = mx.random.normal((3, 192)), mx.quantize(mx.random.normal((7, 192)), 32, 4)
    assert mx.allclose(kernel(x, *w, 32, 4), x @ mx.dequantize(*w, 32, 4).T, atol=1e-4)
    # Kept: what happens to the file afterwards does not matter.
    write(VECTORS, "broken")
    assert kept_kernel("quantized_matmul", rung="vectors").library == kernel.library
    assert kept_kernel("quantized_matmul", rung="threads").library is None


def test_wrong_input_is_refused_with_what_was_given_and_wanted():
    kernel = LADDER.load(None, "vectors")
    w = mx.quantize(mx.random.normal((7, 192)), 32, 4)
    with pytest.raises(ValueError, match="K = 100; wanted a multiple"):
        kernel(mx.zeros((2, 100)), *w, 32, 4)
    with pytest.raises(ValueError, match="bits is 3; wanted 4 or 8"):
        kernel(mx.zeros((2, 192)), *w, 32, 3)
    with pytest.raises(ValueError, match="no rung is called nonsense"):
        LADDER.load(None, "nonsense")


# --- a new build answers, never an old one ---------------------------------------------------------------------


def test_a_changed_file_answers_at_once_and_an_old_kernel_stays_what_it_was():
    ones = mx.ones((1, 192)), *mx.quantize(mx.ones((4, 192)), 32, 4)
    answers, kernels = [], []
    for factor in (1, 2, 3):
        # An inline static as well: one that the libraries shared would answer for the first of them.
        text = solved_text(VECTORS).replace(
            "return sum_lanes(even + odd);", "return factor() * sum_lanes(even + odd);"
        ).replace("namespace {", f"inline float factor() {{ static float f = {factor}; return f; }}\nnamespace {{", 1)
        kernels.append(LADDER.load(compiler.library(LADDER, VECTORS, text), "vectors"))
        answers.append(kernels[-1](*ones, 32, 4)[0, 0].item())
    assert answers == pytest.approx([192, 384, 576], rel=1e-3)
    assert [kernel(*ones, 32, 4)[0, 0].item() for kernel in kernels] == pytest.approx(answers)


def test_a_library_shows_one_symbol_alone():
    path = compiler.library(LADDER, VECTORS, solved_text(VECTORS))
    library = ctypes.CDLL(str(path))
    assert library.course_quantized_matmul
    with pytest.raises(AttributeError):
        library["_ZN6course13multiply_rowsEPKfiRKNS_15QuantizedMatrixEiiPfS4_"]


def test_one_rung_does_not_turn_another_red():
    write(VECTORS, "nonsense")
    assert judge_rung(LADDER, THREADS, solved_text(THREADS), ahead=()).state is State.RIGHT


# --- what goes wrong becomes a panel ---------------------------------------------------------------------------


def test_a_compile_error_shows_the_learners_line_and_a_caret():
    text = with_body(VECTORS, "  Floats sum = {};\n  return sum_lanes(summ);")
    failure = failing(VECTORS, text).failure
    assert failure.title == "it compiles"
    lines = failure.message.splitlines()
    assert "summ" in lines[0] and "not declared" in lines[0] or "undeclared" in lines[0]
    assert lines[1] == f"  vectors.cpp, line {line_of(text, 'sum_lanes(summ)')}:"
    assert lines[2].index("summ") == lines[3].index("^")
    assert len(lines) < 8


def test_an_error_inside_a_header_shows_the_learners_line():
    text = with_body(VECTORS, '  return load<std::pair<int, int>>("x") > 1;')
    message = failing(VECTORS, text).failure.message
    assert f"vectors.cpp, line {line_of(text, 'std::pair')}" in message


def test_a_missing_function_is_named():
    message = failing(VECTORS, solved_text(VECTORS).replace("void multiply_rows(", "void mine(")).failure.message
    assert "no longer defines what the others call" in message and "multiply_rows" in message


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return *reinterpret_cast<volatile float*>(8);", "where there is no memory"),
        ("return words[blocks.words * 100000];", "where there is no memory"),
        ("return arranged[-1];", "before the begin of `scratch`"),
        ("int shift = 40 + (blocks.count > 100); return 1 << shift;", "Undefined behaviour: shift exponent"),
        ("__builtin_trap();", "stopped itself"),
        ("volatile char big[64 << 20]; big[0] = 1; return big[0];", "The stack is full"),
    ],
    ids=["null", "far read", "before", "undefined", "trap", "stack"],
)
def test_a_crash_is_a_panel_with_the_learners_line(body, says):
    text = with_body(VECTORS, f"  {body}")
    message = failing(VECTORS, text).failure.message
    assert says in message
    # A function with too much on the stack fails where it begins.
    assert re.search(r"in your code, line \d+", message)
    assert f"line {line_of(text, body)}" in message or says == "The stack is full"


def test_an_endless_loop_is_stopped_at_the_learners_line(monkeypatch):
    monkeypatch.setattr(judging, "TIME_LIMIT", 4.0)
    text = with_body(VECTORS, "  volatile int i = 0;\n  while (i == 0) {}\n  return 0;")
    verdict = failing(VECTORS, text)
    assert "stopped after 4 seconds" in verdict.failure.message
    assert f"line {line_of(text, 'while (i')}" in verdict.failure.message
    assert verdict.mistake == "endless"


def test_a_race_shows_both_lines_and_the_array():
    body = (
        "  parallel.for_each(4, [&](int task, int worker) {\n"
        "    rest[0] = task;\n"
        "    multiply_rows(arranged, M, w, w.rows * task / 4, w.rows * (task + 1) / 4, y, rest + worker * row_scratch(w));\n"
        "  });"
    )
    text = with_body(THREADS, body)
    verdict = failing(THREADS, text)
    # Before that, with two workers on a small problem: too few tasks is said first only where it is so.
    while verdict.mistake == "unshared":
        text = text.replace("for_each(4,", "for_each(8,").replace("/ 4", "/ 8")
        verdict = failing(THREADS, text)
    assert verdict.failure.title == THREADS.cases["races"]
    assert "in `scratch`" in verdict.failure.message and verdict.mistake == "shared_scratch"
    assert f"line {line_of(text, 'rest[0] = task')}" in verdict.failure.message


def test_output_without_end_and_core_files_are_cut_off(tmp_path):
    ran = run(["/bin/sh", "-c", "yes; ulimit -c"], 3.0)
    assert sum(len(line[0]) for line in ran.lines) < 9 * 2**20
    assert run(["/bin/sh", "-c", "ulimit -c"], 3.0).lines == [["0"]]


def test_a_stopped_program_leaves_no_children(tmp_path):
    ran = run(["/bin/sh", "-c", f"(sleep 60; touch {tmp_path}/late) & trap '' ABRT; sleep 60"], 0.5)
    assert ran.stopped


def test_reports_of_other_compilers_are_read():
    mac = """==1==ERROR: AddressSanitizer: heap-buffer-overflow on address 0x1
READ of size 64 at 0x1 thread T0
    #0 0x1 in course::dot_row(float const*) vectors.cpp:7
    #1 0x1 in course::dot_row(float const*) /s/vectors.cpp:31:12

0x1 is located 0 bytes after 2304-byte region [0x1,0x2)
allocated by thread T0 here:
    #1 0x1 in course::arrays::words(unsigned long) /d/check.cpp:50:1
"""
    from pathlib import Path

    found = read_report(mac, Path("/s/vectors.cpp"))
    assert (found.kind, found.array, found.line) == ("read", "words", 31)
    assert found.words == "Read 64 bytes right behind the end of `words`, which has 2,304 bytes."


def test_without_sanitizers_the_panel_says_so(monkeypatch):
    monkeypatch.setattr(judging, "launcher", lambda flag: None)
    verdict = judge_rung(LADDER, VECTORS, solved_text(VECTORS), ahead=())
    assert verdict.state is State.RIGHT and "no sanitizers that work" in panel.text(verdict)


def test_the_check_program_names_its_rungs_and_cases():
    for rung in LADDER.rungs:
        program = compiler.check_program(LADDER, rung, solved_text(rung), "plain")
        for phase in ("memory", *(["races"] if rung.threads else [])):
            keys = [line[1] for line in run([program, rung.name, phase], 60).lines if line[0] == "case"]
            assert set(keys) <= set(rung.cases)
    assert run([program, "nonsense", "memory"], 10).status == 2


def test_a_compiler_that_never_ends_is_stopped(monkeypatch):
    monkeypatch.setattr(compiler, "COMPILE_LIMIT", 0.01)
    with pytest.raises(DoesNotCompile, match="stopped after"):
        compiler.library(LADDER, VECTORS, solved_text(VECTORS) + "// never compiled before 1\n")


def test_only_files_that_nobody_used_for_long_are_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr(compiler, "_folder", lambda: tmp_path)
    monkeypatch.setattr(compiler, "KEPT_FILES", 2)
    for i, hours in enumerate((0, 0.5, 0.9, 2, 3)):
        path = tmp_path / str(i)
        path.touch()
        os.utime(path, (path.stat().st_mtime - 3600 * hours,) * 2)
    compiler._forget_old()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0", "1", "2"]


def test_the_extension_itself_has_the_markers():
    for rung in LADDER.rungs:
        assert "// BEGIN SOLUTION" in (EXTENSIONS / "reference" / rung.source).read_text()
