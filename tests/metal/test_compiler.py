"""Compilers that cannot do what checked runs need are refused, instead of finding nothing."""

import shlex
import sys
from types import SimpleNamespace

import mlx.core as mx
import pytest

from course_lib.kernels.metal import MetalError, MetalSyntaxError, metal_kernel, strict
from course_lib.kernels.metal.compile import _require_hooks
from course_lib.kernels.toolchain import BuildError, find_compiler

CALL = {"inputs": [mx.zeros(4)], "output_shapes": [(4,)], "output_dtypes": [mx.float32], "grid": (4, 1, 1), "threadgroup": (4, 1, 1)}


def test_a_compiler_that_puts_no_hooks_in_is_refused(tmp_path, monkeypatch):
    """Such as one that takes the sanitizers' flags and passes them over."""
    real = find_compiler()
    wrapper = tmp_path / "c++"
    wrapper.write_text(
        f'#!/bin/sh\nfor word do shift; case $word in -fsanitize*) ;; *) set -- "$@" "$word" ;; esac; done\nexec {shlex.quote(str(real))} "$@"\n'
    )
    wrapper.chmod(0o755)
    monkeypatch.setenv("CXX", str(wrapper))
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    kernel = metal_kernel("copies", ["x"], ["y"], "y[thread_position_in_grid.x] = x[thread_position_in_grid.x];", device="emulator")
    kernel(**CALL)  # a plain run needs none
    with pytest.raises(BuildError, match="records no accesses"):
        kernel.inspect(**CALL)


def test_a_kernel_without_accesses_is_no_reason_to_refuse_the_compiler(tmp_path, monkeypatch):
    (tmp_path / "kernel.o").write_bytes(b"no calls of hooks in here")
    monkeypatch.setattr("course_lib.kernels.metal.compile._folder", lambda: tmp_path)
    _require_hooks(tmp_path, find_compiler())


@pytest.mark.parametrize("knows", [True, False])
def test_strict_mode_takes_another_clang_if_it_is_new_enough(knows, tmp_path, monkeypatch):
    pytest.importorskip("ziglang")
    clang = tmp_path / "clang"
    clang.write_text(f"#!/bin/sh\nexec {shlex.quote(sys.executable)} -m ziglang clang \"$@\"\n" if knows else "#!/bin/sh\nexit 1\n")
    clang.chmod(0o755)
    monkeypatch.setattr(strict, "find_spec", lambda name: None)
    monkeypatch.setattr(strict, "shutil", SimpleNamespace(which=lambda name: str(clang)))
    strict._clang.cache_clear()
    try:
        # C++ has no address spaces, and lets this pass.
        source = "threadgroup float t[4]; t[0] = x[0]; device float* p = t; y[0] = p[0];"
        kernel = metal_kernel("mixes", ["x"], ["y"], source, device="emulator")
        with pytest.raises(MetalError, match="device float" if knows else "clang 16") as raised:
            kernel.check_types(**CALL)
        assert isinstance(raised.value, MetalSyntaxError) == knows
    finally:
        strict._clang.cache_clear()
