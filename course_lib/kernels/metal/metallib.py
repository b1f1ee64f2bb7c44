"""Compile .metal files ahead of time with Apple's own compiler: the judge of what is Metal. Needs Xcode, on a Mac."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from course_lib.kernels.metal.errors import MetalError, MetalSyntaxError

STANDARD = "metal3.1"  # the first with bfloat


def compile_ahead(paths: Sequence[Path], folder: Path) -> Path:
    """Compile each file, and link them into one library.

    Args:
        paths: of .metal files.
        folder: where `course.metallib` and the object files go.

    Returns:
        The library.

    Raises:
        MetalSyntaxError: a file does not compile, in the compiler's words.
        MetalError: there is no Metal compiler.
    """
    if shutil.which("xcrun") is None:
        raise MetalError("xcrun is not here: Metal's compiler comes with Xcode, which is for Macs.")
    folder.mkdir(parents=True, exist_ok=True)
    objects = []
    for path in paths:
        objects.append(folder / f"{path.stem}.air")
        _run("metal", f"-std={STANDARD}", "-Wall", "-Werror", "-c", path, "-o", objects[-1])
    library = folder / "course.metallib"
    _run("metallib", *objects, "-o", library)
    return library


def _run(tool: str, *arguments) -> None:
    command = ["xcrun", "-sdk", "macosx", tool, *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise MetalSyntaxError(f"{' '.join(command)}\n{ran.stderr.strip()}")
