"""The counts are exact: each is compared with what the kernel's text says."""

import shutil
import subprocess

import mlx.core as mx
import numpy as np
import pytest
from kernels.tools import minutes_long, without

from course_lib.kernels.metal import metal_kernel
from course_lib.kernels.metal_attention import MetalAttention


def traffic_of(source, inputs, output, grid, threadgroup, dtype=mx.float32, **options):
    names = [f"in{k}" for k in range(len(inputs))]
    kernel = metal_kernel("counted", names, ["out"], source, device="emulator")
    seen = kernel.inspect(inputs=inputs, output_shapes=[output], output_dtypes=[dtype], grid=grid, threadgroup=threadgroup,
                          **options)  # fmt: skip
    assert not seen.findings, "\n".join(map(str, seen.findings))
    return seen.traffic


INDEX = "uint i = thread_position_in_grid.x;\n"


def test_bytes_of_buffers_and_lines():
    t = traffic_of(INDEX + "float a = in0[i];\nout[i] = a * in0[i + 64] + in1[0];", [mx.zeros(128), mx.zeros(4)], (64,),
                   (64, 1, 1), (64, 1, 1))  # fmt: skip
    assert (t.buffers["in0"].bytes_read, t.buffers["in0"].bytes_written) == (512, 0)
    assert (t.buffers["in1"].bytes_read, t.buffers["in1"].space) == (256, "constant")
    assert (t.buffers["out"].bytes_read, t.buffers["out"].bytes_written) == (0, 256)
    assert t.buffers["in0"].distinct_bytes_read == 512 and t.buffers["in1"].distinct_bytes_read == 4
    assert t.device_bytes == 768
    assert t.lines["counted.metal", 2]["in0"].bytes_read == 256
    assert t.lines["counted.metal", 3]["in0"].bytes_read == 256
    assert t.lines["counted.metal", 3]["out"].bytes_written == 256


def test_each_access_counts_also_where_a_compiler_would_save_it():
    """The same element again, a loop's invariant, a store that is overwritten."""
    body = "out[i] = 0; for (int k = 0; k < 10; k++) out[i] = in0[i] * in0[i] + in0[0] + k; out[i] = in0[i];"
    t = traffic_of(INDEX + body, [mx.zeros(32)], (32,), (32, 1, 1), (32, 1, 1))
    assert t.buffers["in0"].bytes_read == 32 * 4 * (10 * 3 + 1)
    assert t.buffers["out"].bytes_written == 32 * 4 * 12


def test_types_count_by_their_size():
    body = """half h = ((device const half*)in0)[i]; float4 v = ((device const float4*)in0)[i];
      uchar c = ((device const uchar*)in0)[i]; ((device ushort*)out)[i] = ushort(h + c); ((device float2*)out)[i + 32] = v.xy;"""
    t = traffic_of(INDEX + body, [mx.zeros(128)], (128,), (32, 1, 1), (32, 1, 1))
    assert t.buffers["in0"].bytes_read == 32 * (2 + 16 + 1)
    assert t.buffers["out"].bytes_written == 32 * (2 + 8)
    assert [moved["in0"].bytes_read for moved in t.lines.values()] == [32 * 18, 32]
    assert [moved["out"].bytes_written for moved in t.lines.values() if "out" in moved] == [32 * 10]


@pytest.mark.parametrize("index, lines, coalescing", [
    ("i", 1, 1.0),  # neighbours: one line of 128 bytes
    ("0 * i", 1, 1.0),  # one element for all
    ("31 - i", 1, 1.0),  # the order does not matter
    ("i + 1", 2, 0.5),  # across a line's end
    ("2 * i", 2, 0.5),  # every other
    ("32 * i", 32, 1 / 32),  # a line for each
])  # fmt: skip
def test_coalescing(index, lines, coalescing):
    t = traffic_of(INDEX + f"out[i] = in0[{index}];", [mx.zeros(1024)], (32,), (32, 1, 1), (32, 1, 1))
    assert (t.buffers["in0"].simd_accesses, t.buffers["in0"].cache_lines) == (1, lines)
    assert t.buffers["in0"].coalescing == coalescing
    assert t.buffers["out"].coalescing == 1.0


def test_accesses_of_a_loop_are_compared_turn_by_turn():
    body = "float s = 0; for (int k = 0; k < 8; k++) s += in0[@]; out[i] = s;"
    rows = traffic_of(INDEX + body.replace("@", "i * 8 + k"), [mx.zeros(256)], (32,), (32, 1, 1), (32, 1, 1))
    columns = traffic_of(INDEX + body.replace("@", "k * 32 + i"), [mx.zeros(256)], (32,), (32, 1, 1), (32, 1, 1))
    assert rows.buffers["in0"].bytes_read == columns.buffers["in0"].bytes_read == 1024
    assert (rows.buffers["in0"].cache_lines, columns.buffers["in0"].cache_lines) == (64, 8)
    assert (rows.buffers["in0"].coalescing, columns.buffers["in0"].coalescing) == (1 / 8, 1.0)


def test_barriers_and_operations_count_once_a_group():
    body = """threadgroup float t[64]; uint l = thread_index_in_threadgroup; t[l] = in0[i];
      threadgroup_barrier(mem_flags::mem_threadgroup); float s = simd_sum(t[63 - l]) + simd_shuffle_xor(in0[i], 1);
      simdgroup_barrier(mem_flags::mem_threadgroup); out[i] = s;"""
    t = traffic_of(INDEX + body, [mx.zeros(128)], (128,), (128, 1, 1), (64, 1, 1))
    assert (t.threadgroup_barriers, t.simdgroup_barriers, t.simd_operations, t.matrix_operations) == (2, 4, 8, 0)
    assert t.threadgroup_bytes == 2 * 64 * 4 * 2
    assert (t.buffers["t"].space, t.buffers["t"].nbytes) == ("threadgroup", 256)


def test_tiling_divides_what_is_read():
    """A 32 x 32 product: each thread reads a row and a column; with tiles of 8 each element is read 4 times."""
    naive = "uint2 p = thread_position_in_grid.xy; float s = 0; for (int k = 0; k < 32; k++) s += in0[p.y * 32 + k] * in1[k * 32 + p.x]; out[p.y * 32 + p.x] = s;"
    tiled = """uint2 p = thread_position_in_grid.xy, t = thread_position_in_threadgroup.xy; threadgroup float a[8][8], b[8][8]; float s = 0;
      for (int k = 0; k < 32; k += 8) {
        a[t.y][t.x] = in0[p.y * 32 + k + t.x]; b[t.y][t.x] = in1[(k + t.y) * 32 + p.x];
        threadgroup_barrier(mem_flags::mem_threadgroup);
        for (int j = 0; j < 8; j++) s += a[t.y][j] * b[j][t.x];
        threadgroup_barrier(mem_flags::mem_threadgroup);
      }
      out[p.y * 32 + p.x] = s;"""
    inputs = [mx.zeros(1024), mx.zeros(1024)]
    counts = [traffic_of(s, inputs, (1024,), (32, 32, 1), (8, 8, 1)).buffers["in0"].bytes_read for s in (naive, tiled)]
    assert counts == [1024 * 4 * 32, 1024 * 4 * 4]


def test_the_order_of_threads_changes_no_count():
    kernel = MetalAttention("matrices")
    q = mx.random.normal((1, 1, 64, 32))
    seen = [kernel.inspect(q, q, q, scale=0.2, order=order, seed=3)[0] for order in ("forward", "reverse", "shuffle")]
    assert not any(s.findings for s in seen)
    assert len({str(s.traffic) for s in seen}) == 1
    b = seen[0].traffic.buffers
    assert (b["q"].bytes_read, b["k"].bytes_read, b["v"].bytes_read) == (64 * 32 * 4, 2 * 64 * 32 * 4, 2 * 64 * 32 * 4)
    assert b["out"].bytes_written == 64 * 32 * 4
    for s in seen[1:]:
        np.testing.assert_array_equal(np.array(s.outputs[0]), np.array(seen[0].outputs[0]))


def test_another_compiler_counts_the_same(monkeypatch):
    minutes_long()
    others = [tool for n in range(21, 15, -1) if (tool := shutil.which(f"clang++-{n}"))]
    if not others:
        without("no clang++ of version 16 or later is here; on Debian: apt-get install clang-19")
    q = mx.random.normal((1, 1, 64, 32)).astype(mx.float16)

    def counted(traffic):
        # g++ reads a divisor in memory once more than clang, to see whether it is 0.
        return [line for line in str(traffic).splitlines() if "H_kv" not in line]

    counts = [counted(MetalAttention("matrices").inspect(q, q, q, scale=0.2)[0].traffic)]
    monkeypatch.setenv("CXX", others[0])
    counts.append(counted(MetalAttention("matrices").inspect(q, q, q, scale=0.2)[0].traffic))
    assert counts[0] == counts[1]
    assert "clang" in subprocess.run([others[0], "--version"], capture_output=True, text=True, check=True).stdout


def test_touches_are_recorded_one_by_one():
    t = traffic_of(INDEX + "out[i] = in0[31 - i];", [mx.zeros(32)], (32,), (32, 1, 1), (32, 1, 1), touches=100)
    assert t.touches_complete and len(t.touches) == 64
    reads = [(x.thread, x.offset // 4) for x in t.touches if x.buffer == "in0"]
    assert reads == [(k, 31 - k) for k in range(32)] and all(x.line == 2 for x in t.touches)
    assert not traffic_of(INDEX + "out[i] = in0[i];", [mx.zeros(32)], (32,), (32, 1, 1), (32, 1, 1), touches=10).touches_complete
