"""C++ from a text."""

import ctypes

import pytest

from course_lib.kernels.inline import compile_cpp
from course_lib.kernels.toolchain import BuildError


def twice(factor):
    return f'extern "C" double times(double x) {{ return {factor} * x; }}'


def call(library):
    library.times.restype, library.times.argtypes = ctypes.c_double, [ctypes.c_double]
    return library.times(1.5)


def test_a_changed_text_answers_and_the_older_library_stays():
    two, three = compile_cpp(twice(2)), compile_cpp(twice(3))
    assert (call(two), call(three), call(compile_cpp(twice(2)))) == (3.0, 4.5, 3.0)


def test_a_text_that_does_not_compile_gives_the_compilers_words():
    with pytest.raises(BuildError, match="(?s)does not compile:\n.*your text:1.*nonsense"):
        compile_cpp('extern "C" int f() { return nonsense; }')


def test_a_missing_compiler_is_named(monkeypatch):
    monkeypatch.setenv("CXX", "/nowhere/c++")
    with pytest.raises(BuildError, match="unset CXX"):
        compile_cpp(twice(4))
