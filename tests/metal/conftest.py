"""The tests of Metal kernels run on the CPU; where there is no compiler they are skipped."""

import mlx.core as mx
import numpy as np
import pytest
from kernels.tools import without

from course_lib.kernels.toolchain import find_compiler


@pytest.fixture(scope="session", autouse=True)
def a_compiler():
    if find_compiler() is None:
        without("there is no C++ compiler")


@pytest.fixture(autouse=True)
def on_the_cpu():
    before = mx.default_device()
    mx.set_default_device(mx.cpu)
    yield
    mx.set_default_device(before)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
