"""Do the compiler's sanitizers work on this machine, and how are programs started that are built with them?"""

import os
import platform
import shutil
import subprocess
import threading
from functools import cache

from ...kernels.toolchain import require_compiler
from ...paths import cache_dir

ENVIRONMENT = {
    # handle_abort: a program that hangs is sent this signal, to say where it is.
    "ASAN_OPTIONS": "handle_abort=1:handle_sigill=1:handle_sigtrap=1:detect_leaks=0:color=never:exitcode=97:max_allocation_size_mb=4096",
    "UBSAN_OPTIONS": "print_stacktrace=1:color=never",
    "TSAN_OPTIONS": "halt_on_error=1:color=never:exitcode=98:handle_abort=1",
}


_ONE_AT_A_TIME = threading.Lock()  # or two threads write and start the same probe


def launcher(flag: str) -> tuple[str, ...] | None:
    """What stands before the name of a program built with `flag` ("-fsanitize=thread") to start it; nothing on
    most machines. None where such programs cannot be built or do not start."""
    with _ONE_AT_A_TIME:
        return _launcher(flag)


@cache
def _launcher(flag: str) -> tuple[str, ...] | None:
    program = cache_dir() / "native" / "ladders" / f"probe{flag.replace('=', '-').replace(',', '-')}"
    program.parent.mkdir(parents=True, exist_ok=True)
    # Under a name of its own first: another process may be running the program that is there.
    own = program.with_name(f"{program.name}.{os.getpid()}")
    command = [str(require_compiler()), flag, "-x", "c++", "-", "-o", str(own)]
    if subprocess.run(command, input="int main() {}", capture_output=True, text=True, check=False).returncode:
        return None
    os.replace(own, program)
    starts = [()]
    if setarch := shutil.which("setarch"):
        # Linux may lay out memory in a way that an older thread sanitizer refuses; this asks for the plain layout.
        starts.append((setarch, platform.machine(), "-R"))
    for start in starts:
        if subprocess.run([*start, str(program)], capture_output=True, check=False).returncode == 0:
            return start
    return None
