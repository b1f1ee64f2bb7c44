"""The compiled extension, loaded when it is first needed."""

import sys
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType


class NotBuilt(ImportError):
    """The native kernels are not built for this machine. The message says how to build them."""


@cache
def extension() -> ModuleType:
    """The compiled module.

    Raises:
        NotBuilt: it is not there, or was built from other sources.
    """
    import mlx.core  # noqa: F401  (first: the extension's functions take and return its arrays)

    from course_lib.kernels.build import built

    path = built()
    if path is None:
        course = Path(sys.executable).with_name("course")
        raise NotBuilt(f"the native kernels are not built for this machine. Build them with: {course} build")
    spec = spec_from_file_location("course_lib.kernels._ext", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def threads() -> int:
    """Threads that the kernels run on: one a physical core, or $COURSE_NUM_THREADS.

    Raises:
        NotBuilt: the kernels are not built.
        ValueError: $COURSE_NUM_THREADS is not a number from 1 to 1024.
    """
    return extension().threads()


def set_threads(count: int) -> None:
    """Run the kernels on `count` threads from now on.

    Raises:
        NotBuilt: the kernels are not built.
        ValueError: count is below 1 or above 1024.
    """
    extension().set_threads(count)
