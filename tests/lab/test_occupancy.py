"""How many threads a core holds, and how many cache lines an access touches."""

import mlx.core as mx
import pytest

from course_lib.kernels.metal import metal_kernel
from course_lib.kernels.toolchain import find_compiler
from course_lib.lab.occupancy import M1, Core, limit_of, occupancy_figure, resident_threads
from course_lib.lab.traffic import cache_lines, touch_picture

CORE = Core(register_bytes=4096, threadgroup_bytes=1000, threads=100)


def test_each_limit_binds_in_turn_and_threadgroups_come_whole():
    assert (resident_threads(32, 1, 0, CORE), limit_of(32, 1, 0, CORE)) == (96, "threads")
    assert (resident_threads(32, 16, 0, CORE), limit_of(32, 16, 0, CORE)) == (64, "registers")
    assert (resident_threads(32, 1, 600, CORE), limit_of(32, 1, 600, CORE)) == (32, "threadgroup memory")
    assert resident_threads(64, 64, 0, CORE) == 0


def test_m1_holds_what_was_measured_on_it():
    """384 threads with the most registers, 1,024 with 52: Rosenzweig's two ends."""
    assert resident_threads(32, 128, 0, M1) == 416 // 32 * 32
    assert resident_threads(1024, 52, 0, M1) == 1024


def test_the_figure_marks_the_kernel():
    (ax,) = occupancy_figure(128, 64, 8192).axes
    texts = [t.get_text() for t in ax.texts]
    assert any("768 threads, limited by registers" in t for t in texts)
    occupancy_figure(1024, 128, 0)


@pytest.mark.skipif(find_compiler() is None, reason="there is no C++ compiler")
@pytest.mark.parametrize("index", ["i", "i * 72", "i / 2", "i * 4 + 3", "0 * i"])
def test_cache_lines_are_those_that_the_emulator_counts(index):
    source = f"uint i = thread_position_in_grid.x; y[i] = x[{index}];"
    kernel = metal_kernel("reads", ["x"], ["y"], source, device="emulator")
    seen = kernel.inspect(inputs=[mx.zeros(4096)], grid=(32, 1, 1), threadgroup=(32, 1, 1), output_shapes=[(32,)],
                          output_dtypes=[mx.float32], touches=1000)  # fmt: skip
    offsets = [touch.offset for touch in seen.traffic.touches if touch.buffer == "x"]
    assert len(offsets) == 32
    assert cache_lines(offsets, 4) == seen.traffic.buffers["x"].cache_lines
    figure = touch_picture(seen.traffic, "x", moment=0)
    assert len(figure.axes[0].patches) == 64  # each thread's touch, and again in the colour of the moment


def test_an_access_over_a_border_counts_both_lines():
    assert [cache_lines([o], 16) for o in (0, 112, 113, 127, 128)] == [1, 1, 2, 2, 1]
    assert cache_lines([], 4) == 0
