"""Every class of mistake is found, where it is, and nothing is found once it is mended."""

import mlx.core as mx
import pytest
from metal.seeded_bugs import BUGS

from course_lib.kernels.metal import MetalFault, load_metal
from course_lib.kernels.metal.finding import KINDS
from course_lib.kernels.metal_attention import MetalAttention
from course_lib.paths import EXTENSIONS


def inspected(bug, part, tmp_path, **options):
    path = tmp_path / "bug.metal"
    path.write_text(bug.source.replace("@", part))
    grid, threadgroup = bug.grid, bug.threadgroup
    if bug.kind == "too_many_threads" and part == "right":
        threadgroup = (1024, 1, 1)
    kernel = load_metal(path, "f", device="emulator")
    inputs = [mx.arange(size).astype(mx.float32) for size in bug.inputs]
    call = {
        "inputs": inputs, "output_shapes": [(bug.output,)], "output_dtypes": [mx.float32], "grid": grid,
        "threadgroup": threadgroup, "init_value": bug.init_value, "time_limit": bug.time_limit,
    }  # fmt: skip
    return kernel.inspect(**call, **options), path.read_text().splitlines()


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_seeded_bug_is_found_and_its_twin_is_clean(bug, tmp_path):
    seen, lines = inspected(bug, bug.wrong, tmp_path)
    assert [f.kind for f in seen.findings][:1] == [bug.kind], "\n".join(map(str, seen.findings))
    finding = seen.findings[0]
    assert bug.says in finding.message
    if bug.line:
        named = [lines[n - 1] for n in (finding.line, finding.other_line) if n]  # a race is of two lines
        assert any(bug.line in line for line in named)
        assert finding.file.endswith("bug.metal")
    if bug.buffer:
        assert finding.buffer == bug.buffer
    if bug.kind == "too_many_threads":
        return
    seen, _ = inspected(bug, bug.right, tmp_path)
    assert not seen.findings, "\n".join(map(str, seen.findings))


@pytest.mark.parametrize("order", ["forward", "reverse", "shuffle"])
def test_races_are_found_in_any_order_of_the_threads(order, tmp_path):
    for bug in BUGS:
        if bug.kind == "race":
            seen, _ = inspected(bug, bug.wrong, tmp_path, order=order, seed=5)
            assert seen.findings[0].kind == "race", (bug.name, order)


def test_every_class_is_seeded():
    assert {bug.kind for bug in BUGS} == set(KINDS)
    assert len(BUGS) >= 15


def test_a_seed_repeats_a_run_and_another_makes_another(tmp_path):
    bug = next(b for b in BUGS if b.name == "missing barrier")
    first, again, other = (inspected(bug, "", tmp_path, order="shuffle", seed=s)[0] for s in (1, 1, 2))
    assert [str(f) for f in first.findings] == [str(f) for f in again.findings]
    assert mx.array_equal(first.outputs[0], again.outputs[0], equal_nan=True)
    assert [str(f) for f in first.findings] != [str(f) for f in other.findings]


def test_check_raises_what_inspect_returns(tmp_path):
    bug = next(b for b in BUGS if b.name == "missing barrier")
    path = tmp_path / "bug.metal"
    path.write_text(bug.source.replace("@", ""))
    kernel = load_metal(path, "f", device="emulator")
    call = {"inputs": [mx.zeros(64)], "output_shapes": [(64,)], "output_dtypes": [mx.float32],
            "grid": (64, 1, 1), "threadgroup": (64, 1, 1)}  # fmt: skip
    with pytest.raises(MetalFault, match="(?s)1 finding.*data race.*threadgroup_barrier") as fault:
        kernel(**call, check=True)
    assert fault.value.findings == kernel.findings
    kernel(**call)  # plain: runs, unwatched


def test_a_race_of_a_simdgroup_and_beyond_asks_for_the_barrier_that_mends_both(tmp_path):
    """Neighbouring lanes are met first, but a simdgroup_barrier would leave the others racing."""
    path = tmp_path / "turns.metal"
    path.write_text("""kernel void f(device const float* x [[buffer(0)]], device float* y [[buffer(1)]],
                                  uint i [[thread_position_in_threadgroup]]) {
      threadgroup float turn[64];
      float sum = 0;
      for (int k = 0; k < 2; k++) {
        turn[i] = x[i];
        threadgroup_barrier(mem_flags::mem_threadgroup);
        for (int j = 0; j < 64; j++) sum += turn[j];
      }
      y[i] = sum;
    }""")
    call = {"inputs": [mx.arange(64.0)], "output_shapes": [(64,)], "output_dtypes": [mx.float32],
            "grid": (64, 1, 1), "threadgroup": (64, 1, 1)}  # fmt: skip
    (finding,) = load_metal(path, "f", device="emulator").inspect(**call).findings
    assert finding.kind == "race" and "Put threadgroup_barrier" in finding.message


def test_writes_of_the_same_value_are_no_race(tmp_path):
    path = tmp_path / "same.metal"
    text = "kernel void f(device float* y [[buffer(0)]], uint i [[thread_position_in_grid]]) { y[0] = @; }"
    path.write_text(text.replace("@", "7"))
    call = {"inputs": [], "output_shapes": [(1,)], "output_dtypes": [mx.float32], "grid": (64, 1, 1),
            "threadgroup": (32, 1, 1)}  # fmt: skip
    assert not load_metal(path, "f", device="emulator").inspect(**call).findings
    path.write_text(text.replace("@", "i"))
    assert [f.kind for f in load_metal(path, "f", device="emulator").inspect(**call).findings] == ["race"]


def test_bytes_of_one_word_are_apart(tmp_path):
    """Two threads write two bytes of the same word, as packing code does."""
    path = tmp_path / "bytes.metal"
    text = """kernel void f(device uint* y [[buffer(0)]], uint i [[thread_position_in_grid]]) {
      ((device uchar*)y)[@] = i;
    }"""
    call = {"inputs": [], "output_shapes": [(16,)], "output_dtypes": [mx.uint32], "grid": (64, 1, 1),
            "threadgroup": (32, 1, 1)}  # fmt: skip
    path.write_text(text.replace("@", "i"))
    assert not load_metal(path, "f", device="emulator").inspect(**call).findings
    path.write_text(text.replace("@", "i / 2"))
    assert [f.kind for f in load_metal(path, "f", device="emulator").inspect(**call).findings] == ["race"]


BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);"


@pytest.mark.parametrize("gone", range(4))
@pytest.mark.parametrize(("rung", "buffer"), [("tiles", "tile"), ("matrices", "fours")])
def test_every_barrier_of_a_tiled_kernel_is_missed(rung, buffer, gone, tmp_path):
    parts = (EXTENSIONS / f"reference/attention_{rung}.metal").read_text().split(BARRIER)
    assert len(parts) == 5
    path = tmp_path / "attention.metal"
    path.write_text(BARRIER.join(parts[: gone + 1]) + ";" + BARRIER.join(parts[gone + 1 :]))
    q, k = mx.random.normal((1, 1, 32, 32)), mx.random.normal((1, 1, 96, 32))
    (seen,) = MetalAttention(rung, path).inspect(q, k, k, scale=0.2)
    assert {(f.kind, f.buffer) for f in seen.findings} == {("race", buffer)}
