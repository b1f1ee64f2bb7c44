"""The kernels' own driver: other compilers, other processors, and the sanitizers.

What is built is kept in build/, so that a second run compiles only what changed.
"""

import os
import shutil
import subprocess

import pytest
from kernels.tools import minutes_long, tool, without

from course_lib.kernels.toolchain import python_tool
from course_lib.paths import CHECKOUT, EXTENSIONS

ANY_CPU = "-DCOURSE_NATIVE=OFF"
MATMULS = ("quantized_matmul", "panel_matmul", "panel_floats")


def drive(name, compiler, *options, flags="", emulator=(), only=()):
    """Build the driver and run it.

    Args:
        name: of the folder to build in.
        compiler: its path.
        options: for CMake.
        flags: more compiler flags.
        emulator: the command that runs a program for another processor.
        only: what to drive; by default all.
    """
    folder = CHECKOUT / "build" / "driver" / name
    configure = [
        python_tool("cmake"), "-S", EXTENSIONS, "-B", folder, "-G", "Ninja",
        f"-DCMAKE_MAKE_PROGRAM={python_tool('ninja')}", f"-DCMAKE_CXX_COMPILER={compiler}",
        "-DCOURSE_EXTENSION=OFF", "-DCOURSE_DRIVER=ON", f"-DCMAKE_CXX_FLAGS=-Werror {flags}", *options,
    ]  # fmt: skip
    run(configure)
    run([python_tool("ninja"), "-C", folder, "driver"])
    said = ""
    for kernel in only or [""]:
        said += run([*emulator, folder / "driver", *([kernel] if kernel else [])])
    return said


def run(command):
    """The output of a command; fails the test with it if the command fails."""
    ran = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=600, check=False)
    if ran.returncode:
        pytest.fail(f"{' '.join(map(str, command[:3]))} ... says:\n{(ran.stdout + ran.stderr)[-4000:]}")
    return ran.stdout


def gcc():
    return os.environ.get("CXX") or tool("g++", "g++")


def everything_ran(said):
    names = ("thread_pool", *MATMULS, "attention", "rms_norm", "rope", "swiglu", "decoder_layer", "fork")
    return all(name in said for name in names)


def products_of_bytes(said):
    """By what the processor multiplies bytes, as the driver found out: "spelt_out", "dot" or "tiles"."""
    return said.split("products of bytes")[1].split()[0]


@pytest.fixture
def slow():
    minutes_long()


def test_kernels_equal_their_definitions_without_warnings():
    assert everything_ran(drive("host", gcc()))


@pytest.mark.usefixtures("slow")
def test_clang_compiles_them_without_warnings_and_correctly():
    assert everything_ran(drive("clang", tool("clang++", "clang")))


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
def test_other_widths_of_vectors(vector_bytes):
    flags = f"-DVECTOR_BYTES={vector_bytes} -Wno-psabi"
    kernels = (*MATMULS, "attention", "rope", "swiglu", "decoder_layer")
    drive(f"vectors-{vector_bytes}", tool("clang++", "clang"), flags=flags, only=kernels)


@pytest.fixture
def on_x86():
    if os.uname().machine != "x86_64":
        pytest.skip("only x86 has processors so different")


@pytest.mark.usefixtures("slow", "on_x86")
def test_a_processor_without_fused_multiply_add_or_products_of_bytes():
    said = drive("x86-64", gcc(), ANY_CPU, only=(*MATMULS, "attention", "decoder_layer"))
    assert products_of_bytes(said) == "spelt_out"  # whatever this machine has: its instructions were not allowed


@pytest.mark.usefixtures("slow", "on_x86")
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_a_processor_with_avx2_and_no_more(compiler):
    """What is asked for at run time may stand in the code; here it uses it only if this machine has it, too."""
    path = gcc() if compiler == "g++" else tool("clang++", "clang")
    said = drive(f"avx2-{compiler}", path, ANY_CPU, flags="-mavx2 -mfma", only=(*MATMULS, "attention", "decoder_layer"))
    assert products_of_bytes(said) in ("spelt_out", "dot")


@pytest.mark.usefixtures("slow")
def test_no_access_outside_the_arrays_and_nothing_undefined():
    drive("address", gcc(), "-DCOURSE_SANITIZE=address,undefined", "-DCMAKE_BUILD_TYPE=RelWithDebInfo")


@pytest.mark.usefixtures("slow")
def test_no_data_races(monkeypatch):
    monkeypatch.setenv("TSAN_OPTIONS", "halt_on_error=1")  # or it goes on for minutes, race after race
    drive("thread", gcc(), "-DCOURSE_SANITIZE=thread", "-DCMAKE_BUILD_TYPE=RelWithDebInfo")


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize(
    ("flags", "products"), [("", "spelt_out"), ("-march=armv8.2-a+dotprod", "dot")], ids=["any", "with sdot"]
)
def test_on_arm(flags, products):
    if os.uname().machine in ("aarch64", "arm64"):
        pytest.skip("this machine is one: see the first test")
    compiler = tool("aarch64-linux-gnu-g++", "g++-aarch64-linux-gnu")
    emulator = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    if emulator is None:
        without("qemu-aarch64 is not here; on Debian: apt-get install qemu-user")
    options = ("-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64", ANY_CPU)
    options += ("-DCMAKE_EXE_LINKER_FLAGS=-static",)
    said = drive(f"arm-{products}", compiler, *options, flags=flags, emulator=[emulator])
    assert everything_ran(said) and products_of_bytes(said) == products
