"""The emulator as Arm code: everything is compiled for it by clang and run under qemu-user."""

import os
import re
import shutil
import subprocess

import mlx.core as mx
import numpy as np
import pytest
from kernels.tools import minutes_long, tool, without
from metal.seeded_bugs import BUGS

from course_lib.kernels.metal import launch, load_metal
from course_lib.kernels.metal_attention import MetalAttention

# One of each kind that stops at another place of the emulator: hooks, collectives, barriers, signals, the stack's end.
SOME = ("missing barrier", "wrong mem_flags", "read past the end", "uninitialised threadgroup memory", "barrier in a branch",
        "SIMD-group sum in a branch", "matrix product with a lane missing", "signed overflow", "too much threadgroup memory",
        "endless loop", "endless recursion")  # fmt: skip


def newest_clang():
    """A clang that checked runs can use: 16 or later."""
    for name in [*(f"clang++-{n}" for n in range(25, 15, -1)), "clang++"]:
        if path := shutil.which(name):
            said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
            if int(re.search(r"version (\d+)", said)[1]) >= 16:
                return path
    return without("no clang++ of version 16 or later is here; on Debian 12: apt-get install clang-19")


@pytest.fixture
def arm(tmp_path, monkeypatch):
    minutes_long()
    qemu = tool("qemu-aarch64", "qemu-user")
    tool("aarch64-linux-gnu-g++", "g++-aarch64-linux-gnu")  # for its libraries
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    compiler = bin_ / "arm-clang"
    compiler.write_text(f'#!/bin/sh\nexec {newest_clang()} --target=aarch64-linux-gnu -static -Wno-unused-command-line-argument "$@"\n')
    compiler.chmod(0o755)
    (bin_ / "addr2line").symlink_to(tool("aarch64-linux-gnu-addr2line", "binutils-aarch64-linux-gnu"))
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    native = subprocess.run
    ran = []

    def under_qemu(command, **options):
        if str(command[0]).endswith("/kernel"):
            ran.append(command[0])
            command = [qemu, *command]
        return native(command, **options)

    monkeypatch.setattr(launch.subprocess, "run", under_qemu)
    yield
    assert ran
    machine = native(["readelf", "-h", ran[0]], capture_output=True, text=True, check=True).stdout
    assert "AArch64" in machine


@pytest.mark.usefixtures("arm")
def test_a_tiled_kernel_on_arm():
    kernel = MetalAttention("matrices")
    q, k, v = (mx.random.normal((1, 1, 64, 32), key=mx.random.key(n)).astype(mx.float16) for n in range(3))
    wanted = mx.fast.scaled_dot_product_attention(*(a.astype(mx.float32) for a in (q, k, v)), scale=0.2)
    # Computed in float32, rounded to float16 once.
    np.testing.assert_allclose(np.array(kernel(q, k, v, scale=0.2).astype(mx.float32)), np.array(wanted), rtol=2**-11, atol=1e-5)
    (seen,) = kernel.inspect(q, k, v, scale=0.2)
    assert not seen.findings
    assert seen.traffic.buffers["q"].bytes_read == 64 * 32 * 2
    assert seen.traffic.matrix_operations == 2 * 4 * 2 * 2 * 4 * 4


@pytest.mark.usefixtures("arm")
def test_findings_on_arm(tmp_path):
    for bug in (b for b in BUGS if b.name in SOME):
        path = tmp_path / "bug.metal"
        for part, kinds in ((bug.wrong, [bug.kind]), (bug.right, [])):
            path.write_text(bug.source.replace("@", part))
            seen = load_metal(path, "f", device="emulator").inspect(
                inputs=[mx.arange(n).astype(mx.float32) for n in bug.inputs], output_shapes=[(bug.output,)],
                output_dtypes=[mx.float32], grid=bug.grid, threadgroup=bug.threadgroup, init_value=bug.init_value,
                time_limit=3.0,
            )  # fmt: skip
            assert [f.kind for f in seen.findings][:1] == kinds, (bug.name, part, *map(str, seen.findings))
            if kinds and bug.line:
                assert seen.findings[0].file.endswith("bug.metal"), bug.name
