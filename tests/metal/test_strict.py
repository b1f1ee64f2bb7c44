"""Strict mode rejects what Metal would, at its line, and lets pass what is right."""

from importlib.util import find_spec

import mlx.core as mx
import pytest
from kernels.tools import without
from metal.seeded_bugs import BUGS

from course_lib.kernels.metal import MetalSyntaxError, load_metal, metal_kernel


@pytest.fixture(autouse=True)
def clang():
    if find_spec("ziglang") is None:
        without("ziglang is not installed; pip install ziglang")


FILE = """#include <metal_stdlib>
using namespace metal;
struct Pair { float a, b; float sum() const { return a + b; } void clear() { a = b = 0; } };
@HELPER
kernel void f(device const float* x [[buffer(0)]], device float* y [[buffer(1)]], constant uint& n [[buffer(2)]],
              uint i [[thread_position_in_grid]], ushort lane [[thread_index_in_simdgroup]]) {
  threadgroup float shared[32];
  shared[lane] = x[i];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  @BODY
  y[i] = shared[lane] + n;
}
"""
CALL = {"output_shapes": [(32,)], "output_dtypes": [mx.float32], "grid": (32, 1, 1), "threadgroup": (32, 1, 1)}


def run(tmp_path, helper="", body="", **options):
    path = tmp_path / "f.metal"
    path.write_text(FILE.replace("@HELPER", helper).replace("@BODY", body))
    kernel = load_metal(path, "f", device="emulator")
    return kernel(inputs=[mx.zeros(32), 3], **CALL, strict=True, **options)


WRONG = [
    ("a pointer without an address space", "float first(float* p) { return p[0]; }", "", "no address space", 4),
    ("a reference without one", "void add(float& a) { a += 1; }", "", "no address space", 4),
    ("a local pointer without one", "", "float* p = (float*)0;", "no address space", 10),
    ("device assigned to threadgroup", "", "threadgroup const float* p = x; y[0] = p[0];", "cannot initialize.*device const|device", 10),
    ("threadgroup passed as device", "float first(device const float* p) { return p[0]; }", "y[0] = first(shared);",
     "no matching function|address space", 10),
    ("thread passed as threadgroup", "float first(threadgroup float* p) { return p[0]; }",
     "float mine[2] = {1, 2}; y[0] = first(mine);", "no matching function|address space", 10),
    ("float to bfloat", "", "bfloat b = x[0]; y[0] = b;", "bfloat", 10),
    ("double", "", "double d = 1; y[0] = float(d);", "double", 10),
    ("recursion", "float f1(float v) { return v < 1 ? v : f1(v - 1); }", "y[0] = f1(3);", "calls itself", 4),
    ("recursion of two", "float g(float v);\nfloat f1(float v) { return v < 1 ? v : g(v); }\nfloat g(float v) { return f1(v - 1); }",
     "y[0] = f1(3);", "calls itself", None),
    ("threadgroup variable in a helper", "float h(uint i) { threadgroup float t[4]; t[i] = 0; return t[i]; }",
     "y[0] = h(0);", "in a kernel only", 4),
    ("writing to constant memory", "", "n = 4;", "read-only|const|assign", 10),
    ("writing to a const buffer", "", "x[0] = 1;", "read-only|const|assign", 10),
    ("a global that is not constant", "float table[2] = {1, 2};", "y[0] = table[0];", "constant", 4),
    ("a member of a device object", "", "y[0] = ((device Pair*)y)->sum();", "object parameter|address space", 10),
    ("a device array as a mutable thread pointer", "", "thread float* p = (thread float*)y; p[0] = 1;", "address space", 10),
    ("mixed arguments", "", "y[0] = max(x[0], 1);", "ambiguous", 10),
    ("a new", "", "device float* p = new float[3];", "new", 10),
]  # fmt: skip


@pytest.mark.parametrize("name, helper, body, says, line", WRONG, ids=[w[0] for w in WRONG])
def test_what_metal_rejects_is_rejected(name, helper, body, says, line, tmp_path):
    with pytest.raises(MetalSyntaxError, match=says) as error:
        run(tmp_path, helper, body)
    if line:
        assert f"f.metal:{line}:" in str(error.value)
        assert "^" in str(error.value)


RIGHT = [
    ("nothing", "", ""),
    ("atomics by their short names", "void add(threadgroup atomic_uint* n) { atomic_fetch_add_explicit(n, 1u, memory_order_relaxed); }",
     "threadgroup atomic_uint c[2]; threadgroup metal::atomic_int m; atomic_store_explicit(&m, 1, memory_order_relaxed); add(&c[lane & 1]);"),
    ("address spaces named", "float first(device const float* p, threadgroup float& t) { return p[0] + t; }",
     "y[0] = first(x, shared[1]);"),
    ("members of a thread object", "", "Pair p = {1, 2}; p.clear(); y[0] = p.sum();"),
    ("a table in constant memory", "constant float table[2] = {1.0, 2.0};", "y[0] = table[1];"),
    ("vectors", "", "float4 v = float4(1, x[0], 2, 3); v.xy = v.yx; half2 h = half2(v.xy); y[0] = dot(v, v.wzyx) + h.x + v[2];"),
    ("templates", "template <typename T, int N> T total(device const T* p) { T t = 0; for (int k = 0; k < N; k++) t += p[k]; return t; }",
     "y[0] = total<float, 4>(x);"),
    ("a template's recursion", "template <int N> float fold(float v) { if constexpr (N > 0) return fold<N - 1>(v) + 1; else return v; }",
     "y[0] = fold<4>(x[0]);"),
    ("matrices and SIMD-group functions", "", "simdgroup_float8x8 m; simdgroup_load(m, x, 8); simdgroup_store(m, y, 8); "
     "y[0] = simd_sum(x[0]) + simd_shuffle_xor(x[1], 3);"),
    ("bfloat on request", "", "bfloat b = bfloat(x[0]); b = b + bfloat(1.0f); y[0] = b;"),
    ("pointers cast within a space", "", "device const uchar* p = (device const uchar*)x; y[0] = p[3]; auto q = x + 1; y[1] = *q;"),
    ("overloads by address space", "float at(device const float* p) { return p[0]; }\nfloat at(threadgroup const float* p) { return p[0]; }",
     "y[0] = at(x) + at(shared);"),
    ("products that look like pointers", "", "float a = x[0]; float b = a * x[1]; y[0] = b * a;"),
]  # fmt: skip


@pytest.mark.parametrize("name, helper, body", RIGHT, ids=[r[0] for r in RIGHT])
def test_what_is_right_passes(name, helper, body, tmp_path):
    run(tmp_path, helper, body)


def test_the_seeded_bugs_are_right_to_a_compiler(tmp_path):
    """What is wrong with them shows only when they run."""
    for bug in BUGS[:20:3]:
        path = tmp_path / "bug.metal"
        path.write_text(bug.source.replace("@", bug.right))
        load_metal(path, "f", device="emulator")(
            inputs=[mx.arange(n).astype(mx.float32) for n in bug.inputs], output_shapes=[(bug.output,)],
            output_dtypes=[mx.float32], grid=bug.grid, threadgroup=bug.threadgroup, init_value=bug.init_value, strict=True,
        )  # fmt: skip


def test_generated_signatures_pass():
    kernel = metal_kernel("sum", ["a", "b", "s"], ["out"],
                          "uint i = thread_position_in_grid.x; out[i] = a[elem_to_loc(i, a_shape, a_strides, a_ndim)] + b[0] * s;",
                          ensure_row_contiguous=False, device="emulator")  # fmt: skip
    kernel(inputs=[mx.zeros((4, 4)), mx.ones(2), 2.0], output_shapes=[(16,)], output_dtypes=[mx.float32], grid=(16, 1, 1),
           threadgroup=(16, 1, 1), strict=True)  # fmt: skip
