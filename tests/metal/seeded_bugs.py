"""Kernels with one bug each, and the same without it.

Each is a .metal file with a hole, `@`, and what to put there to make the mistake or to mend it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bug:
    """A kernel `f` with one mistake.

    Attributes:
        name: of the mistake.
        kind: of the finding.
        source: of the .metal file, with `@` where `wrong` or `right` belongs.
        wrong: the mistake; right likewise.
        says: what its message must contain.
        line: text in the line that the finding must name; "" if it names none.
        buffer: that it must name.
        grid: threads; threadgroup likewise.
        inputs: sizes of the float inputs.
        output: its size.
        init_value: of the output.
    """

    name: str
    kind: str
    source: str
    wrong: str
    right: str
    says: str
    line: str
    buffer: str | None = None
    grid: tuple = (64, 1, 1)
    threadgroup: tuple = (64, 1, 1)
    inputs: tuple = (64,)
    output: int = 64
    init_value: float | None = None
    time_limit: float = 20.0


HEAD = """#include <metal_stdlib>
using namespace metal;

kernel void f(device const float* x [[buffer(0)]], device float* y [[buffer(1)]],
              uint i [[thread_position_in_grid]], uint t [[thread_index_in_threadgroup]],
              uint lane [[thread_index_in_simdgroup]], uint group [[threadgroup_position_in_grid]]) {
"""

REVERSE = HEAD + """  threadgroup float shared[64];
  shared[t] = x[i];
  @
  y[i] = shared[63 - t];
}
"""

LANES = HEAD + """  threadgroup float shared[64];
  shared[t] = x[i];
  @
  y[i] = shared[t ^ 1];
}
"""

BUGS = [
    Bug("missing barrier", "race", REVERSE, "", "threadgroup_barrier(mem_flags::mem_threadgroup);",
        "threadgroup_barrier(mem_flags::mem_threadgroup)", "y[i] = shared", "shared"),
    Bug("wrong mem_flags", "race", REVERSE, "threadgroup_barrier(mem_flags::mem_device);",
        "threadgroup_barrier(mem_flags::mem_threadgroup);", "mem_flags do not name", "y[i] = shared", "shared"),
    Bug("mem_none", "race", REVERSE, "threadgroup_barrier(mem_flags::mem_none);",
        "threadgroup_barrier(mem_flags::mem_device | mem_flags::mem_threadgroup);", "mem_flags do not name",
        "y[i] = shared", "shared"),
    Bug("simdgroup_barrier for a whole threadgroup", "race", REVERSE,
        "simdgroup_barrier(mem_flags::mem_threadgroup);", "threadgroup_barrier(mem_flags::mem_threadgroup);",
        "Put threadgroup_barrier", "y[i] = shared", "shared"),
    Bug("missing simdgroup_barrier", "race", LANES, "", "simdgroup_barrier(mem_flags::mem_threadgroup);",
        "put simdgroup_barrier", "y[i] = shared", "shared"),
    Bug("wrong flags of simdgroup_barrier", "race", LANES, "simdgroup_barrier(mem_flags::mem_device);",
        "simdgroup_barrier(mem_flags::mem_threadgroup);", "A simdgroup_barrier is between", "y[i] = shared", "shared"),
    Bug("overwritten before all have read", "race", HEAD + """  threadgroup float shared[64];
  shared[t] = x[i];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  float other = shared[63 - t];
  @
  shared[t] = other * 2;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  y[i] = shared[63 - t];
}
""", "", "threadgroup_barrier(mem_flags::mem_threadgroup);", "nothing orders the two", "other", "shared"),
    Bug("device memory without a barrier", "race", HEAD + """  y[i] = x[i];
  @
  float other = y[63 - t];
  threadgroup_barrier(mem_flags::mem_device);
  y[i] = other;
}
""", "threadgroup_barrier(mem_flags::mem_threadgroup);", "threadgroup_barrier(mem_flags::mem_device);",
        "mem_flags::mem_device", "float other", "y"),
    Bug("two threadgroups, one element", "race", HEAD + """  float total = simd_sum(x[i]);
  if (lane == 0) y[@] = total;
}
""", "t / 32", "i / 32", "No barrier orders two threadgroups", "if (lane == 0)", "y", grid=(128, 1, 1),
        inputs=(128,), output=4),
    Bug("a sum without an atomic", "race", """#include <metal_stdlib>
using namespace metal;
kernel void f(device const float* x [[buffer(0)]], device atomic<float>* y [[buffer(1)]],
              uint i [[thread_position_in_grid]]) {
  @
}
""", "((device float*)y)[0] += x[i];", "atomic_fetch_add_explicit(y, x[i], memory_order_relaxed);",
        "nothing orders the two", "+= x[i]", "y", output=1, init_value=0.0),
    Bug("read past the end", "out_of_bounds", HEAD + "  y[i] = x[i] + @;\n}\n", "x[i + 1]", "x[min(i + 1, 63u)]",
        "x has 64 elements", "y[i] = x[i]", "x"),
    Bug("no guard on a ragged edge", "out_of_bounds", HEAD + "  @\n  y[i] = 1;\n}\n", "", "if (i >= 60) return;",
        "writes y[60]", "y[i] = 1", "y", output=60),
    Bug("negative index", "out_of_bounds", HEAD + "  y[i] = x[@];\n}\n", "int(i) - 1", "max(int(i) - 1, 0)",
        "reads x[-1]", "y[i] = x", "x"),
    Bug("past a threadgroup array", "out_of_bounds", HEAD + """  threadgroup float shared[64];
  threadgroup float* row = shared;
  row[t] = x[i];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  y[i] = row[@];
}
""", "t + 1", "(t + 1) % 64", "shared has 64 elements", "y[i] = row", "shared"),
    Bug("vector load past the end", "out_of_bounds", HEAD + """  float4 v = ((device const float4*)x)[@];
  y[i] = v.x + v.w;
}
""", "t", "t % 16", "16 bytes at once", "float4 v", "x"),
    Bug("uninitialised threadgroup memory", "uninitialised", HEAD + """  threadgroup float total[2];
  @
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (t == 0) total[0] = total[0] + x[i];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  y[i] = total[0];
}
""", "", "if (t == 0) total[0] = 0;", "reads total[0]", "total[0] = total[0]", "total"),
    Bug("left over from the last threadgroup", "uninitialised", HEAD + """  threadgroup float total[1];
  @ total[0] = 1;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  y[i] = total[0];
}
""", "if (i == 0)", "if (t == 0)", "in every threadgroup", "y[i] = total", "total", grid=(128, 1, 1), inputs=(128,),
        output=128),
    Bug("uninitialised output", "uninitialised", HEAD + "  y[i] @ x[i];\n}\n", "+=", "=", "unless the call gives an init_value",
        "y[i] +=", "y"),
    Bug("barrier in a branch", "barrier_divergence", HEAD + """  threadgroup float shared[64];
  shared[t] = x[i];
  @
  y[i] = shared[t];
}
""", "if (t < 32) threadgroup_barrier(mem_flags::mem_threadgroup);",
        "threadgroup_barrier(mem_flags::mem_threadgroup);", "Every thread of a threadgroup", "if (t < 32)"),
    Bug("return before a barrier", "barrier_divergence", HEAD + """  threadgroup float shared[64];
  shared[t] = 0;
  @
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (i < 60) y[i] = shared[63 - t];
}
""", "if (i >= 60) return;", "", "has ended without reaching it", "threadgroup_barrier", output=60),
    Bug("two different barriers", "barrier_divergence", HEAD + """  threadgroup float shared[64];
  shared[t] = x[i];
  if (@) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
    y[i] = shared[t];
  } else {
    threadgroup_barrier(mem_flags::mem_threadgroup);
    y[i] = -shared[t];
  }
}
""", "t < 32", "group == 0", "waits at another one", "threadgroup_barrier"),
    Bug("SIMD-group sum in a branch", "simd_divergence", HEAD + """  float total = 0;
  @
  y[i] = total;
}
""", "if (lane < 16) total = simd_sum(x[i]);", "total = simd_sum(lane < 16 ? x[i] : 0.0f);",
        "simd_sum is called by lanes 0-15", "simd_sum"),
    Bug("two SIMD-group sums for one", "simd_divergence", HEAD + """  float total;
  if (@) total = simd_sum(x[i]);
  else
    total = simd_sum(2 * x[i]);
  y[i] = total;
}
""", "lane % 2", "group == 0", "Let all 32 lanes call it", "simd_sum(x[i])"),
    Bug("shuffle from a lane that has returned", "simd_inactive", HEAD + """  @
  float other = simd_shuffle_down(x[i], 1);
  y[i] = other;
}
""", "if (i >= 60) return;", "", "reads a lane that takes no part", "simd_shuffle_down"),
    Bug("matrix product with a lane missing", "simd_divergence", HEAD + """  @
  simdgroup_float8x8 a, b, c = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  simdgroup_load(a, x, 8);
  simdgroup_load(b, x, 8);
  simdgroup_multiply_accumulate(c, a, b, c);
  simdgroup_store(c, y, 8);
}
""", "if (lane == 31) return;", "", "without lanes 31", "simdgroup_multiply_accumulate", grid=(32, 1, 1),
        threadgroup=(32, 1, 1)),
    Bug("signed overflow", "undefined", HEAD + "  int big = 2147483500 + int(x[i]);\n  y[i] = big + @;\n}\n",
        "1000", "1000.0f", "signed overflow in an addition", "y[i] = big"),
    Bug("shift by the width", "undefined", HEAD + "  y[i] = 1u << @;\n}\n", "i", "(i & 31)", "shift by", "1u <<"),
    Bug("division by zero", "undefined", HEAD + "  y[i] = 100 / @;\n}\n", "(i - 1)", "(i + 1)",
        "integer division by zero", "100 /"),
    Bug("index outside a private array", "undefined", HEAD + """  float tile[4] = {1, 2, 3, 4};
  y[i] = tile[@];
}
""", "i % 5", "i % 4", "index outside an array", "y[i] = tile"),
    Bug("component outside a vector", "undefined", HEAD + """  float4 v = float4(x[i], 1, 2, 3);
  for (int k = 0; k @ 4; k++) y[i] = v[k];
}
""", "<=", "<", "component beyond the fourth", "v[k]"),
    Bug("too much threadgroup memory", "threadgroup_memory", HEAD + """  threadgroup float tile[@][64];
  tile[0][t] = x[i];
  y[i] = tile[0][t];
}
""", "129", "128", "33,024 bytes", "", buffer=None),
    Bug("too many threads", "too_many_threads", HEAD + "  y[i] = x[i];\n}\n", "", "", "1,024", "", grid=(2048, 1, 1),
        threadgroup=(2048, 1, 1), inputs=(2048,), output=2048),
    Bug("endless loop", "time_limit", HEAD + """  uint n = t;
  while (n < 100) {
    y[n % 64] = 1;
    n @;
  }
}
""", "= n % 7", "+= 1", "a loop that never ends", "", time_limit=1.0),
    Bug("wild pointer", "crash", HEAD + """  device float* p = (device float*)@;
  p[t] = x[i];
}
""", "(ulong(i) << 40)", "y", "memory that is not there", "p[t] ="),
    Bug("endless recursion", "stack_overflow", """#include <metal_stdlib>
using namespace metal;
static float depth(float x, device float* y) {
  float here[64];
  for (int k = 0; k < 64; k++) here[k] = x + k;
  float below = x > @ ? depth(x - 1, y) : 0.0f;
  y[0] = below;
  return below + here[int(x) & 63];
}
kernel void f(device const float* x [[buffer(0)]], device float* y [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  if (i == 0) y[1] = depth(x[i], y);
}
""", "-1e9f", "0.0f", "256 KiB of private memory", ""),
]
