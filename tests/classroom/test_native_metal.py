"""The loop of native exercises for Metal: states, files, panels, and what a kernel can do to the notebook: nothing."""

import mlx.core as mx
import pytest

from course_lib.classroom.native import check_kernel, judge_metal, kept_kernel, student
from course_lib.classroom.native.judge_metal import compare, metal_file
from course_lib.classroom.native.ladder import get_ladder
from course_lib.classroom.native.student import SOLUTION, reference_text, solved_text, starter_text, student_file, unwritten
from course_lib.classroom.table import progress_text
from course_lib.classroom.verdict import CheckFailed, State
from course_lib.cli import main
from course_lib.kernels.metal import MetalError
from course_lib.kernels.toolchain import find_compiler

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="there is no C++ compiler")

LADDER = get_ladder("quantized_matmul.metal")
SIMD_SUM, ROWS, TILES, _ = LADDER.rungs
NAME = "quantized_matmul.metal"


def write(rung, text):
    path = student_file(rung)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def with_solution(rung, *parts):
    """The learner's file with these parts written, by number, and the others as given."""
    regions = iter(range(len(rung.parts)))
    stubs = student.ANSWER.findall(starter_text(rung))

    def region(match):
        part = next(regions)
        return f"// BEGIN YOUR CODE\n{match[2] if part in parts else stubs[part]}// END YOUR CODE\n"

    return SOLUTION.sub(region, reference_text(rung))


def wrong(rung, *changes):
    text = solved_text(rung)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    verdict = judge_metal.judge_metal(LADDER, rung, text)
    assert verdict.state is State.WRONG
    return verdict, text


def line_of(text, words):
    return next(i for i, line in enumerate(text.splitlines(), 1) if words in line)


# --- files -----------------------------------------------------------------------------------------------------


def test_metal_and_cpp_of_a_kernel_share_a_folder_and_no_name():
    files = [rung.file for name in ("quantized_matmul", NAME) for rung in get_ladder(name).rungs]
    assert "extensions/student/quantized_matmul/tiles.cpp" in files
    assert "extensions/student/quantized_matmul/tiles.metal" in files
    assert len(set(files)) == len(files)


def test_a_starter_keeps_everything_but_the_solution():
    for rung in LADDER.rungs:
        given, solved = starter_text(rung), solved_text(rung)
        assert "SOLUTION" not in given + solved
        assert unwritten(given) == list(rung.parts)
        assert unwritten(solved) == []
        code = [line for line in SOLUTION.search(reference_text(rung))[2].splitlines() if len(line.strip()) > 8]
        assert code and not any(line in given for line in code if "barrier" not in line)


def test_reset_of_one_rung_of_a_ladder_and_of_its_namesake(own_store, capsys):
    metal, cpp = write(TILES, starter_text(TILES) + "// mine\n"), get_ladder("quantized_matmul").rung("tiles")
    other = write(cpp, starter_text(cpp) + "// mine, too\n")
    assert main(["reset", f"{NAME}.tiles"]) == 0
    assert metal.read_text() == starter_text(TILES) and other.read_text().endswith("// mine, too\n")
    (backup,) = (own_store / "backups").iterdir()
    assert backup.name.startswith(f"{NAME}.tiles_") and backup.suffix == ".metal" and backup.read_text().endswith("// mine\n")
    write(SIMD_SUM, "mine\n")
    assert main(["reset", NAME]) == 0
    assert student_file(SIMD_SUM).read_text() == starter_text(SIMD_SUM) and other.read_text().endswith("// mine, too\n")
    assert main(["reset", "quantized_matmul"]) == 0
    assert other.read_text() == starter_text(cpp)
    assert main(["reset", f"{NAME}.one_thread"]) == 1
    assert "has no rung 'one_thread'" in capsys.readouterr().err


def test_an_edited_file_is_never_overwritten_and_drift_names_it(own_store):
    folder = own_store / "student"
    student.write_starters(folder)
    assert student.drift(folder) == []
    path = student_file(ROWS)
    path.write_text(path.read_text() + "// mine\n")
    assert any("rows.metal was edited" in line for line in student.write_starters(folder))
    assert path.read_text().endswith("// mine\n")
    (path.parent / "older.metal").write_text("")
    assert student.drift(folder) == [
        "extensions/student/quantized_matmul/rows.metal differs from extensions/reference/quantized_matmul_rows.metal.",
        "extensions/student/quantized_matmul/older.metal belongs to no rung.",
    ]


# --- the four states -------------------------------------------------------------------------------------------


def test_untouched_gives_the_reference_and_runs_nothing(monkeypatch, capsys):
    monkeypatch.setattr(judge_metal, "_compile", lambda *a: pytest.fail("something was compiled"))
    write(SIMD_SUM, starter_text(SIMD_SUM))
    kernel = check_kernel(NAME, rung="simd_sum")
    assert kernel.path is None and kernel.rung == "simd_sum"
    assert "Write yours in `extensions/student/quantized_matmul/simd_sum.metal`, save it" in capsys.readouterr().out
    monkeypatch.setenv("COURSE_STRICT", "1")
    with pytest.raises(CheckFailed):
        check_kernel(NAME, rung="simd_sum")


def test_part_done_says_what_is_left_and_looks_at_what_is_there(monkeypatch):
    verdict = judge_metal.judge_metal(LADDER, TILES, with_solution(TILES, 0))
    assert verdict.state is State.PART_DONE
    assert [r.state for r in verdict.results] == ["pass"] + ["left"] * len(TILES.cases)
    assert verdict.results[1].message == "multiply_tiles is not written yet"
    # What is read past an edge is told, though the other part is missing.
    text = with_solution(TILES, 0).replace("if (row < N) {", "{")
    verdict = judge_metal.judge_metal(LADDER, TILES, text)
    assert (verdict.state, verdict.mistake) == (State.WRONG, "past_edge")
    # And nobody is blamed for tiles that the missing part was to fill.
    assert judge_metal.judge_metal(LADDER, TILES, with_solution(TILES, 1)).state is State.PART_DONE


def test_right_is_kept_and_measured(own_store, capsys):
    write(SIMD_SUM, solved_text(SIMD_SUM))
    kernel = check_kernel(NAME, rung="simd_sum")
    said = capsys.readouterr().out
    assert "✓ quantized_matmul.metal.simd_sum: right, 7 of 7 cases pass" in said and "bytes moved" in said
    x = mx.random.normal((2, 3, 64))
    w = mx.quantize(mx.random.normal((7, 64)), 32, 4)
    want = x @ mx.dequantize(*w, 32, 4).T
    assert kernel(x, *w, 32, 4).shape == (2, 3, 7) and mx.allclose(kernel(x, *w, 32, 4), want, atol=1e-4)
    # Kept: what happens to the file afterwards does not matter.
    write(SIMD_SUM, "broken")
    kept = kept_kernel(NAME, rung="simd_sum")
    assert kept.path == kernel.path and mx.allclose(kept(x, *w, 32, 4), want, atol=1e-4)
    assert kept_kernel(NAME, rung="tiles").path is None
    assert "Metal: one SIMD-group a row" in progress_text() and "7/7" in progress_text()


def test_one_rung_does_not_turn_another_red():
    write(SIMD_SUM, "nonsense")
    assert judge_metal.judge_metal(LADDER, ROWS, solved_text(ROWS)).state is State.RIGHT


# --- what goes wrong becomes a panel ---------------------------------------------------------------------------


def test_a_compile_error_shows_the_learners_line_and_a_caret():
    verdict, text = wrong(SIMD_SUM, ("sum = simd_sum(sum);", "sum = simd_some(sum);"))
    assert verdict.failure.title == "it compiles"
    lines = verdict.failure.message.splitlines()
    assert lines[0].startswith(f"simd_sum.metal:{line_of(text, 'simd_some')}:") and "simd_some" in lines[0]
    assert lines[-2].index("simd_some") == lines[-1].index("^")


def test_what_only_metals_compiler_refuses_is_refused():
    pytest.importorskip("ziglang")
    verdict, _ = wrong(SIMD_SUM, ("float sum = 0;", "device const uint* start = words; const uint* end = start + K;\n  float sum = 0;"))
    assert verdict.failure.title == "it compiles" and "address space" in verdict.failure.message


def test_without_strict_mode_the_panel_says_so(monkeypatch, capsys):
    def no_clang(self, *arguments, **keywords):
        raise MetalError("strict mode needs clang")

    monkeypatch.setattr("course_lib.kernels.metal_quantized_matmul.MetalQuantizedMatmul.check_types", no_clang)
    verdict = judge_metal.judge_metal(LADDER, SIMD_SUM, solved_text(SIMD_SUM))
    assert verdict.state is State.RIGHT and "ziglang" in verdict.note
    write(SIMD_SUM, solved_text(SIMD_SUM))
    check_kernel(NAME, rung="simd_sum")
    assert "ziglang" in capsys.readouterr().out
    # Where panels are compared with stored ones, they do not tell one machine from another.
    monkeypatch.setenv("COURSE_STRICT", "1")
    check_kernel(NAME, rung="simd_sum")
    assert "is kept" in (said := capsys.readouterr().out) and "ziglang" not in said


def test_a_finding_shows_the_line_the_buffer_and_the_hint():
    verdict, text = wrong(ROWS, ("const uint rows = min(ROWS, N - n);", "const uint rows = ROWS;"))
    message = verdict.failure.message
    assert verdict.failure.title == ROWS.cases["ragged"]
    assert message.startswith("x [1, 320] float16, w [37, 320], 4 bits in groups of 32\nOut of bounds.")
    assert "`words`" in message or "words[" in message
    assert f"in your code, line {line_of(text, 'const uint2 pair = pairs')}: const uint2 pair" in message
    assert verdict.mistake == "past_last_row"


def test_a_race_shows_both_lines():
    barrier = "    threadgroup_barrier(mem_flags::mem_threadgroup);\n\n    // Part 2"
    verdict, text = wrong(TILES, (barrier, "\n    // Part 2"))
    message = verdict.failure.message
    assert "Data race." in message and verdict.mistake == "no_barrier"
    named = {i for i in range(1, 99) if f"line {i}:" in message}
    written = {line_of(text, "x_tile[i] ="), line_of(text, "w_tile[i * PER_WORD")}
    read = {line_of(text, "simdgroup_load(tokens"), line_of(text, "simdgroup_load(rows")}
    assert len(named) == 2 and named & written and named & read


def test_an_endless_loop_is_stopped(monkeypatch):
    monkeypatch.setattr(judge_metal, "TIME_LIMIT", 1.0)
    verdict, _ = wrong(SIMD_SUM, ("i < words_per_row; i += 32", "i < words_per_row; sum += 0"))
    assert "still running" in verdict.failure.message and verdict.mistake == "endless"


def test_a_kernel_that_is_gone_is_named():
    verdict, _ = wrong(SIMD_SUM, ("void qmv_simd_sum(", "void mine("), ("decltype(qmv_simd_sum<half, 32, 4>) qmv_simd_sum<", "decltype(mine<half, 32, 4>) mine<"))
    assert "has no kernel 'qmv_simd_sum'" in verdict.failure.message


def test_wrong_values_say_which_and_by_how_much():
    (problem,) = LADDER.problems("simd_sum", "one_token")
    values = mx.array(problem.wanted.astype("float32"))
    assert compare(SIMD_SUM, problem, values) is None
    message, mistake = compare(SIMD_SUM, problem, values + mx.array([0.0, 0, 0, 1, 0, 0, 0, 0]))
    assert message.startswith("  y[0, 3]  given ") and "1 of 8 values differ" in message and mistake is None
    message, mistake = compare(SIMD_SUM, problem, values * float("nan"))
    assert "never written" in message and mistake == "missing_outputs"
    assert "the shape is [8], wanted [1, 8]" in compare(SIMD_SUM, problem, values[0])[0]


def test_a_file_of_the_same_text_is_one_file_and_another_text_another(own_store):
    assert metal_file(ROWS, "a") == metal_file(ROWS, "a") != metal_file(ROWS, "b")
    assert metal_file(ROWS, "a").read_text() == "a"


def test_wrong_input_is_refused_with_what_was_given_and_wanted():
    kernel = LADDER.load(None, "rows")
    w = mx.quantize(mx.random.normal((7, 192)), 32, 4)
    with pytest.raises(ValueError, match="do not fit: with K = 100"):
        kernel(mx.zeros((2, 100)), *w, 32, 4)
    with pytest.raises(ValueError, match="bits 3; the kernels take"):
        kernel(mx.zeros((2, 192)), *w, 32, 3)
    with pytest.raises(ValueError, match="give all in one of"):
        kernel(mx.zeros((2, 192), mx.float16), *w, 32, 4)
    with pytest.raises(ValueError, match="no rung 'nonsense'"):
        LADDER.load(None, "nonsense")
