"""A kernel's program: the translation compiled and linked with the emulator, once for each source.

Programs are kept in the user's cache folder, filed under everything that they depend on: the Metal source, the
emulator's, the compiler, the processor.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path

from course_lib.kernels.metal.diagnostics import complaint, explain
from course_lib.kernels.metal.errors import MetalError, MetalSyntaxError
from course_lib.kernels.metal.preprocess import preprocess
from course_lib.kernels.metal.signature import ATTRIBUTES, Body, Signature, metal_source
from course_lib.kernels.metal.translate import translate
from course_lib.kernels.toolchain import BuildError, find_compiler, host_cpu, identity
from course_lib.paths import EXTENSIONS, cache_dir

EMULATOR = EXTENSIONS / "emulator"
_KEPT = 300  # programs; older ones are deleted
_UNUSED = 3600  # seconds after which a program may go: another process may be about to start a younger one
_COMMON = [
    "-std=c++20", "-w", "-fno-strict-aliasing", "-ffp-contract=off", "-fsigned-char", "-fno-exceptions",
    "-fno-rtti", "-fno-math-errno",
]  # fmt: skip
# Half is rounded after each operation, as on the GPU; and what is built here runs here.
_WHERE_ACCEPTED = [["-march=native"], ["-fno-finite-loops"], ["-fexcess-precision=16"], ["-Xclang", "-ffloat16-excess-precision=none"]]
_UNDEFINED = "signed-integer-overflow,shift,integer-divide-by-zero,bounds,unreachable,return,vla-bound"
_HOOK = b"__tsan_"  # how the names begin of what an instrumented object calls
# An access that the compiler merges with another, moves out of a loop or finds unneeded would not be seen. With
# these switched off, each access of the source is one of the program, whatever the compiler's version.
_EVERY_ACCESS = """
    -fno-tree-fre -fno-tree-pre -fno-tree-dse -fno-tree-dominator-opts -fno-tree-loop-im -fno-tree-sink
    -fno-code-hoisting -fno-tree-phiprop -fno-hoist-adjacent-loads -fno-store-merging -fno-tree-cselim
    -fno-if-conversion -fno-ipa-pure-const -fno-ipa-modref -fno-ipa-sra -fno-ipa-icf -fno-tree-vrp
    -fno-tree-sra -fno-tree-loop-distribute-patterns -fno-tree-tail-merge -fno-crossjumping -fno-gcse
""".split()


def program(body: Body, signature: Signature, checked: bool) -> Path:
    """The program that runs a kernel; compiled if it is not there yet.

    Args:
        body: the kernel.
        signature: of the call.
        checked: with the sanitizer and the profiler.

    Raises:
        MetalSyntaxError: the source does not compile; UnsupportedMetal: nor could it.
        BuildError: there is no compiler.
    """
    source = metal_source(body, signature)
    compiler = compiler_here()
    key = _digest(source, signature.template_arguments, str(checked), _emulator_digest(), identity(compiler), host_cpu())
    made = _folder() / key / "kernel"
    if not made.exists():
        try:
            _build(made, source, signature, checked, compiler)
        except MetalSyntaxError as error:
            raise explain(error, body.texts) from None
    with suppress(OSError):
        os.utime(made)  # what is used is not forgotten
    return made


def cpp_source(body: Body, signature: Signature) -> str:
    """The C++ that a kernel becomes, for those who want to look."""
    return _translated(metal_source(body, signature), signature, compiler_here())[1]


def check_cpp(source: str, signature: Signature) -> None:
    """Compile the translation without making anything.

    Raises:
        MetalSyntaxError: it does not compile.
    """
    compiler = compiler_here()
    translation, cpp = _translated(source, signature, compiler)
    command = [str(compiler), *_COMMON, *_accepted(compiler), "-DEMULATOR_CHECKED=0", "-x", "c++", "-fsyntax-only", "-"]
    ran = subprocess.run(command, input=cpp, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise complaint(ran.stderr, translation)



def build_emulator() -> None:
    """Compile the emulator itself, plain and checked, unless that is done: the first kernel would else do it.

    Raises:
        BuildError: there is no compiler.
        MetalError: it does not compile.
    """
    compiler = compiler_here()
    with ThreadPoolExecutor(2) as pool:
        for made in [pool.submit(_runtime, compiler, checked) for checked in (False, True)]:
            made.result()


def compiler_here() -> Path:
    """The C++ compiler.

    Raises:
        BuildError: there is none.
    """
    compiler = find_compiler()
    if compiler is None:
        raise BuildError("Metal kernels run on a CPU need a C++ compiler: g++ 12 or later, or clang.")
    return compiler


def _folder() -> Path:
    return cache_dir() / "metal"


@cache
def _emulator_digest() -> str:
    here = Path(__file__).parent
    files = sorted(EMULATOR.rglob("*.h")) + sorted(EMULATOR.rglob("*.cpp")) + sorted(here.glob("*.py"))
    return _digest(*(path.read_text() for path in files))


def _digest(*parts: str) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part.encode() + b"\0")
    return whole.hexdigest()[:20]


def _translated(source: str, signature: Signature, compiler: Path):
    translation = translate(preprocess(source, compiler), "kernel", signature.function)
    return translation, f'#include "{EMULATOR}/msl/msl.h"\n{translation.cpp}\n{_entry(signature)}'


def _entry(signature: Signature) -> str:
    """The function that the emulator calls once a thread: it binds buffers and attributes to the parameters."""
    arguments = []
    for i, parameter in enumerate(signature.parameters):
        element = f"metal::atomic<{parameter.type}>" if parameter.atomic else parameter.type
        element = {"int64_t": "long", "uint64_t": "ulong"}.get(element, element)
        const = "" if parameter.role == "output" else "const "
        pointer = f"static_cast<{const}{element}*>(buffers[{i}])"
        arguments.append(f"*{pointer}" if parameter.reference else pointer)
    for name in signature.attributes:
        vector = ATTRIBUTES[name] == "uint3"
        arguments.append(f"emulator::three(at.{name})" if vector else f"at.{name}[0]")
    call = f"{signature.function}{signature.template_arguments}({', '.join(arguments)});"
    return (
        '#line 1 "the call"\n'
        f'extern "C" void emulated_kernel(void* const* buffers, const emulator::Position& at) {{ {call} }}\n'
    )


def _build(target: Path, source: str, signature: Signature, checked: bool, compiler: Path) -> None:
    translation, cpp = _translated(source, signature, compiler)
    _folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_folder(), prefix="new-") as name:
        folder = Path(name)
        (folder / "kernel.cpp").write_text(cpp)
        with ThreadPoolExecutor(1) as pool:
            runtime = pool.submit(_runtime, compiler, checked)
            ran = _compile_kernel(folder, compiler, checked)
            made = runtime.result()
        if ran.returncode:
            raise complaint(ran.stderr, translation)
        if checked:
            _require_hooks(folder, compiler)
        link = [compiler, "-o", folder / "kernel", folder / "kernel.o", made, "-lm", "-lpthread"]
        if os.uname().sysname == "Linux":
            link += ["-no-pie"]  # a line is looked up by its address in the file
        ran = subprocess.run(link, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise MetalError(f"the kernel does not link:\n{ran.stderr[-2000:]}")
        if os.uname().sysname == "Darwin":  # line numbers stay in the object file, which does not
            _run(["/usr/bin/dsymutil", folder / "kernel"])
        (folder / "kernel.o").unlink()
        target.parent.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.replace(target.parent / path.name)
    _forget_old()


def _compile_kernel(folder: Path, compiler: Path, checked: bool) -> subprocess.CompletedProcess:
    flags = [*_COMMON, *_accepted(compiler), f"-DEMULATOR_CHECKED={int(checked)}"]
    object_, cpp = folder / "kernel.o", folder / "kernel.cpp"
    if not checked:
        return _run([compiler, *flags, "-O2", "-g1", "-c", cpp, "-o", object_])
    # Version 4, since binutils' addr2line misses clang's inlined functions in version 5.
    hooks = ["-gdwarf-4", f"-fsanitize=thread,{_UNDEFINED}", "-fsanitize-recover=all"]
    if not _is_clang(compiler):
        return _run([compiler, *flags, "-O2", *_EVERY_ACCESS, *hooks, "-c", cpp, "-o", object_])
    _require_memory_hooks(compiler)
    # clang puts its hooks in after optimising. So: first the hooks, with nothing optimised, then the rest.
    bitcode = folder / "kernel.bc"
    first = [*flags, "-O0", "-Xclang", "-disable-O0-optnone", *hooks, "-emit-llvm", "-c", cpp, "-o", bitcode]
    ran = _run([compiler, *first])
    if ran.returncode:
        return ran
    ran = _run([compiler, "-O1", "-w", "-c", bitcode, "-o", object_])
    bitcode.unlink()
    return ran


def _run(command: list) -> subprocess.CompletedProcess:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)


def _runtime(compiler: Path, checked: bool) -> Path:
    """The emulator itself, compiled once for all kernels: with checks and without."""
    key = _digest(_emulator_digest(), identity(compiler), host_cpu(), str(checked))
    made = _folder() / f"runtime-{key}.o"
    if not made.exists():
        sources = sorted((EMULATOR / "runtime").glob("*.cpp"))
        _folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_folder(), prefix="new-") as name:
            whole = Path(name) / "runtime.cpp"  # one translation unit: half the time of compiling each
            whole.write_text("".join(f'#include "{source}"\n' for source in sources))
            flags = ["-std=c++20", "-O3", "-w", *_accepted(compiler), f"-DEMULATOR_CHECKED={int(checked)}"]
            ran = _run([compiler, *flags, "-c", whole, "-o", Path(name) / "runtime.o"])
            if ran.returncode:
                raise MetalError(f"the emulator does not compile with {compiler}:\n{ran.stderr[-3000:]}")
            (Path(name) / "runtime.o").replace(made)
    return made


def _require_memory_hooks(compiler: Path) -> None:
    """Older clangs let the copying of structs, such as float4, go unseen."""
    said = _run([compiler, "--version"]).stdout
    found = re.search(r"(Apple )?clang version (\d+)", said)
    oldest = 15 if found and found[1] else 16  # Apple counts its own
    if found and int(found[2]) < oldest:
        raise BuildError(
            f"{compiler} is clang {found[2]}; checked runs need clang {oldest} or later, or g++ 12 or later. "
            "Name another with the environment variable CXX."
        )


def _require_hooks(folder: Path, compiler: Path) -> None:
    """A compiler that takes the flags and puts no hooks in would make every kernel look clean."""
    if _HOOK in (folder / "kernel.o").read_bytes():
        return
    # A kernel that touches no memory has none either, so ask one that does.
    with tempfile.TemporaryDirectory(dir=_folder(), prefix="new-") as name:
        probe = Path(name)
        (probe / "kernel.cpp").write_text("void probe(const int* from, int* to) { *to = *from; }\n")
        ran = _compile_kernel(probe, compiler, checked=True)
        if ran.returncode or _HOOK not in (probe / "kernel.o").read_bytes():
            raise BuildError(
                f"{compiler} takes -fsanitize=thread and records no accesses, so that checked runs would find nothing. "
                "Name another compiler with the environment variable CXX: g++ 12 or later, or clang 16 or later."
            )


@cache
def _is_clang(compiler: Path) -> bool:
    return "clang" in _run([compiler, "--version"]).stdout.lower()


@cache
def _accepted(compiler: Path) -> tuple[str, ...]:
    """Of the flags that not every compiler has, those that this one has."""
    accepted = []
    for flags in _WHERE_ACCEPTED:
        command = [str(compiler), "-x", "c++", "-Werror", *flags, "-fsyntax-only", "-"]
        ran = subprocess.run(command, input="", capture_output=True, text=True, check=False)
        if ran.returncode == 0:
            accepted += flags
    return tuple(accepted)


def _forget_old() -> None:
    ages = {}
    for made in _folder().glob("*/kernel"):
        with suppress(FileNotFoundError):  # another process moves its own into place, or tidies up, too
            ages[made] = time.time() - made.stat().st_mtime
    for made in sorted(ages, key=ages.get)[_KEPT:]:
        if ages[made] > _UNUSED:
            shutil.rmtree(made.parent, ignore_errors=True)
