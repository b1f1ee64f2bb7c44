"""The tests of the native kernels need the extension; where there is no compiler they are skipped."""

import mlx.core as mx
import pytest
from kernels.tools import without

from course_lib.kernels.build import BuildError, build


@pytest.fixture(scope="session", autouse=True)
def extension_built():
    try:
        build()
    except BuildError as error:
        without(str(error))


@pytest.fixture(autouse=True)
def on_the_cpu():
    """The kernels run on the CPU, also where MLX's default device is a GPU."""
    before = mx.default_device()
    mx.set_default_device(mx.cpu)
    yield
    mx.set_default_device(before)
