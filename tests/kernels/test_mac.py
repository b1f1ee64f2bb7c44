"""The extension compiles and links for Macs, on Linux: ziglang is a clang that cross-compiles.

Against MLX's own wheels for macOS, fetched once into build/. What it makes is not run.
"""

import subprocess
import sys
import sysconfig
import zipfile
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
from kernels.tools import minutes_long, without

from course_lib.paths import CHECKOUT, EXTENSIONS

FOLDER = CHECKOUT / "build" / "mac"
TARGET = ["-target", "aarch64-macos.14.0", "-mcpu=apple_m1"]


@pytest.fixture(scope="module")
def mlx_for_macs():
    """MLX's wheels for macOS, unpacked: a folder with mlx/include and mlx/lib."""
    minutes_long()
    if find_spec("ziglang") is None:
        without(f"ziglang is not installed; {sys.executable} -m pip install -e '.[test]'")
    folder = FOLDER / f"mlx-{version('mlx')}"
    if not (folder / "mlx/lib/libmlx.dylib").exists():
        wheels = FOLDER / "wheels"
        names = [f"{name}=={version('mlx')}" for name in ("mlx", "mlx-metal")]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--platform", "macosx_14_0_arm64", "--dest", str(wheels), *names]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            without(f"MLX's wheels for macOS cannot be fetched: {ran.stderr.strip().splitlines()[-1]}")
        for wheel in wheels.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)
    return folder / "mlx"


def zig(*arguments):
    command = [sys.executable, "-m", "ziglang", "c++", *TARGET, *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert ran.returncode == 0, f"{arguments[-1]}: {ran.stderr[-3000:]}"
    assert "warning" not in ran.stderr, ran.stderr[-3000:]


def test_it_compiles_and_links_for_macs(mlx_for_macs, tmp_path, monkeypatch):
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(FOLDER / "zig"))  # compiles again only what changed
    monkeypatch.setenv("ZIG_LOCAL_CACHE_DIR", str(FOLDER / "zig"))
    nanobind = Path(find_spec("nanobind").submodule_search_locations[0])
    common = ["-std=c++20", "-fvisibility=hidden", "-fPIC", "-c"]
    headers = ["-isystem", nanobind / "include", "-isystem", nanobind / "ext/robin_map/include"]
    headers += ["-isystem", mlx_for_macs / "include", "-isystem", sysconfig.get_paths()["include"]]
    jobs = {}
    for source in sorted((EXTENSIONS / "reference").glob("*.cpp")) + [EXTENSIONS / "runtime/thread_pool.cpp"]:
        jobs[source] = [*common, "-O3", "-Wall", "-Wextra"]
    for source in sorted(set((EXTENSIONS / "runtime").glob("*.cpp")) - set(jobs)):
        jobs[source] = [*common, "-O2", "-Wall", "-Wextra", *headers, "-DNB_DOMAIN=mlx"]
    jobs[nanobind / "src/nb_combined.cpp"] = [*common, "-Os", "-fno-strict-aliasing", "-w", *headers, "-DNB_DOMAIN=mlx"]

    def compile_one(index, source):
        made = tmp_path / f"{index}.o"
        zig(*jobs[source], "-o", made, source)
        return made

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compile_one, range(len(jobs)), jobs))
    library = tmp_path / "_ext.so"
    zig("-shared", "-undefined", "dynamic_lookup", "-o", library, *objects, mlx_for_macs / "lib/libmlx.dylib")
    assert library.read_bytes()[:4] == bytes.fromhex("cffaedfe")  # Mach-O, 64 bits
