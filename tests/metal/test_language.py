"""Every supported part of the language against NumPy, one kernel for many functions at a time."""


import mlx.core as mx
import numpy as np
import pytest

from course_lib.kernels.metal import MetalSyntaxError, UnsupportedMetal, metal_kernel

EPSILON = {mx.float32: 2.0**-23, mx.float16: 2.0**-10, mx.bfloat16: 2.0**-7}


def rows(name, expressions, inputs, dtype, n, setup="", header="", threads=None, **options):
    """A kernel that writes expression k of thread i to out[k, i]; returns the rows as NumPy arrays."""
    stores = "\n".join(f"    out[{k} * n + i] = {e};" for k, e in enumerate(expressions))
    source = f"    uint i = thread_position_in_grid.x, n = threads_per_grid.x;\n{setup}\n{stores}\n"
    names = [f"in{k}" for k in range(len(inputs))]
    kernel = metal_kernel(name, names, ["out"], source, header, device="emulator", **options)
    arrays = [a if isinstance(a, mx.array) else mx.array(a) for a in inputs]
    (out,) = kernel(
        inputs=arrays, output_shapes=[(len(expressions), n)], output_dtypes=[dtype], grid=(n, 1, 1),
        threadgroup=(threads or n, 1, 1), check=True,
    )  # fmt: skip
    return np.array(out.astype(mx.float32)) if mx.issubdtype(dtype, mx.floating) else np.array(out)


ONE = {  # on [-3, 3]
    "exp": np.exp, "exp2": np.exp2, "exp10": lambda x: 10.0**x, "sin": np.sin, "cos": np.cos, "tan": np.tan,
    "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "asinh": np.arcsinh, "floor": np.floor,
    "ceil": np.ceil, "rint": np.rint, "trunc": np.trunc, "fabs": np.abs, "abs": np.abs, "sign": np.sign,
    "fract": lambda x: x - np.floor(x), "saturate": lambda x: np.clip(x, 0, 1),
    "round": lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5), "sinpi": lambda x: np.sin(np.pi * x),
    "cospi": lambda x: np.cos(np.pi * x), "fast::exp": np.exp, "precise::sin": np.sin, "metal::exp": np.exp,
}  # fmt: skip
POSITIVE = {  # on [0.05, 0.95]
    "log": np.log, "log2": np.log2, "log10": np.log10, "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x),
    "asin": np.arcsin, "acos": np.arccos, "atanh": np.arctanh,
    "fast::log": np.log, "precise::rsqrt": lambda x: 1 / np.sqrt(x),
}  # fmt: skip
TWO = {
    "pow": np.power, "powr": np.power, "fmin": np.minimum, "fmax": np.maximum, "min": np.minimum, "max": np.maximum,
    "fmod": np.fmod, "atan2": np.arctan2, "copysign": np.copysign, "fdim": lambda x, y: np.maximum(x - y, 0),
    "step": lambda e, x: (x >= e).astype(float), "divide": np.divide,
}  # fmt: skip
THREE = {
    "fma": lambda x, y, z: x * y + z, "mix": lambda x, y, z: x + (y - x) * z, "clamp": lambda x, y, z: np.minimum(np.maximum(x, y), z),
    "max3": lambda x, y, z: np.maximum(x, np.maximum(y, z)), "min3": lambda x, y, z: np.minimum(x, np.minimum(y, z)),
    "median3": lambda x, y, z: np.median([x, y, z], axis=0),
    "smoothstep": lambda x, y, z: (t := np.clip((z - x) / (y - x), 0, 1)) * t * (3 - 2 * t),
}  # fmt: skip


def near(given, wanted, dtype, names):
    for row, want, name in zip(given, wanted, names, strict=True):
        tolerance = 6 * EPSILON[dtype] * np.maximum(np.abs(want), 1)
        worst = np.argmax(np.abs(row - want) - tolerance)
        assert abs(row[worst] - want[worst]) <= tolerance[worst], (name, row[worst], want[worst])


@pytest.mark.parametrize("dtype", EPSILON)
def test_math(rng, dtype):
    n = 64
    wide, unit, third = (
        mx.array(a.astype(np.float32)).astype(dtype)
        for a in (rng.uniform(-3, 3, n), rng.uniform(0.05, 0.95, n), rng.uniform(1.1, 2, n))
    )
    calls = [f"{f}(a)" for f in ONE] + [f"{f}(b)" for f in POSITIVE] + [f"{f}(b, c)" for f in TWO]
    calls += [f"{f}(b, c, d)" for f in THREE]
    kind = {mx.float32: "float", mx.float16: "half", mx.bfloat16: "bfloat"}[dtype]
    setup = f"    {kind} a = in0[i], b = in1[i], c = in2[i], d = {kind}(c + {kind}(0.5f));"
    given = rows(f"math_{kind}", calls, [wide, unit, third], dtype, n, setup)
    a, b, c = (np.array(x.astype(mx.float32), np.float64) for x in (wide, unit, third))
    d = np.array((third + mx.array(0.5, dtype)).astype(mx.float32), np.float64)
    wanted = [f(a) for f in ONE.values()] + [f(b) for f in POSITIVE.values()]
    wanted += [f(b, c) for f in TWO.values()] + [f(b, c, d) for f in THREE.values()]
    near(given, wanted, dtype, calls)


def test_special_values():
    tests = ["isnan(x)", "isinf(x)", "isfinite(x)", "signbit(x)", "isnormal(x)", "exp(-INFINITY) == 0", "max(x, 0.0f) == 0",
             "NAN != NAN", "fabs(tanpi(0.25f) - 1) < 1e-6f", "FLT_MAX < INFINITY", "numeric_limits<float>::lowest() == -FLT_MAX"]  # fmt: skip
    x = np.array([0.0, -1.0, np.inf, np.nan], np.float32)
    given = rows("special", tests, [x], mx.int32, 4, "    float x = in0[i];")
    wanted = [np.isnan(x), np.isinf(x), np.isfinite(x), np.signbit(x), np.isfinite(x) & (x != 0), [1] * 4,
              [1, 1, 0, 1], [1] * 4, [1] * 4, [1] * 4, [1] * 4]  # fmt: skip
    assert np.array_equal(given, np.array(wanted, np.int32))


def test_integers(rng):
    a = rng.integers(1, 2**32, 64, dtype=np.uint32)
    b = rng.integers(1, 2**32, 64, dtype=np.uint32)
    wide_a, wide_b = a.astype(np.uint64), b.astype(np.uint64)
    cases = {
        "popcount(a)": [bin(v).count("1") for v in a], "clz(a)": [32 - int(v).bit_length() for v in a],
        "ctz(a)": [(int(v) & -int(v)).bit_length() - 1 for v in a], "clz(0u)": [32] * 64, "ctz(0u)": [32] * 64,
        "mulhi(a, b)": wide_a * wide_b >> np.uint64(32), "reverse_bits(a)": [int(f"{v:032b}"[::-1], 2) for v in a],
        "extract_bits(a, 5, 9)": a >> 5 & 0x1FF, "insert_bits(a, b, 8, 4)": (a & ~np.uint32(0xF00)) | (b & 15) << 8,
        "rotate(a, 7u)": a << 7 | a >> 25, "addsat(a, b)": np.minimum(wide_a + wide_b, 2**32 - 1),
        "subsat(a, b)": np.where(a > b, a - b, 0), "absdiff(a, b)": np.maximum(a, b) - np.minimum(a, b),
        "hadd(a, b)": wide_a + wide_b >> np.uint64(1), "rhadd(a, b)": wide_a + wide_b + np.uint64(1) >> np.uint64(1),
        "min(a, b)": np.minimum(a, b), "clamp(a, 5u, 9u)": np.clip(a, 5, 9), "a / b": a // b, "a % b": a % b,
        "uint(extract_bits(int(0xF0), 4, 4))": [2**32 - 1] * 64, "uint(abs(int(-7)))": [7] * 64,
        "uint(as_type<uint>(1.0f))": [0x3F800000] * 64, "uint(uchar(a))": a & 255, "uint(short(-2))": [2**32 - 2] * 64,
        "uint(select(3, 4, a > b))": np.where(a > b, 4, 3), "uint(sizeof(half4) + sizeof(float3))": [24] * 64,
    }  # fmt: skip
    given = rows("integers", list(cases), [a, b], mx.uint32, 64, "    uint a = in0[i], b = in1[i];")
    for row, (call, wanted) in zip(given, cases.items(), strict=True):
        assert np.array_equal(row, np.array(wanted).astype(np.uint32)), call


def test_vectors(rng):
    x = rng.uniform(-2, 2, (8, 4)).astype(np.float32)
    setup = """    float4 v = ((const device float4*)in0)[i], w = v.wzyx, s = v, u = v, c = v;
    s.xy = s.yx * 2; s.zw += float2(1, 2); u.x = 5; c[2] = -c[2];
    float3 t = v.xyz; half4 h = half4(v); int4 k = int4(v * 100.0f); uint2 g = uint2(7, 9) >> 1u; float2 p = {1, 2};
    bool4 positive = v > 0; packed_float3 packed = t; float4 mixed = float4(p, v.xy); uchar4 bytes = as_type<uchar4>(0x04030201u);"""
    cases = {
        "dot(v, w)": (x * x[:, ::-1]).sum(1), "length(t)": np.linalg.norm(x[:, :3], axis=1), "s.x": 2 * x[:, 1],
        "s.y": 2 * x[:, 0], "s.z": x[:, 2] + 1, "s.w": x[:, 3] + 2, "u.x + u.y": 5 + x[:, 1], "c.z": -x[:, 2],
        "cross(t, t.yzx).x": x[:, 1] * x[:, 0] - x[:, 2] * x[:, 2], "float(h.y)": x[:, 1].astype(np.float16),
        "float(k.w)": np.trunc(x[:, 3] * np.float32(100)), "float(g.x * 10 + g.y)": [34] * 8, "mixed.y + mixed.z": 2 + x[:, 0],
        "float(any(positive))": (x > 0).any(1), "float(all(positive))": (x > 0).all(1),
        "select(v, w, positive).x": np.where(x[:, 0] > 0, x[:, 3], x[:, 0]), "max(v, 0.5f).z": np.maximum(x[:, 2], 0.5),
        "(v * 2 - w / 2).x": 2 * x[:, 0] - x[:, 3] / 2, "normalize(v).x": x[:, 0] / np.linalg.norm(x, axis=1),
        "packed[1]": x[:, 1], "float(bytes.z)": [3] * 8, "exp(v).y": np.exp(x[:, 1]), "fma(v, v, w).x": x[:, 0] ** 2 + x[:, 3],
        "(-v).x": -x[:, 0], "clamp(v, 0.0f, 1.0f).w": np.clip(x[:, 3], 0, 1), "distance(v, w)": np.linalg.norm(x - x[:, ::-1], axis=1),
        "float((uint4(1, 2, 3, 4) & 1u).z)": [1] * 8, "v.rgb.y": x[:, 1], "float3(1).y + vec<float, 2>(3).x": [4] * 8,
    }  # fmt: skip
    given = rows("vectors", list(cases), [x], mx.float32, 8, setup)
    for row, (call, wanted) in zip(given, cases.items(), strict=True):
        np.testing.assert_allclose(row, np.array(wanted, np.float32), rtol=1e-5, atol=1e-6, err_msg=call)


def test_simdgroup_functions(rng):
    x = rng.integers(1, 5, 64).astype(np.float32)
    two = x.reshape(2, 32)
    lane = np.arange(32)
    each = lambda row: np.broadcast_to(np.asarray(row).reshape(2, -1), (2, 32)).reshape(-1)  # noqa: E731
    quads = x.reshape(16, 4)
    with np.errstate(over="ignore"):
        product = two.prod(1)
    cases = {
        "simd_sum(x)": each(two.sum(1)), "simd_max(x)": each(two.max(1)), "simd_min(x)": each(two.min(1)),
        "simd_product(x)": each(product), "float(simd_sum(uint(x)))": each(two.sum(1)),
        "float(simd_or(uint(x)))": each(np.bitwise_or.reduce(two.astype(int), axis=1)),
        "float(simd_and(uint(x)))": each(np.bitwise_and.reduce(two.astype(int), axis=1)),
        "float(simd_xor(uint(x)))": each(np.bitwise_xor.reduce(two.astype(int), axis=1)),
        "simd_prefix_inclusive_sum(x)": each(two.cumsum(1)), "simd_prefix_exclusive_sum(x)": each(two.cumsum(1) - two),
        "simd_prefix_inclusive_product(x)": each(two.cumprod(1)),
        "simd_shuffle(x, 5)": each(two[:, 5]), "simd_shuffle_xor(x, 3)": each(two[:, lane ^ 3]),
        "simd_shuffle_down(x, 2)": each(two[:, np.where(lane + 2 < 32, lane + 2, lane)]),
        "simd_shuffle_up(x, 2)": each(two[:, np.where(lane >= 2, lane - 2, lane)]),
        "simd_shuffle_rotate_down(x, 2)": each(np.roll(two, -2, 1)),
        "simd_shuffle_rotate_up(x, 2)": each(np.roll(two, 2, 1)),
        "simd_shuffle_and_fill_down(x, -x, 2)": each(np.concatenate([two[:, 2:], -two[:, :2]], 1)),
        "simd_shuffle_and_fill_up(x, -x, 2)": each(np.concatenate([-two[:, -2:], two[:, :-2]], 1)),
        "simd_broadcast(x, 31)": each(two[:, 31]), "simd_broadcast_first(x)": each(two[:, 0]),
        "float(simd_all(x > 0))": each([1, 1]), "float(simd_any(x > 3.5f))": each((two > 3.5).any(1)),
        "float(popcount(uint(ulong(simd_ballot(x > 2)))))": each((two > 2).sum(1)),
        "float(simd_is_first())": each(np.stack([lane == 0] * 2)),
        "quad_sum(x)": np.repeat(quads.sum(1), 4), "quad_max(x)": np.repeat(quads.max(1), 4),
        "quad_broadcast(x, 2)": np.repeat(quads[:, 2], 4), "quad_shuffle_xor(x, 1)": quads[:, [1, 0, 3, 2]].reshape(-1),
        "simd_sum(float2(x, 1)).y": each([32, 32]), "float(simd_sum(half(x)))": each(two.sum(1)),
        "float(simd_max(bfloat(x)))": each(two.max(1)),
    }  # fmt: skip
    given = rows("simdgroup", list(cases), [x], mx.float32, 64, "    float x = in0[i];")
    for row, (call, wanted) in zip(given, cases.items(), strict=True):
        np.testing.assert_allclose(row, wanted.astype(np.float32), rtol=1e-6, err_msg=call)


@pytest.mark.parametrize("kind", ["float", "half", "bfloat"])
def test_simdgroup_matrices(rng, kind):
    dtype = {"float": mx.float32, "half": mx.float16, "bfloat": mx.bfloat16}[kind]
    a, b = (mx.array(rng.integers(-3, 4, (8, 8)).astype(np.float32)).astype(dtype) for _ in range(2))
    source = """
        simdgroup_matrix<T, 8, 8> x, y, turned; simdgroup_float8x8 c(2.0f), d = make_filled_simdgroup_matrix<float, 8, 8>(1.0f);
        simdgroup_load(x, a, 8); simdgroup_load(y, b); simdgroup_load(turned, b, 8, ulong2(0, 0), true);
        simdgroup_multiply_accumulate(d, x, y, d);
        simdgroup_store(d, out, 8);
        simdgroup_multiply(d, x, turned); simdgroup_store(d, out + 64, 8);
        simdgroup_store(c, out + 128, 8); simdgroup_store(d, out + 192, 8, ulong2(0, 0), true);
        d.thread_elements() *= 2.0f; simdgroup_store(d, out + 256, 8);"""
    kernel = metal_kernel("matrices", ["a", "b"], ["out"], source, device="emulator")
    (out,) = kernel(inputs=[a, b], template=[("T", dtype)], grid=(32, 1, 1), threadgroup=(32, 1, 1),
                    output_shapes=[(5, 8, 8)], output_dtypes=[mx.float32], check=True)  # fmt: skip
    a, b = (np.array(m.astype(mx.float32)) for m in (a, b))
    assert np.array_equal(np.array(out), [a @ b + 1, a @ b.T, 2 * np.eye(8), (a @ b.T).T, 2 * a @ b.T])


def test_atomics():
    source = """
        uint i = thread_position_in_grid.x;
        atomic_fetch_add_explicit(&n[0], 1, memory_order_relaxed);
        atomic_fetch_max_explicit(&n[1], int(i), memory_order_relaxed);
        atomic_fetch_min_explicit(&n[2], -int(i), memory_order_relaxed);
        atomic_fetch_or_explicit(&n[3], 1 << (i % 31), memory_order_relaxed);
        atomic_fetch_sub_explicit(&n[4], 2, memory_order_relaxed);
        atomic_fetch_xor_explicit(&n[5], 1, memory_order_relaxed);
        int expected = 0;
        if (atomic_compare_exchange_weak_explicit(&n[6], &expected, int(i) + 1, memory_order_relaxed, memory_order_relaxed))
          atomic_store_explicit(&n[7], int(i) + 1, memory_order_relaxed);
        threadgroup atomic_uint shared;
        if (i == 0) atomic_store_explicit(&shared, 0u, memory_order_relaxed);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        atomic_fetch_add_explicit(&shared, i, memory_order_relaxed);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        if (i == 0) atomic_exchange_explicit(&n[8], int(atomic_load_explicit(&shared, memory_order_relaxed)), memory_order_relaxed);"""
    kernel = metal_kernel("atomics", [], ["n"], source, atomic_outputs=True, device="emulator")
    for order in ("forward", "reverse", "shuffle"):
        (n,) = kernel(inputs=[], output_shapes=[(9,)], output_dtypes=[mx.int32], grid=(64, 1, 1), threadgroup=(64, 1, 1),
                      init_value=0, order=order, check=True)  # fmt: skip
        n = n.tolist()
        assert n[:6] == [64, 63, -63, 2**31 - 1, -128, 0] and n[6] == n[7] != 0 and n[8] == 2016


def test_half_and_bfloat_round_after_each_operation():
    """1 + 2^-10 squared is not a half, nor 1 + 2^-7 squared a bfloat."""
    header = "template <typename T> T f(T a) { return a * a - T(1.0f); }"
    setup = "    half h = half(1.0009765625f); bfloat b = bfloat(1.0078125f); auto promoted = h * 1.0f; auto kept = b * 2;"
    cases = ["float(f(h))", "float(f(b))", "float(sizeof(promoted))", "float(sizeof(kept))", "float(true ? h : 2.0f)",
             "float(b += 1)", "float(half(2049.0f))", "float(bfloat(257.0f))", "float(bfloat(259.0f))", "1.5h + 0", "float(1.5bf)"]  # fmt: skip
    given = rows("rounding", cases, [], mx.float32, 1, setup, header)[:, 0]
    assert given.tolist() == [2.0**-9, 2.0**-6, 4, 2, 1.0009765625, 2.0, 2048, 256, 260, 1.5, 1.5]


def test_attributes():
    names = {
        "thread_position_in_grid": lambda p, t, g: p, "thread_position_in_threadgroup": lambda p, t, g: t,
        "threadgroup_position_in_grid": lambda p, t, g: g,
    }  # fmt: skip
    grid, group = (5, 4, 3), (2, 4, 1)  # x is ragged
    lines = "\n".join(f"        out[at + {k}] = {name}.{c};" for k, (name, c) in
                      enumerate((name, c) for name in names for c in "xyz"))  # fmt: skip
    more = ["thread_index_in_threadgroup", "threads_per_threadgroup.x", "threadgroups_per_grid.x", "threads_per_grid.y",
            "simdgroups_per_threadgroup", "threads_per_simdgroup", "thread_index_in_simdgroup",
            "dispatch_threads_per_threadgroup.x", "simdgroup_index_in_threadgroup", "quadgroup_index_in_threadgroup"]  # fmt: skip
    lines += "\n".join(f"\n        out[at + {9 + k}] = {name};" for k, name in enumerate(more))
    source = f"""
        uint at = ((thread_position_in_grid.z * 4 + thread_position_in_grid.y) * 5 + thread_position_in_grid.x) * {9 + len(more)};
{lines}"""
    kernel = metal_kernel("attributes", [], ["out"], source, device="emulator")
    (out,) = kernel(inputs=[], output_shapes=[(3, 4, 5, 9 + len(more))], output_dtypes=[mx.uint32], grid=grid,
                    threadgroup=group, check=True)  # fmt: skip
    out = np.array(out)
    for z, y, x in np.ndindex(3, 4, 5):
        width = 1 if x == 4 else 2
        index = y * width + x % 2
        wanted = [x, y, z, x % 2, y, 0, x // 2, 0, z, index, width, 3, 4, 1, 32, index, 2, 0, index // 4]
        assert out[z, y, x].tolist() == wanted, (x, y, z)


def test_what_templates_macros_and_structs_do():
    header = """
    #define TWICE(x) ((x) + (x))
    #if __METAL_VERSION__ >= 300
    constant float table[3] = {1.0, 2.5, 4.0};
    #endif
    template <typename T, int N> struct Sum {
      T values[N];
      Sum(T first) { for (int k = 0; k < N; k++) values[k] = first + T(k); }
      T total() const thread { T t = 0; for (int k = 0; k < N; k++) t += values[k]; return t; }
    };
    template <typename U> U load(const device U* p, uint i) { return p[i]; }
    template <typename U> U load(const threadgroup U* p, uint i) { return p[i]; }
    template <typename U> U load(const thread U* p, uint i) { return p[i]; }
    inline void add_to(thread float& x, constant float& y) { x += y; }
    enum Kind : ushort { SMALL = 1, LARGE = 2 };
    """
    setup = """    threadgroup float shared[2], other;
    shared[i] = load(in0, i); if (i == 0) other = 3; threadgroup_barrier(mem_flags::mem_threadgroup);
    float mine[2] = {1, 2}; float x = 0; add_to(x, table[1]);
    auto lambda = [&](float y) { return y + x; };
    Sum<float, 4> sum(2.0f); Kind kind = LARGE;"""
    cases = ["TWICE(table[2])", "sum.total()", "load(shared, 1 - i) + load(mine, i)", "lambda(1)", "float(kind) + other", "1e-1 + .5"]
    given = rows("shapes", cases, [np.array([10, 20] + [0] * 6, np.float32)], mx.float32, 2, setup, header)
    np.testing.assert_allclose(given, [[8, 8], [14, 14], [21, 12], [3.5, 3.5], [5, 5], [0.6, 0.6]], rtol=1e-6)


def test_mlx_utilities_are_there(rng):
    x = rng.standard_normal((4, 6)).astype(np.float32)
    kernel = metal_kernel(
        "strided", ["inp"], ["out"], """
        uint elem = thread_position_in_grid.x;
        uint loc = elem_to_loc(elem, inp_shape, inp_strides, inp_ndim);
        out[elem] = inp[loc] + ceildiv(3, 2) + (Limits<float>::max > 0 ? 0 : 1);
        """, ensure_row_contiguous=False, device="emulator",
    )  # fmt: skip
    view = mx.array(x).T
    (out,) = kernel(inputs=[view], output_shapes=[view.shape], output_dtypes=[mx.float32], grid=(24, 1, 1),
                    threadgroup=(24, 1, 1), check=True)  # fmt: skip
    assert np.array_equal(np.array(out), x.T + 2)


@pytest.mark.parametrize("source, names", [
    ("texture2d<float> t;", "textures"), ("double x = 1;", "double"), ("float4x4 m;", "float4x4"),
    ("simdgroup_event e;", "asynchronous"), ("os_log(1);", "logging"), ("float* p = new float;", "new"),
    ("asm(\"\");", "assembly"), ("atomic_thread_fence(mem_flags::mem_device);", "fences"),
])  # fmt: skip
def test_what_is_not_supported_is_named(source, names):
    kernel = metal_kernel("unsupported", [], ["out"], f"out[0] = 1;\n{source}", device="emulator")
    with pytest.raises(UnsupportedMetal, match=names) as error:
        kernel(inputs=[], output_shapes=[(1,)], output_dtypes=[mx.float32], grid=(1, 1, 1), threadgroup=(1, 1, 1))
    assert "unsupported.metal:2:" in str(error.value)


@pytest.mark.parametrize("line, says, caret", [
    ("float b = a +;", "expected primary-expression|expected expression", ";"),
    ("float b = unknown(a);", "(?s)unknown.*misspelt", "unknown"),
    ("float b = max(a, 1);", "ambiguous", None),
    ("bfloat b = a;", "(?s)bfloat", None),
    ("int2 b = simd_summ(a);", "(?s)simd_summ.*not supported here", "simd_summ"),
    ("float b = (a;", "is not closed", "("),
    ("if (a > 1) { a = 2; ", "closed", None),
    ("threadgroup float s = a;", "cannot be initialised", "s ="),
    ("threadgroup float s[8] = {0}, t;", "cannot be initialised", "s["),
    ("threadgroup float s[8], t = 0;", "cannot be initialised", "t ="),
])  # fmt: skip
def test_a_compile_error_shows_the_line_and_a_caret(line, says, caret):
    source = f"  uint i = thread_position_in_grid.x;\n  float a = in0[i]; // a comment\n  {line}\n  out[i] = a;\n"
    kernel = metal_kernel("broken", ["in0"], ["out"], source, device="emulator")
    with pytest.raises(MetalSyntaxError, match=says) as error:
        kernel(inputs=[mx.zeros(8)], output_shapes=[(8,)], output_dtypes=[mx.float32], grid=(8, 1, 1),
               threadgroup=(8, 1, 1))  # fmt: skip
    if caret:
        shown = str(error.value).splitlines()
        assert shown[0].startswith("broken.metal:3:"), shown
        at = next(k for k, text in enumerate(shown) if text.startswith("    3 |"))
        assert shown[at + 1].index("^") == shown[at].index(caret), "\n".join(shown)


@pytest.mark.parametrize("line, caret", [
    ("float b   =   TWICE(a)   + unknown;", "unknown"), ("float b = TWICE(a) + TWICE(a) + a.q;", "q"),
    ("BROKEN(a);", "BROKEN"),
])  # fmt: skip
def test_the_caret_is_right_after_macros_too(line, caret):
    header = "#define TWICE(x) ((x) + (x))\n#define BROKEN(x) float b = nowhere(x)\n"
    source = f"  float a = in0[0];\n  {line}\n  out[0] = a;\n"
    kernel = metal_kernel("macros", ["in0"], ["out"], source, header, device="emulator")
    with pytest.raises(MetalSyntaxError, match=r"macros.metal:2:") as error:
        kernel(inputs=[mx.zeros(8)], output_shapes=[(8,)], output_dtypes=[mx.float32], grid=(1, 1, 1),
               threadgroup=(1, 1, 1))  # fmt: skip
    shown = str(error.value).splitlines()
    at = next(k for k, text in enumerate(shown) if text.startswith("    2 |"))
    assert shown[at + 1].index("^") == shown[at].index(caret), "\n".join(shown)


def test_math_mode_is_validated():
    metal_kernel("fine", [], ["out"], "", compile_options={"math_mode": "fast"})
    with pytest.raises(ValueError, match="math_mode: safe"):
        metal_kernel("bad", [], ["out"], "", compile_options={"math_mode": "quick"})
