"""Building: only when something changed, and never without saying what is missing."""

import os
import shutil
import subprocess
import sys
import sysconfig

import pytest
from kernels.tools import minutes_long, tool

from course_lib.kernels import build as building
from course_lib.kernels import extension as loading
from course_lib.kernels import self_test, set_threads, toolchain
from course_lib.kernels.build import BuildError, build, built
from course_lib.paths import EXTENSIONS


@pytest.fixture
def own_sources(tmp_path, monkeypatch):
    """A copy of the sources, to change."""
    sources = tmp_path / "extensions"
    for folder in ("reference", "runtime"):
        shutil.copytree(EXTENSIONS / folder, sources / folder)
    shutil.copy(EXTENSIONS / "CMakeLists.txt", sources)
    monkeypatch.setattr(building, "EXTENSIONS", sources)
    return sources


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_nothing_is_done_when_nothing_changed(capsys):
    path = build()
    capsys.readouterr()
    when = path.stat().st_mtime_ns
    assert build() == path == built()
    assert capsys.readouterr().out == ""
    assert path.stat().st_mtime_ns == when


@pytest.mark.usefixtures("own_cache")
def test_a_build_from_nothing_has_no_warnings_and_works(monkeypatch):
    minutes_long()
    monkeypatch.setenv("CXXFLAGS", "-Werror")
    build()
    ran = subprocess.run(
        [sys.executable, "-m", "course_lib.kernels", "test"], capture_output=True, text=True, check=False
    )
    assert "agree with MLX's" in ran.stdout, ran.stderr


def test_every_source_counts(own_sources):
    assert built() == build()  # the copy is the same code
    for path in (own_sources / "CMakeLists.txt", own_sources / "reference/vector.h", own_sources / "runtime/rope.cpp"):
        before = path.read_text()
        path.write_text(before + "\n")
        assert built() is None
        path.write_text(before)
    (own_sources / "reference/new.cpp").write_text("")
    assert built() is None


@pytest.mark.parametrize("what", ["host_cpu", "identity", "version"])
def test_another_processor_compiler_or_nanobind_needs_another_build(what, monkeypatch):
    assert built() is not None
    monkeypatch.setattr(building, what, lambda *_: "another")
    assert built() is None


def test_another_mlx_needs_another_build(monkeypatch):
    class Other:
        version = "0.1.0"
        locate_file = staticmethod(building.distribution("mlx").locate_file)

    monkeypatch.setattr(building, "distribution", lambda _: Other)
    assert built() is None


def test_a_folder_named_mlx_beside_the_script_changes_nothing(tmp_path):
    (tmp_path / "mlx").mkdir()
    script = tmp_path / "script.py"
    script.write_text("from course_lib.kernels import self_test\nprint(self_test())\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ran = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert "agree with MLX's" in ran.stdout, ran.stderr


def test_a_missing_compiler_is_named_with_the_command_that_mends_it(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(toolchain, "find_compiler", lambda: None)
    with pytest.raises(BuildError, match="no C\\+\\+ compiler. Install one with: (sudo apt install g|xcode-select)"):
        build()
    monkeypatch.setenv("CXX", "/nowhere/c++")
    with pytest.raises(BuildError, match="CXX names /nowhere/c\\+\\+.*unset CXX"):
        build()


def test_a_compiler_named_by_cxx_is_taken(monkeypatch, tmp_path):
    named = tmp_path / "my-compiler"
    named.symlink_to(tool("c++", "g++"))
    monkeypatch.setenv("CXX", str(named))
    assert toolchain.find_compiler() == named


def test_missing_headers_of_python_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(toolchain.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    with pytest.raises(BuildError, match="without the headers"):
        build()


@pytest.fixture
def one_file(own_sources, own_cache):
    """Sources that compile in a second: a library of one file."""
    for path in own_sources.glob("*/*.cpp"):
        path.unlink()
    listing = own_sources / "CMakeLists.txt"
    kernels_alone = listing.read_text().split("if(COURSE_EXTENSION)")[0].replace("runtime/thread_pool.cpp", "")
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    listing.write_text(
        f"{kernels_alone}add_library(_ext MODULE $<TARGET_OBJECTS:kernels>)\n"
        f'set_target_properties(_ext PROPERTIES PREFIX "" SUFFIX "{suffix}")\n'
    )
    return own_sources / "reference/one.cpp"


def test_code_that_does_not_compile_gives_the_compilers_words(one_file):
    one_file.write_text("int f() { return nonsense; }\n")
    with pytest.raises(BuildError, match=r"(?s)do not compile:\n.*one\.cpp:1:18.*nonsense"):
        build()
    assert built() is None
    (one_file.parents[1] / "CMakeLists.txt").write_text("nonsense()\n")
    with pytest.raises(BuildError, match=r"(?s)could not configure.*nonsense"):
        build()


def test_a_file_put_back_with_its_old_date_is_compiled_again(one_file):
    text = 'extern "C" __attribute__((visibility("default"))) const char text[] = "the first";\n'
    one_file.write_text(text)
    old = one_file.stat().st_mtime
    first = build()
    assert b"the first" in first.read_bytes()
    shutil.rmtree(first.parent)
    one_file.write_text(text.replace("first", "second"))
    assert b"the second" in build().read_bytes()
    one_file.write_text(text)
    os.utime(one_file, (old, old))
    assert build() == first
    assert b"the first" in first.read_bytes()


def test_sources_that_change_while_they_are_compiled_are_not_taken_for_what_was_compiled(one_file, monkeypatch):
    one_file.write_text("int number = 1;\n")
    compile_all = building._compile

    def edited_meanwhile(*arguments):
        compile_all(*arguments)
        one_file.write_text("int number = 2;\n")

    monkeypatch.setattr(building, "_compile", edited_meanwhile)
    with pytest.raises(BuildError, match="changed while they were compiled"):
        build()
    assert built() is None


def test_an_unbuilt_extension_says_how_to_build_it(own_cache):
    # Past its cache: an extension that is loaded twice in one process lacks the classes the second time.
    with pytest.raises(loading.NotBuilt, match="not built for this machine.*course build"):
        loading.extension.__wrapped__()


def test_the_self_test_calls_the_operations(monkeypatch):
    assert "agree with MLX's" in self_test()

    def refusing(*arguments, **options):
        raise TypeError("rms_norm(): incompatible function arguments.")

    monkeypatch.setattr("course_lib.kernels.selftest.rms_norm", refusing)
    with pytest.raises(RuntimeError, match="rms_norm cannot be called.*another nanobind"):
        self_test()
    monkeypatch.setattr("course_lib.kernels.selftest.rms_norm", lambda x, weight, eps, stream: x)
    with pytest.raises(RuntimeError, match="rms_norm differs from MLX's"):
        self_test()


@pytest.mark.parametrize("count", [0, -1, 2000])
def test_absurd_thread_counts_are_refused(count):
    with pytest.raises(ValueError, match=f"given {count} threads; wanted 1 to 1024"):
        set_threads(count)


@pytest.mark.parametrize(("value", "says"), [("3", "on 3 threads"), ("1", "on 1 thread"), ("many", 'is "many"; wanted')])
def test_the_environment_sets_the_number_of_threads(value, says, monkeypatch):
    monkeypatch.setenv("COURSE_NUM_THREADS", value)
    ran = subprocess.run(
        [sys.executable, "-m", "course_lib.kernels", "test"], capture_output=True, text=True, check=False
    )
    assert says in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr
