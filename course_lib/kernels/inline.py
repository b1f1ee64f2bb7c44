"""A C++ function from a text, callable at once: for small things. What learners write in files goes another way,
through checks (`course_lib.classroom.native`)."""

import ctypes
import hashlib
import os
import subprocess

from course_lib.kernels.toolchain import BuildError, host_cpu, identity, require_compiler
from course_lib.paths import cache_dir

FLAGS = ("-std=c++20", "-O2", "-fPIC", "-shared", "-x", "c++", "-")


def compile_cpp(source: str) -> ctypes.CDLL:
    """Compile a text and load it; its `extern "C"` functions are attributes of the result.

    The same text is compiled once. Another text becomes another library, so an older one never answers.

    Args:
        source: C++20.

    Returns:
        The library. ctypes knows nothing of the functions: set their `argtypes` and `restype`.

    Raises:
        BuildError: there is no compiler, or the text does not compile; the message is the compiler's.
    """
    compiler = require_compiler()
    key = hashlib.sha256("\0".join([identity(compiler), host_cpu(), *FLAGS, source]).encode()).hexdigest()[:16]
    path = cache_dir() / "native" / "inline" / f"{key}.so"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = path.with_suffix(f".{os.getpid()}")
        command = [str(compiler), *FLAGS, "-o", str(made)]
        ran = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise BuildError(f"the C++ text does not compile:\n{ran.stderr.replace('<stdin>', 'your text')[:2000]}")
        os.replace(made, path)
    return ctypes.CDLL(str(path))
