"""Which backend runs a kernel, and what the Apple one hands to MLX. Without a Mac the latter is looked at, not run."""

from pathlib import Path

import mlx.core as mx
import pytest

from course_lib.kernels.metal import MetalError, MetalFault, MetalSyntaxError, load_metal, metal_kernel
from course_lib.kernels.metal.metallib import compile_ahead

FILE = """#include <metal_stdlib>
using namespace metal;
constant float table[2] = {1.0, 2.0};
kernel void f(device const float* x [[buffer(0)]], device float* y [[buffer(1)]], constant uint& n [[buffer(2)]],
              ushort i [[thread_position_in_grid]]) {
  if (i < n) y[i] = x[i] * table[1];
}
kernel void g(device float* y [[buffer(0)]]) { y[0] = 1; }
"""
CALL = {"output_shapes": [(4,)], "output_dtypes": [mx.float32], "grid": (4, 1, 1), "threadgroup": (4, 1, 1)}


class FakeMLX:
    """Stands for mx.fast.metal_kernel on a Mac."""

    def __init__(self):
        self.described, self.calls = [], []

    def __call__(self, *described):
        self.described.append(described)

        def kernel(**call):
            self.calls.append(call)
            return ["ran on the GPU"]

        return kernel


@pytest.fixture
def mac(monkeypatch):
    fake = FakeMLX()
    monkeypatch.setattr(mx.fast, "metal_kernel", fake)
    monkeypatch.setattr(mx.metal, "is_available", lambda: True)
    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(mx.gpu, 0))
    return fake


def scale(**options):
    return metal_kernel("scale", ["x"], ["y"], "uint i = thread_position_in_grid.x; y[i] = 2 * x[i];", **options)


def test_on_a_mac_the_default_device_and_the_stream_choose(mac):
    kernel = scale()
    x = mx.ones(4)
    assert kernel(inputs=[x], **CALL) == ["ran on the GPU"]
    assert kernel(inputs=[x], **CALL, stream=mx.gpu) == ["ran on the GPU"]
    assert kernel(inputs=[x], **CALL, stream=mx.cpu)[0].tolist() == [2] * 4
    assert kernel(inputs=[x], **CALL, check=True)[0].tolist() == [2] * 4
    assert scale(device="emulator")(inputs=[x], **CALL)[0].tolist() == [2] * 4
    assert len(mac.described) == 1  # made once


def test_mlx_gets_the_arguments_in_its_own_order(mac):
    kernel = scale(header="// h", ensure_row_contiguous=False, atomic_outputs=True, compile_options={"math_mode": "fast"})
    kernel(inputs=[mx.ones(4)], **CALL, template=[("T", mx.float32)], init_value=3.0)
    name, inputs, outputs, source, header, contiguous, atomic, options = mac.described[0]
    assert (name, inputs, outputs, contiguous, atomic) == ("scale", ["x"], ["y"], False, True)
    assert options == {"math_mode": "fast"}
    assert header == '#line 1 "scale.header.metal"\n// h\n' and source.startswith('#line 1 "scale.metal"\nuint i')
    call = mac.calls[0]
    assert (call["grid"], call["threadgroup"], call["template"], call["init_value"]) == (
        (4, 1, 1), (4, 1, 1), [("T", mx.float32)], 3.0)  # fmt: skip


def test_a_file_becomes_header_and_body(mac, tmp_path):
    path = tmp_path / "f.metal"
    path.write_text(FILE)
    load_metal(path, "f")(inputs=[mx.ones(3), 4], **CALL)
    name, inputs, outputs, source, header, *_ = mac.described[0]
    assert (name, inputs, outputs) == ("f", ["x_in", "n_in"], ["y_out"])
    assert "table[2]" in header and "kernel" not in header
    assert "const device float* x = (const device float*)x_in;" in source
    assert "device float* y = (device float*)y_out;" in source
    assert "constant uint& n = *(constant uint*)&n_in;" in source
    assert "ushort i = ushort(thread_position_in_grid.x);" in source
    assert f'#line 5 "{path}"' in source
    given = mac.calls[0]["inputs"]
    assert given[0].tolist() == [1, 1, 1, 0, 0, 0, 0, 0]  # padded, or MLX would put it in constant memory
    assert given[1].dtype == mx.uint32 and given[1].ndim == 0


def test_a_gpu_that_is_not_apples_is_refused_by_name():
    with pytest.raises(ValueError, match="Apple's GPUs and in the emulator only"):
        scale()(inputs=[mx.ones(4)], **CALL, stream=mx.gpu)


def test_unknown_devices_are_refused():
    with pytest.raises(ValueError, match='give "emulator"'):
        scale(device="cuda")


def test_programs_are_kept_and_made_again_when_the_source_changes(tmp_path, monkeypatch):
    monkeypatch.setattr("course_lib.kernels.metal.compile._folder", lambda: tmp_path)
    (tmp_path / "runtime").mkdir()

    def made():
        return len(list(tmp_path.glob("*/kernel")))

    kernel = scale(device="emulator")
    for count in (1, 1):
        kernel(inputs=[mx.ones(4)], **CALL)
        assert made() == count
    kernel(inputs=[mx.ones(4)], **CALL, check=True)
    assert made() == 2
    metal_kernel("scale", ["x"], ["y"], "y[0] = x[0];", device="emulator")(inputs=[mx.ones(4)], **CALL)
    assert made() == 3
    with pytest.raises(MetalSyntaxError):
        metal_kernel("scale", ["x"], ["y"], "y[0] = ;", device="emulator")(inputs=[mx.ones(4)], **CALL)
    assert made() == 3
    assert not list(tmp_path.glob("new-*"))


def test_an_endless_loop_ends_in_a_plain_run_too():
    kernel = metal_kernel("endless", ["x"], ["y"], "while (x[0] > 0) { y[1] = x[1]; }", device="emulator")
    with pytest.raises(MetalFault, match="still running"):
        kernel(inputs=[mx.ones(4)], **CALL, time_limit=0.5)


def test_an_endless_loop_that_writes_nothing_is_not_optimised_away():
    """C++ allows a compiler to take it for one that ends."""
    source = "while (x[0] > 0) { if (thread_position_in_grid.x > 9) break; } y[0] = 1;"
    kernel = metal_kernel("idle", ["x"], ["y"], source, device="emulator")
    with pytest.raises(MetalFault, match="still running"):
        kernel(inputs=[mx.ones(8)], **CALL, time_limit=0.5)


def test_verbose_prints_the_source(capsys):
    scale(device="emulator")(inputs=[mx.ones(4)], **CALL, verbose=True)
    assert "[[kernel]] void custom_kernel_scale" in capsys.readouterr().out


def test_files_are_compiled_ahead_with_apples_compiler(tmp_path, monkeypatch):
    """With a stand-in for xcrun, that notes what it is asked for: there is none here."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "xcrun").write_text(f"#!/bin/sh\necho \"$@\" >> {tmp_path}/asked\ncase \"$*\" in *bad.metal*) echo 'bad.metal:1: error' >&2; exit 1;; esac\n")
    (bin_ / "xcrun").chmod(0o755)
    monkeypatch.setenv("PATH", str(bin_), prepend=":")
    library = compile_ahead([Path("a.metal"), Path("b.metal")], tmp_path / "out")
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [line.split()[2] for line in asked] == ["metal", "metal", "metallib"]
    assert "-std=metal3.1 -Wall -Werror -c a.metal" in asked[0] and str(library) in asked[2]
    with pytest.raises(MetalSyntaxError, match="bad.metal:1: error"):
        compile_ahead([Path("bad.metal")], tmp_path / "out")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MetalError, match="comes with Xcode"):
        compile_ahead([], tmp_path / "out")
