"""`course doctor`: does everything that the course needs work here, and what mends what does not?

Each check tries the real thing: the compiler compiles, the kernel answers, MLX computes. That something
is installed proves little: a mismatched nanobind imports fine, and then every call fails.

Only the standard library is imported at the top, and nothing of the course that needs more: the checks that can run
before anything is installed do (`python3 -m course_lib.doctor --before-setup`).
"""

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib import metadata
from pathlib import Path

from .paths import CHECKOUT, cache_dir

PYTHON = (3, 11)
GLIBC = (2, 35)  # of MLX's Linux wheels
MACOS = (14, 0)  # of MLX's macOS wheels
DISK_BYTES = 2 * 10**9  # packages, model and builds take about 1.2 GB
MEMORY_BYTES = 4 * 2**30
REINSTALL = "rm -f .venv/.installed* && make setup"

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
MLX_PROGRAM = """\
import json
import mlx.core as mx
a = mx.arange(6, dtype=mx.float32).reshape(2, 3)
print(json.dumps([mx.default_device().type.name, mx.device_info().get("device_name", ""), (a @ a.T).tolist()]))
"""
KERNELS_PROGRAM = """\
try:
    from course_lib.kernels import self_test
except ImportError as error:
    print("absent:", error)
else:
    print(self_test() or "its ops answer rightly")
"""


class Status(Enum):
    """How a check came out. Only BROKEN makes `course doctor` fail."""

    OK = "ok"
    WARNING = "warning"
    BROKEN = "broken"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        subject: what was checked.
        status: how it came out.
        detail: what was found, and what was wanted where that differs.
        mend: the command that mends it; empty where nothing needs mending.
    """

    subject: str
    status: Status
    detail: str
    mend: str = ""

    def __str__(self) -> str:
        line = f"{self.status.value:8} {self.subject:12} {self.detail}"
        return f"{line}\n{'':22}mend: {self.mend}" if self.mend else line


def check_python(version: Sequence[int] = sys.version_info) -> Finding:
    """This Python is one that the course runs on."""
    shown = ".".join(map(str, version[:3]))
    if tuple(version[:2]) < PYTHON:
        mend = "make distclean && make setup PYTHON=python3.12"
        return Finding("Python", Status.BROKEN, f"{shown}; the course needs {_dotted(PYTHON)} or later", mend)
    return Finding("Python", Status.OK, f"{shown} ({sys.executable})")


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
            detail = "no glibc (musl, perhaps); MLX's wheels need it"
            return Finding("system", Status.BROKEN, detail, "use Debian 12, Ubuntu 22.04 or later")
        good, detail = _parts(version) >= GLIBC, f"Linux {machine}, glibc {version}"
        wanted, mend = f"glibc {_dotted(GLIBC)}", "upgrade to Debian 12, Ubuntu 22.04 or later"
    elif kind == "darwin":
        version = version or platform.mac_ver()[0]
        if machine != "arm64":
            detail = f"macOS on {machine}; MLX needs Apple silicon, and a Python built for it"
            return Finding("system", Status.BROKEN, detail, "make distclean && make setup PYTHON=/opt/homebrew/bin/python3")
        good, detail = _parts(version) >= MACOS, f"macOS {version} {machine}"
        wanted, mend = f"macOS {_dotted(MACOS)}", "softwareupdate --list"
    else:
        return Finding("system", Status.BROKEN, f"{kind}; MLX runs on Linux and macOS", "on Windows: wsl --install")
    if good:
        return Finding("system", Status.OK, detail)
    return Finding("system", Status.BROKEN, f"{detail}; MLX needs {wanted} or later", mend)


def check_compiler() -> Finding:
    """A C++ compiler is there and compiles and runs C++20 with threads."""
    mend = "xcode-select --install" if sys.platform == "darwin" else "sudo apt install g++"
    # On a Mac without the tools, c++ exists and opens a dialog when it is run.
    if sys.platform == "darwin" and _run(["xcode-select", "-p"]).returncode:
        return Finding("C++ compiler", Status.BROKEN, "Apple's command line tools are missing", mend)
    named = os.environ.get("CXX")
    found = next((path for c in ([named] if named else ["c++", "g++", "clang++"]) if (path := shutil.which(c))), None)
    if found is None:
        detail = f"CXX={named} is not there" if named else "none of c++, g++, clang++ is there"
        return Finding("C++ compiler", Status.BROKEN, detail, "unset CXX" if named else mend)
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "probe.cpp"), Path(folder, "probe")
        source.write_text(CPP_PROGRAM)
        built = _run([found, "-std=c++20", "-pthread", str(source), "-o", str(program)])
        if built.returncode:
            detail = f"{found} cannot compile C++20: {_last_line(built)}"
            return Finding("C++ compiler", Status.BROKEN, detail, mend)
        ran = _run([str(program)])
        if ran.returncode:
            detail = f"what {found} compiles does not run: {_last_line(ran)}"
            return Finding("C++ compiler", Status.BROKEN, detail, mend)
    return Finding("C++ compiler", Status.OK, _run([found, "--version"]).stdout.splitlines()[0])


def check_build_tools() -> Finding:
    """CMake and ninja, which come with the packages, run."""
    found = []
    for tool in ("cmake", "ninja"):
        path = Path(sys.executable).with_name(tool)
        version = _run([str(path), "--version"]) if path.exists() else None
        if version is None or version.returncode:
            return Finding("build tools", Status.BROKEN, f"{path} is missing or does not run", REINSTALL)
        found.append(f"{tool} {re.search(r'[0-9][0-9.]*[0-9]', version.stdout).group()}")
    return Finding("build tools", Status.OK, ", ".join(found))


def check_packages() -> Finding:
    """Every package that pyproject.toml asks for is installed in a version that it allows.

    mlx and nanobind are pinned exactly there, since the extension must be built with the nanobind that
    built the MLX wheel.
    """
    try:
        from packaging.requirements import Requirement
    except ImportError as error:
        return Finding("packages", Status.BROKEN, str(error), REINSTALL)
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    wrong, pinned = [], []
    for requirement in map(Requirement, project["dependencies"]):
        if requirement.marker and not requirement.marker.evaluate():
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} is {version}, wanted {requirement.specifier}")
        elif requirement.name in ("mlx", "nanobind"):
            pinned.append(f"{requirement.name} {version}")
    if wrong:
        return Finding("packages", Status.BROKEN, "; ".join(wrong), REINSTALL)
    return Finding("packages", Status.OK, ", ".join([*pinned, "and the others as pinned"]))


def check_device(nvidia: bool | None = None) -> Finding:
    """MLX computes, and on which device.

    Args:
        nvidia: whether this machine has an NVIDIA GPU; None: look.
    """
    ran = _run([sys.executable, "-c", MLX_PROGRAM])
    if ran.returncode:
        return Finding("MLX", Status.BROKEN, f"does not compute: {_last_line(ran)}", REINSTALL)
    kind, name, product = json.loads(ran.stdout)
    if product != [[5.0, 14.0], [14.0, 50.0]]:
        return Finding("MLX", Status.BROKEN, f"computes wrongly on the {kind}: {product}", REINSTALL)
    detail = f"computes on the {kind.upper()}" + f" ({name})" * bool(name)
    if nvidia is None:
        nvidia = Path("/proc/driver/nvidia/version").exists()
    if nvidia and kind == "cpu":
        detail += ", though there is an NVIDIA GPU"
        return Finding("MLX", Status.WARNING, detail, f"{REINSTALL} CUDA=1")
    return Finding("MLX", Status.OK, detail)


def check_extension() -> Finding:
    """The native extension is built, and its ops can be called from this MLX."""
    ran = _run([sys.executable, "-c", KERNELS_PROGRAM])
    if ran.returncode:
        return Finding("native code", Status.BROKEN, _last_line(ran), _course("build"))
    if ran.stdout.startswith("absent:"):
        return Finding("native code", Status.WARNING, "not built yet", "make setup")
    return Finding("native code", Status.OK, ran.stdout.strip().splitlines()[-1])


def check_jupyter() -> Finding:
    """JupyterLab is there, and a kernel that it starts answers and is this Python."""
    from .jupyter import keep_inside

    keep_inside()
    try:
        from jupyter_client.manager import start_new_kernel

        version = metadata.version("jupyterlab")
    except (ImportError, metadata.PackageNotFoundError) as error:
        return Finding("JupyterLab", Status.BROKEN, f"not installed: {error}", REINSTALL)
    said: list[str] = []
    try:
        # What the kernel process itself prints would tear this report apart.
        manager, client = start_new_kernel(startup_timeout=60, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            client.execute_interactive(
                "import sys; print(sys.prefix)",
                timeout=60,
                output_hook=lambda message: said.append(message["content"].get("text", "")),
            )
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
    except Exception as error:
        return Finding("JupyterLab", Status.BROKEN, f"{version}, but its kernel does not start: {error}", REINSTALL)
    prefix = "".join(said).strip()
    if prefix != sys.prefix:
        detail = f"{version}, but its kernel runs in {prefix or 'nothing'} instead of {sys.prefix}"
        return Finding("JupyterLab", Status.BROKEN, detail, REINSTALL)
    return Finding("JupyterLab", Status.OK, f"{version}, its kernel answers and is this Python")


def check_model() -> Finding:
    """The embedded model has been converted, and its file is still what was written."""
    from .llm.smollm2 import NAME, find_model, verify_model

    folder = find_model()
    if folder is None:
        return Finding("model", Status.BROKEN, f"{NAME} is not in {cache_dir()}", _course("fetch"))
    if verify_model() is not None:
        detail = f"the file in {folder} is not what was written"
        return Finding("model", Status.BROKEN, detail, f"rm -r '{folder}' && {_course('fetch')}")
    return Finding("model", Status.OK, f"{NAME}, SHA-256 as written ({folder})")


def check_disk(wanted: int = DISK_BYTES) -> Finding:
    """There is room for what set-up and learning write."""
    tight = []
    for folder in (CHECKOUT, cache_dir()):
        there = next(p for p in (folder, *folder.parents) if p.exists())
        free = shutil.disk_usage(there).free
        if free < wanted:
            tight.append(f"{free / 1e9:.1f} GB free for {folder}, {wanted / 1e9:.0f} GB are wanted")
    if tight:
        return Finding("disk", Status.WARNING, "; ".join(tight), "make room, or move the models: export COURSE_CACHE=/elsewhere")
    return Finding("disk", Status.OK, f"{shutil.disk_usage(CHECKOUT).free / 1e9:.0f} GB free")


def check_machine(wanted: int = MEMORY_BYTES) -> Finding:
    """The processor, its cores and its memory."""
    from .lab.machine import cores, cpu_name, memory_bytes

    memory = memory_bytes()
    detail = f"{cpu_name()}, {cores()} core{'s' * (cores() != 1)}, {memory / 2**30:.1f} GiB memory"
    if memory < wanted:
        mend = "close other programs while you work on the larger notebooks"
        return Finding("machine", Status.WARNING, f"{detail}; {wanted / 2**30:.0f} GiB are wanted", mend)
    return Finding("machine", Status.OK, detail)


BEFORE_SETUP = (check_python, check_system, check_compiler, check_disk)
ALL = (
    check_machine, check_python, check_system, check_disk, check_compiler, check_build_tools, check_packages,
    check_device, check_extension, check_jupyter, check_model,
)  # fmt: skip


def main(args: Sequence[str] = ()) -> int:
    """Run the checks and print a line for each.

    Args:
        args: `--before-setup` runs only the checks that need nothing installed, and prints only what is not well.

    Returns:
        1 where something needed is broken, else 0.
    """
    early = "--before-setup" in args
    findings = []
    for check in BEFORE_SETUP if early else ALL:
        finding = examine(check)
        findings.append(finding)
        if not early or finding.status is not Status.OK:
            print(finding, flush=True)
    broken = sum(finding.status is Status.BROKEN for finding in findings)
    if not early:
        print(f"\n{broken} broken: mend from the top." if broken else "\nAll that is needed works.")
    return 1 if broken else 0


def examine(check: Callable[[], Finding]) -> Finding:
    """Run a check; one that fails itself is a finding too."""
    try:
        return check()
    except Exception as error:
        name = check.__name__.removeprefix("check_").replace("_", " ")
        return Finding(name, Status.BROKEN, f"{type(error).__name__}: {error}", REINSTALL)


def _run(command: list[str]) -> subprocess.CompletedProcess:
    # In a child process: a crash of what is examined must not be a crash of the doctor.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=120, cwd=CHECKOUT, env=environment,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", "no answer within 120 s")
    except OSError as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


def _last_line(ran: subprocess.CompletedProcess) -> str:
    if ran.returncode < 0:
        return f"killed by {signal.Signals(-ran.returncode).name}"
    lines = [line.strip() for line in ran.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors[-1] if errors else lines[-1] if lines else f"exit code {ran.returncode}")[:300]


def _course(subcommand: str) -> str:
    return f".venv/bin/course {subcommand}" if Path(sys.prefix) == CHECKOUT / ".venv" else f"course {subcommand}"


def _glibc() -> str:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").removeprefix("glibc ")
    except (ValueError, OSError):
        return ""


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
