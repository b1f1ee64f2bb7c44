"""Real .metal files: full signatures, several kernels, templates, includes."""

from importlib.util import find_spec

import mlx.core as mx
import numpy as np
import pytest

from course_lib.kernels.metal import MetalSyntaxError, UnsupportedMetal, kernels_in, load_metal

SHARED = """#pragma once
#define SCALE 2.0f
inline float scaled(float x) { return SCALE * x; }
"""
FILE = """#include <metal_stdlib>
#include "shared.h"
#include "shared.h"
using namespace metal;

struct Params { uint n; float add; };

template <typename T, int TIMES>
[[kernel, max_total_threads_per_threadgroup(64)]] void scale(
    device const T* x [[buffer(3)]], device T* y [[buffer(0)]], constant float& factor [[buffer(1)]],
    constant uint& n [[buffer(2)]], ushort2 at [[thread_position_in_grid]], uint2 size [[threads_per_grid]]) {
  const uint i = at.y * size.x + at.x;
  if (i < n) y[i] = T(scaled(x[i]) * factor * TIMES);
}
template [[host_name("scale_f32_3")]] [[kernel]] void scale<float, 3>(
    device const float*, device float*, constant float&, constant uint&, ushort2, uint2);
template [[host_name("scale_f16")]] [[kernel]] decltype(scale<half, 1>) scale<half, 1>;

// Buffers without indices are numbered in order; an attribute may keep its name.
kernel void offset(device const float* x, constant Params& params, device float* y,
                   uint thread_position_in_grid [[thread_position_in_grid]],
                   uint3 threadgroup_position_in_grid [[threadgroup_position_in_grid]]) {
  uint i = thread_position_in_grid + 0 * threadgroup_position_in_grid.x;
  if (i < params.n) y[i] = x[i] + params.add;
}

[[host_name("bytes")]] kernel void read_bytes(const device uchar* w [[buffer(0)]], device uint* y [[buffer(1)]],
                                              uint3 i [[thread_position_in_grid]]) {
  y[i.x] = w[i.x];
}
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "shared.h").write_text(SHARED)
    path = tmp_path / "kernels.metal"
    path.write_text(FILE)
    return path


def test_kernels_are_listed(file):
    assert kernels_in(file) == ["offset", "bytes", "scale_f32_3", "scale_f16", "scale"]


def test_a_template_takes_its_arguments_from_the_call(file):
    x = mx.random.normal((4, 5)).astype(mx.float16)
    call = {"inputs": [0.5, 19, x], "output_shapes": [(4, 5)], "output_dtypes": [mx.float16], "grid": (5, 4, 1),
            "threadgroup": (5, 2, 1)}  # fmt: skip
    kernel = load_metal(file, "scale", device="emulator")
    assert kernel.input_names == ("factor", "n", "x") and kernel.output_names == ("y",)
    (y,) = kernel(**call, template=[("T", mx.float16), ("TIMES", 2)], init_value=0, check=True)
    wanted = np.array(x, np.float32) * 2
    wanted[3, 4] = 0
    np.testing.assert_allclose(np.array(y, np.float32), wanted, rtol=2e-3)
    with pytest.raises(ValueError, match="template needs T"):
        kernel(**call)


@pytest.mark.parametrize("name, dtype, times", [("scale_f32_3", mx.float32, 3), ("scale_f16", mx.float16, 1)])
def test_an_instantiation_has_them_in_the_file(file, name, dtype, times):
    x = mx.arange(20).astype(dtype)
    (y,) = load_metal(file, name, device="emulator")(
        inputs=[1, 20, x], output_shapes=[(20,)], output_dtypes=[dtype], grid=(20, 1, 1), threadgroup=(20, 1, 1), check=True
    )
    assert mx.array_equal(y, x * 2 * times)


def test_structs_small_buffers_and_kept_names(file):
    params = mx.array(np.concatenate([np.array([4], np.uint32), np.array([10], np.float32).view(np.uint32)]))
    kernel = load_metal(file, "offset", device="emulator")
    (y,) = kernel(inputs=[mx.arange(5).astype(mx.float32), params], output_shapes=[(5,)], output_dtypes=[mx.float32],
                  grid=(5, 1, 1), threadgroup=(5, 1, 1), init_value=-1, check=True)  # fmt: skip
    assert y.tolist() == [10, 11, 12, 13, -1]


def test_a_small_device_buffer_keeps_its_end(file):
    """MLX would put it in constant memory, so on a GPU it is padded; the emulator still knows where it ends."""
    seen = load_metal(file, "offset", device="emulator").inspect(
        inputs=[mx.zeros(3), mx.array([9, 0], dtype=mx.uint32)], output_shapes=[(5,)], output_dtypes=[mx.float32],
        grid=(5, 1, 1), threadgroup=(5, 1, 1),
    )  # fmt: skip
    assert [(f.kind, f.buffer, f.index) for f in seen.findings] == [("out_of_bounds", "x", 3)]


def test_bytes_of_wider_integers(file):
    (y,) = load_metal(file, "bytes", device="emulator")(
        inputs=[mx.array([0x04030201], dtype=mx.uint32)], output_shapes=[(4,)], output_dtypes=[mx.uint32], grid=(4, 1, 1),
        threadgroup=(4, 1, 1), check=True,
    )  # fmt: skip
    assert y.tolist() == [1, 2, 3, 4]


def test_scalars_take_the_type_of_the_file(file):
    source = load_metal(file, "scale_f16", device="emulator").source(
        inputs=[mx.array(2, dtype=mx.int64), 20, mx.zeros(3, mx.float16)], output_shapes=[(20,)], output_dtypes=[mx.float16],
        grid=(20, 1, 1), threadgroup=(20, 1, 1),
    )  # fmt: skip
    assert "const constant float& factor_in [[buffer(0)]]" in source
    assert "const constant uint32_t& n_in [[buffer(1)]]" in source
    assert "const device float16_t* x_in [[buffer(2)]]" in source  # although it is small


@pytest.mark.parametrize("parameters, says", [
    ("threadgroup float* t [[threadgroup(0)]], device float* y", "threadgroup memory as an argument, `t`"),
    ("device float* y, texture2d<float> t [[texture(0)]]", r"\[\[texture\]\]"),
    ("device float* y, float4 c [[stage_in]]", r"\[\[stage_in\]\]"),
    ("device float** y", "no plain pointer"),
])  # fmt: skip
def test_what_mlx_cannot_pass_is_refused_by_name(tmp_path, parameters, says):
    path = tmp_path / "f.metal"
    path.write_text(f"kernel void f({parameters}) {{ y[0] = 1; }}\n")
    with pytest.raises(UnsupportedMetal, match=says) as error:
        load_metal(path, "f")
    assert "f.metal:1:" in str(error.value)


def test_function_constants_are_refused(tmp_path):
    path = tmp_path / "f.metal"
    path.write_text("constant bool causal [[function_constant(0)]];\nkernel void f(device float* y) { y[0] = causal; }\n")
    with pytest.raises(UnsupportedMetal, match="function constants"):
        load_metal(path, "f")


def test_a_buffer_that_is_read_and_written_is_an_output(tmp_path):
    """MLX cannot hand a kernel an array to update: the call says so by what it takes."""
    path = tmp_path / "f.metal"
    path.write_text("kernel void f(device float* y, uint i [[thread_position_in_grid]]) { y[i] += 1; }\n")
    kernel = load_metal(path, "f", device="emulator")
    call = {"output_shapes": [(4,)], "output_dtypes": [mx.float32], "grid": (4, 1, 1), "threadgroup": (4, 1, 1)}
    with pytest.raises(ValueError, match="(?s)`y` is written.*in place"):
        kernel(inputs=[mx.zeros(4)], **call)
    assert [f.kind for f in kernel.inspect(inputs=[], **call).findings] == ["uninitialised"]


@pytest.mark.parametrize("text, says", [
    ("kernel void f(float* y) {}", "without an address space"),
    ("kernel void f(device float* y, uint i) {}", "no attribute"),
    ("kernel void f(device float* y, float i [[thread_position_in_grid]]) {}", "is an integer"),
    ("kernel void f(device float* y [[buffer(1)]], device float* z [[buffer(1)]]) {}", "both buffer 1"),
    ("kernel void f(device const float* y) {}", "writes nothing"),
    ("kernel void f(device float* y) { y[0] = 1;", "never closed"),
    ('#include "nowhere.h"\nkernel void f(device float* y) {}', "nowhere.h.*not there"),
])  # fmt: skip
def test_what_cannot_be_read_is_said_at_its_line(tmp_path, text, says):
    path = tmp_path / "f.metal"
    path.write_text(text)
    with pytest.raises(MetalSyntaxError, match=says) as error:
        load_metal(path, "f")
    assert "f.metal:1:" in str(error.value) and "^" in str(error.value)


def test_an_error_in_an_included_file_names_that_file(file):
    (file.parent / "shared.h").write_text(SHARED.replace("SCALE * x", "SCALE * z"))
    kernel = load_metal(file, "scale_f16", device="emulator")
    with pytest.raises(MetalSyntaxError, match="shared.h:3:") as error:
        kernel(inputs=[1, 20, mx.zeros(20, mx.float16)], output_shapes=[(20,)], output_dtypes=[mx.float16], grid=(20, 1, 1),
               threadgroup=(20, 1, 1))  # fmt: skip
    assert "return SCALE * z" in str(error.value)


def test_an_error_in_the_kernel_names_line_and_column(file):
    file.write_text(FILE.replace("y[i] = x[i] + params.add", "y[i] = x[i] + params.ad"))
    kernel = load_metal(file, "offset", device="emulator")
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if "params.ad;" in text)
    with pytest.raises(MetalSyntaxError, match=f"kernels.metal:{line}:"):
        kernel(inputs=[mx.zeros(8), mx.array([9, 0], dtype=mx.uint32)], output_shapes=[(5,)], output_dtypes=[mx.float32],
               grid=(5, 1, 1), threadgroup=(5, 1, 1))  # fmt: skip


def test_a_constant_reference_goes_to_helpers_as_the_file_has_it(tmp_path):
    """`constant int&` and `const constant int&` are two types to a helper that wants the first."""
    path = tmp_path / "helpers.metal"
    path.write_text("""#include <metal_stdlib>
    using namespace metal;
    void scale(device float* y, constant int& n, uint i) { y[i] = n; }
    kernel void f(constant int& n [[buffer(0)]], device float* y [[buffer(1)]], uint i [[thread_position_in_grid]]) {
      scale(y, n, i);
    }""")
    (y,) = load_metal(path, "f", device="emulator")(
        inputs=[3], output_shapes=[(4,)], output_dtypes=[mx.float32], grid=(4, 1, 1), threadgroup=(4, 1, 1), check=True,
        strict=find_spec("ziglang") is not None,
    )
    assert y.tolist() == [3] * 4


def test_unknown_names_and_files(file):
    with pytest.raises(ValueError, match="it has: scale, offset, bytes, scale_f32_3, scale_f16"):
        load_metal(file, "scal")
    with pytest.raises(FileNotFoundError, match="nowhere.metal"):
        load_metal("nowhere.metal", "f")


def test_constant_buffers_of_eight_or_more_are_refused(tmp_path):
    path = tmp_path / "f.metal"
    path.write_text("kernel void f(constant float* x, device float* y, uint i [[thread_position_in_grid]]) { y[i] = x[i]; }")
    kernel = load_metal(path, "f", device="emulator")
    call = {"output_shapes": [(7,)], "output_dtypes": [mx.float32], "grid": (7, 1, 1), "threadgroup": (7, 1, 1)}
    assert kernel(inputs=[mx.arange(7).astype(mx.float32)], **call, check=True)[0].tolist() == list(range(7))
    with pytest.raises(ValueError, match="declare it `device const`"):
        kernel(inputs=[mx.zeros(8)], **call)


def test_template_arguments_have_the_defaults_of_the_file(tmp_path):
    path = tmp_path / "f.metal"
    path.write_text("""template <typename T, int N = -2, bool PLUS = true, typename U = half>
kernel void f(device const T* x, device float* y, uint i [[thread_position_in_grid]]) {
  y[i] = x[i] * N + (PLUS ? 1 : 0) + sizeof(U);
}""")
    kernel = load_metal(path, "f", device="emulator")
    call = {"inputs": [mx.ones(8)], "output_shapes": [(8,)], "output_dtypes": [mx.float32], "grid": (8, 1, 1),
            "threadgroup": (8, 1, 1)}  # fmt: skip
    assert kernel(**call, template=[("T", mx.float32)])[0][0].item() == 1
    assert kernel(**call, template=[("PLUS", False), ("T", mx.float32)])[0][0].item() == 0
