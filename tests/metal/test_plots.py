"""The pictures of traffic are read back: what they say is what was counted."""

import mlx.core as mx
import pytest

from course_lib.kernels.metal import metal_kernel
from course_lib.lab.traffic import touch_picture, traffic_bars


@pytest.fixture(scope="module")
def traffic():
    source = """uint i = thread_position_in_grid.x; threadgroup float t[32]; t[i] = x[2 * i];
    threadgroup_barrier(mem_flags::mem_threadgroup); y[i] += t[31 - i];"""
    kernel = metal_kernel("drawn", ["x"], ["y"], source, device="emulator")
    return kernel.inspect(inputs=[mx.zeros(64)], output_shapes=[(32,)], output_dtypes=[mx.float32], grid=(32, 1, 1),
                          threadgroup=(32, 1, 1), init_value=0, touches=1000).traffic  # fmt: skip


def texts(figure):
    figure.draw_without_rendering()
    ax = figure.axes[0]
    shown = [*ax.texts, *ax.get_yticklabels(), ax.xaxis.label, ax.yaxis.label]
    return [t.get_text() for t in shown]


def test_a_bar_a_buffer_with_its_bytes(traffic):
    shown = texts(traffic_bars(traffic))
    assert [t for t in shown if "," in t] == ["x, read", "y, read", "y, written"]
    assert shown.count("128 B") == 3
    assert "t, read" in texts(traffic_bars(traffic, spaces=["threadgroup"]))
    with pytest.raises(ValueError, match="moved nothing in constant"):
        traffic_bars(traffic, spaces=["constant"])


def test_a_mark_where_each_thread_touches(traffic):
    figure = touch_picture(traffic, "x")
    marks = figure.axes[0].patches
    assert [(round(m.get_y() + m.get_height() / 2), m.get_x(), m.get_width()) for m in marks] == [
        (i, 2 * i, 1) for i in range(32)
    ]
    assert texts(figure)[-2:] == ["element of x", "thread"]
    assert len(touch_picture(traffic, "y").axes[0].patches) == 64  # read and written


def test_what_cannot_be_drawn_is_said(traffic):
    with pytest.raises(ValueError, match="those of: x, y"):
        touch_picture(traffic, "z")
