"""Checks of the machine. They need nothing installed, so `make setup` asks them first."""

import os
import platform
import re
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..paths import CHECKOUT, cache_dir
from .finding import Finding, broken, complaint, ok, run, warning

PYTHON = (3, 11)
GLIBC = (2, 35)  # of MLX's wheels for Linux
MACOS = (14, 0)  # of MLX's wheels for macOS
DISK_BYTES = 25 * 10**8  # packages, model and builds take about 1.6 GB
MEMORY_BYTES = 4 * 2**30

CPP_PROGRAM = """\
#include <atomic>
#include <thread>
int main() {
  std::atomic<int> done{0};
  std::thread worker([&] { done = 1; done.notify_one(); });
  done.wait(0);
  worker.join();
}
"""


def check_python(version: Sequence[int] = sys.version_info) -> Finding:
    """This Python is one that the course runs on."""
    shown = ".".join(map(str, version[:3]))
    if tuple(version[:2]) < PYTHON:
        wanted = ".".join(map(str, PYTHON))
        mend = "make distclean && make setup PYTHON=python3.12"
        return broken("Python", f"{shown}; the course needs {wanted} or later", mend)
    return ok("Python", f"{shown} ({sys.executable})")


def check_system(kind: str = sys.platform, machine: str = "", version: str = "") -> Finding:
    """MLX has wheels for this system.

    Args:
        kind: as `sys.platform`.
        machine: as `platform.machine()`; empty: this machine's.
        version: of glibc or macOS; empty: this machine's.
    """
    machine = machine or platform.machine()
    if kind == "linux":
        version = version or _glibc()
        if not version:
            return broken(
                "system", "Linux without glibc, which MLX's wheels need", "use Debian 12 or Ubuntu 22.04"
            )
        if _parts(version) < GLIBC:
            detail = f"glibc {version}; MLX's wheels need 2.35 or later"
            return broken("system", detail, "upgrade to Debian 12, Ubuntu 22.04 or later")
        return ok("system", f"Linux {machine}, glibc {version}")
    if kind == "darwin":
        version = version or platform.mac_ver()[0]
        if machine != "arm64":
            detail = f"macOS with a Python for {machine}; MLX needs Apple silicon, and a Python built for it"
            return broken("system", detail, "make distclean && make setup PYTHON=/opt/homebrew/bin/python3")
        if _parts(version) < MACOS:
            return broken("system", f"macOS {version}; MLX needs 14 or later", "softwareupdate --list")
        return ok("system", f"macOS {version} {machine}")
    return broken("system", f"{kind}; MLX runs on Linux and macOS", "on Windows: wsl --install")


def check_compiler() -> Finding:
    """A C++ compiler is there, and what it makes of C++20 with threads runs."""
    subject, mac = "C++ compiler", sys.platform == "darwin"
    mend = "xcode-select --install" if mac else "sudo apt install g++"
    # On a Mac without the tools c++ exists all the same, and opens a dialog when it is run.
    if mac and run(["xcode-select", "-p"]).returncode:
        return broken(subject, "Apple's command line tools are missing", mend)
    if named := os.environ.get("CXX"):
        names, missing, mend = [named], f"CXX={named} is not there", "unset CXX"
    else:
        names = ["c++", "g++", "clang++"]
        missing = "none of c++, g++, clang++ is there"
    compiler = next((path for name in names if (path := shutil.which(name))), None)
    if compiler is None:
        return broken(subject, missing, mend)
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "probe.cpp"), Path(folder, "probe")
        source.write_text(CPP_PROGRAM)
        built = run([compiler, "-std=c++20", "-pthread", str(source), "-o", str(program)])
        if built.returncode:
            return broken(subject, f"{compiler} does not compile C++20: {complaint(built)}", mend)
        ran = run([str(program)])
        if ran.returncode:
            return broken(subject, f"what {compiler} compiles does not run: {complaint(ran)}", mend)
    return ok(subject, run([compiler, "--version"]).stdout.splitlines()[0])


def check_headers(folder: str = "") -> Finding:
    """Python came with the headers that its extensions are compiled with.

    Args:
        folder: where they should be; empty: where this Python looks.
    """
    header = Path(folder or sysconfig.get_paths()["include"], "Python.h")
    if header.exists():
        return ok("headers", str(header))
    if sys.platform == "darwin":
        mend = "brew install python@3.12 && make distclean && make setup PYTHON=python3.12"
    else:
        mend = "sudo apt install python{}.{}-dev".format(*sys.version_info[:2])
    return broken("headers", f"{header} is missing; {sys.executable} came without it", mend)


def check_disk(wanted: int = DISK_BYTES) -> Finding:
    """There is room for what set-up and learning write."""
    tight = []
    for folder in (CHECKOUT, cache_dir()):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(there).free
        if free < wanted:
            tight.append(f"{free / 1e9:.1f} GB free for {folder}, {wanted / 1e9:.1f} GB are wanted")
    if tight:
        return warning(
            "disk", "; ".join(tight), "make room, or move the models: export COURSE_CACHE=/other/disk"
        )
    return ok("disk", f"{shutil.disk_usage(CHECKOUT).free / 1e9:.0f} GB free")


def check_machine(wanted: int = MEMORY_BYTES) -> Finding:
    """The processor, its cores, and enough memory."""
    from ..lab.machine import cores, cpu_name, memory_bytes

    memory = memory_bytes()
    detail = f"{cpu_name()}, {cores()} core{'s' * (cores() != 1)}, {memory / 2**30:.1f} GiB memory"
    if memory < wanted:
        mend = "close other programs while you work"
        return warning("machine", f"{detail}; {wanted / 2**30:.0f} GiB are wanted", mend)
    return ok("machine", detail)


def _glibc() -> str:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").removeprefix("glibc ")
    except (ValueError, OSError):
        return ""


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
