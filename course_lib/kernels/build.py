"""Build the extension: CMake and Ninja, into the user's cache folder.

What is built is filed under everything that it depends on: the sources, the compiler, the processor
(it is compiled for this one alone), Python, MLX and nanobind. So "is there something to build?" is a
look whether a file exists, and two checkouts or two Pythons never load each other's.
"""

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import distribution, version
from pathlib import Path

from course_lib.kernels.toolchain import (
    BuildError,
    find_compiler,
    host_cpu,
    identity,
    python_tool,
    require_compiler,
)
from course_lib.paths import EXTENSIONS, cache_dir

__all__ = ["BuildError", "build", "built"]

_MODULE = "_ext"
_KEPT = 4  # builds; older ones are deleted


def built() -> Path | None:
    """The extension for the sources as they are now and this machine; None if it is not built."""
    compiler = find_compiler()
    if compiler is None:
        return None
    path = _target(compiler)
    return path if path.exists() else None


def build(verbose: bool = False) -> Path:
    """Build the extension if it is not there yet. Shows its progress.

    Args:
        verbose: show the compiler's commands.

    Returns:
        The extension's file.

    Raises:
        BuildError: a tool is missing, with the command that installs it; or the code does not
            compile, with the compiler's words.
    """
    compiler = require_compiler()
    target = _target(compiler)
    if target.exists():
        return target
    folder = _native() / f"build-{_digest(str(EXTENSIONS), _environment(compiler))}"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until closed: another process may be building the same
        if target.exists():
            return target
        print(f"Building the native kernels for {platform.machine()} with {compiler}", flush=True)
        _forget_stale_objects(folder)
        _configure(folder, compiler)
        _compile(folder, verbose)
        if _target(compiler) != target:
            raise BuildError("the sources changed while they were compiled; build again")
        _install(folder / target.name, target)
    return target


def _native() -> Path:
    return cache_dir() / "native"


def _target(compiler: Path) -> Path:
    key = _digest(_environment(compiler), *_sources())
    return _native() / key / f"{_MODULE}{sysconfig.get_config_var('EXT_SUFFIX')}"


def _environment(compiler: Path) -> str:
    # MLX's place too: the extension looks there for the library it shares with MLX. Its metadata says where
    # that is; find_spec would also find any folder named mlx beside the script that runs.
    mlx = distribution("mlx")
    parts = [identity(compiler), host_cpu(), sys.executable, str(mlx.locate_file("mlx")), mlx.version]
    parts.append(version("nanobind"))
    return "\n".join(parts)


def _sources():
    files = [EXTENSIONS / "CMakeLists.txt"]
    for folder in ("reference", "runtime"):
        files += sorted((EXTENSIONS / folder).glob("*.cpp")) + sorted((EXTENSIONS / folder).glob("*.h"))
    for path in files:
        yield str(path.relative_to(EXTENSIONS))
        yield path.read_text()


def _forget_stale_objects(folder: Path) -> None:
    # Ninja goes by time: a file that was put back with its old date (a backup, an unpacked archive) looks
    # compiled, and the object of the other text would be taken for it.
    note = folder / "compiled.json"
    texts = iter(_sources())
    now = {name: _digest(text) for name, text in zip(texts, texts, strict=True)}
    if note.exists():
        before, since = json.loads(note.read_text()), note.stat().st_mtime
        changed = [name for name in now if before.get(name) != now[name]]
        if any((EXTENSIONS / name).stat().st_mtime <= since for name in changed):
            _start_over(folder)
    note.write_text(json.dumps(now))


def _start_over(folder: Path) -> None:
    shutil.rmtree(folder / "CMakeFiles", ignore_errors=True)
    (folder / "CMakeCache.txt").unlink(missing_ok=True)


def _digest(*parts: str) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part.encode() + b"\0")
    return whole.hexdigest()[:16]


def _configure(folder: Path, compiler: Path) -> None:
    command = [
        python_tool("cmake"), "-S", EXTENSIONS, "-B", folder, "-G", "Ninja",
        f"-DCMAKE_MAKE_PROGRAM={python_tool('ninja')}", f"-DCMAKE_CXX_COMPILER={compiler}",
        f"-DPython_EXECUTABLE={sys.executable}",
    ]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        _start_over(folder)  # or the next try repeats what went wrong
        raise BuildError(f"CMake could not configure the build:\n{_last_lines(ran.stdout + ran.stderr)}")


def _compile(folder: Path, verbose: bool) -> None:
    from tqdm.auto import tqdm

    command = [python_tool("ninja"), "-C", folder, _MODULE] + ["-v"] * verbose
    environment = os.environ | {"NINJA_STATUS": "[%f/%t] "}
    output = []
    with (
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        ) as ninja,
        tqdm(desc="compiling", unit="file", leave=False, disable=verbose) as bar,
    ):
        for line in ninja.stdout:
            output.append(line)
            if verbose:
                print(line, end="", flush=True)
            elif step := re.match(r"\[(\d+)/(\d+)\]", line):
                bar.total = int(step[2])
                bar.update(int(step[1]) - bar.n)
    if ninja.returncode:
        raise BuildError(f"the native kernels do not compile:\n{_complaint(output)}")


def _complaint(output: list[str]) -> str:
    # Ninja prints a failed step as "FAILED: <file>", its command, and then the compiler's words.
    failed = next((i for i, line in enumerate(output) if line.startswith("FAILED")), 0)
    return "".join(output[failed + 2 : failed + 42]) if output[failed:] else _last_lines("".join(output))


def _last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-30:])


def _install(made: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_suffix(".new")
    shutil.copy2(made, fresh)
    fresh.rename(target)  # at once: another process sees all of it or nothing
    others = sorted(_native().glob(f"*/{_MODULE}.*.so"), key=lambda path: path.stat().st_mtime)
    for old in [path for path in others if not path.parent.name.startswith("build-")][:-_KEPT]:
        shutil.rmtree(old.parent, ignore_errors=True)
