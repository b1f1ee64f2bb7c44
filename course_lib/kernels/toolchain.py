"""What native code is built with, and for which machine."""

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path


class BuildError(RuntimeError):
    """Native code cannot be built. The message says why, and the command that mends it."""


def find_compiler() -> Path | None:
    """The C++ compiler: $CXX, else the first of c++, g++, clang++; None if there is none."""
    if sys.platform == "darwin" and not os.environ.get("CXX"):
        # /usr/bin/c++ is always there; without the tools behind it, running it opens a dialog.
        return _apple_compiler()
    named = os.environ.get("CXX")
    names = [named] if named else ["c++", "g++", "clang++"]
    found = next((path for name in names if (path := shutil.which(name))), None)
    return Path(found) if found else None


def _apple_compiler() -> Path | None:
    answer = subprocess.run(["/usr/bin/xcode-select", "-p"], capture_output=True, text=True, check=False)
    if answer.returncode:
        return None
    tools = Path(answer.stdout.strip())
    places = [tools / "usr/bin/clang++", tools / "Toolchains/XcodeDefault.xctoolchain/usr/bin/clang++"]
    return next((path for path in places if path.exists()), None)


def require_compiler() -> Path:
    """The C++ compiler.

    Raises:
        BuildError: there is none, or Python was installed without the headers that extensions need.
    """
    compiler = find_compiler()
    mac = sys.platform == "darwin"
    if compiler is None:
        if named := os.environ.get("CXX"):
            raise BuildError(f"the environment variable CXX names {named}, which is not there: unset CXX")
        mend = "xcode-select --install" if mac else "sudo apt install g++"
        raise BuildError(f"there is no C++ compiler. Install one with: {mend}")
    if not Path(sysconfig.get_paths()["include"], "Python.h").exists():
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise BuildError(
            f"{sys.executable} came without the headers that extensions are compiled with. "
            + ("Use Homebrew's Python: brew install python" if mac else f"Install them with: sudo apt install python{version}-dev")
        )
    return compiler


def identity(compiler: Path) -> str:
    """What changes when the compiler does. Running it to ask for its version would take longer than
    all else that decides whether there is something to build."""
    real = compiler.resolve()
    stat = real.stat()
    return f"{compiler} {real} {stat.st_size} {stat.st_mtime_ns}"


@cache
def host_cpu() -> str:
    """The processor's instruction set. What is built for it need not run on another."""
    if sys.platform == "darwin":
        answer = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
        )
        return f"{platform.machine()} {answer.stdout.strip()}"
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        first = ""
    wanted = r"^(vendor_id|cpu family|model|flags|CPU implementer|CPU part|Features)\s*:\s*(.*)$"
    found = re.findall(wanted, first, re.MULTILINE)
    return " ".join([platform.machine(), *(value for _, value in found)])


def python_tool(name: str) -> Path:
    """cmake or ninja, as their Python packages brought them.

    Raises:
        BuildError: the package is not installed.
    """
    module = {"cmake": "CMAKE_BIN_DIR", "ninja": "BIN_DIR"}
    try:
        package = __import__(name)
    except ImportError:
        mend = f"{sys.executable} -m pip install {name}"
        raise BuildError(f"the package {name} is not installed. Install it with: {mend}") from None
    return Path(getattr(package, module[name]), name)
