"""The doctor finds what is really broken, and names what mends it.

Each test breaks something real: a compiler that fails, packages that claim another version, a kernel that is
not this Python, a model file with a flipped bit.
"""

import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from course_lib.doctor import installation, machine, main, report
from course_lib.doctor.finding import Finding, Status, broken, complaint, ok, run, warning
from course_lib.llm import smollm2
from course_lib.paths import CHECKOUT


def script(path, text):
    """An executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def claim(folder, name, version):
    """Metadata that says that a package is installed in this version."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


class TestMachine:
    def test_this_machine_is_well(self):
        assert machine.check_python().status is Status.OK
        assert machine.check_system().status is Status.OK
        assert machine.check_machine().status is Status.OK

    def test_an_old_python_is_broken(self):
        finding = machine.check_python((3, 10, 4))
        assert finding.status is Status.BROKEN
        assert "3.10.4; the course needs 3.11" in finding.detail
        assert "PYTHON=python3.12" in finding.mend

    @pytest.mark.parametrize(
        ("kind", "architecture", "version", "status", "said"),
        [
            ("linux", "x86_64", "2.35", Status.OK, "glibc 2.35"),
            ("linux", "aarch64", "2.41", Status.OK, "aarch64"),
            ("linux", "x86_64", "2.31", Status.BROKEN, "needs? 2.35 or later"),
            ("linux", "x86_64", "2.4", Status.BROKEN, "glibc 2.4"),
            ("darwin", "arm64", "14.2", Status.OK, "macOS 14.2"),
            ("darwin", "arm64", "13.6", Status.BROKEN, "needs 14 or later"),
            ("darwin", "x86_64", "15.0", Status.BROKEN, "Apple silicon"),
            ("win32", "AMD64", "10", Status.BROKEN, "Linux and macOS"),
        ],
    )
    def test_systems_that_mlx_has_no_wheels_for_are_broken(self, kind, architecture, version, status, said):
        finding = machine.check_system(kind, architecture, version)
        assert finding.status is status
        assert said.replace("needs? ", "need ") in finding.detail
        assert bool(finding.mend) == (status is Status.BROKEN)

    def test_linux_without_glibc_is_broken(self, monkeypatch):
        monkeypatch.setattr(machine, "_glibc", lambda: "")
        assert "without glibc" in machine.check_system("linux", "x86_64").detail

    def test_too_little_room_is_a_warning_that_names_the_folder(self, monkeypatch, tmp_path):
        monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "not" / "yet" / "made"))
        finding = machine.check_disk(wanted=10**18)
        assert finding.status is Status.WARNING
        assert str(CHECKOUT) in finding.detail and str(tmp_path) in finding.detail
        assert "COURSE_CACHE" in finding.mend
        assert machine.check_disk(wanted=0).status is Status.OK

    def test_too_little_memory_is_a_warning(self):
        assert machine.check_machine(wanted=2**60).status is Status.WARNING


@pytest.mark.skipif(sys.platform == "darwin", reason="asks xcode-select first")
class TestCompiler:
    @pytest.fixture(autouse=True)
    def no_choice(self, monkeypatch):
        monkeypatch.delenv("CXX", raising=False)

    def test_the_one_here_works(self):
        assert machine.check_compiler().status is Status.OK

    def test_none_on_the_path(self, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        finding = machine.check_compiler()
        assert finding.status is Status.BROKEN
        assert finding.mend == "sudo apt install g++"

    def test_one_that_is_too_old_for_the_language(self, monkeypatch, tmp_path):
        script(tmp_path / "c++", "echo \"c++: error: unrecognized option '-std=c++20'\" >&2; exit 1")
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        finding = machine.check_compiler()
        assert finding.status is Status.BROKEN
        assert "unrecognized option '-std=c++20'" in finding.detail

    def test_one_whose_programs_do_not_run(self, monkeypatch, tmp_path):
        # Writes the program that it is asked for, which then kills itself.
        fake = 'printf "#!/bin/sh\\nkill -ILL \\$\\$\\n" > "$2"; chmod +x "$2"'
        script(tmp_path / "c++", f'while [ "$1" != -o ]; do shift; done; {fake}')
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        finding = machine.check_compiler()
        assert finding.status is Status.BROKEN
        assert "killed by SIGILL" in finding.detail

    def test_a_choice_that_is_not_there(self, monkeypatch):
        monkeypatch.setenv("CXX", "no-such-compiler")
        finding = machine.check_compiler()
        assert finding.status is Status.BROKEN
        assert "CXX=no-such-compiler" in finding.detail
        assert finding.mend == "unset CXX"


class TestHeaders:
    def test_they_are_here(self):
        assert machine.check_headers().status is Status.OK

    def test_a_python_that_came_without_them(self, tmp_path):
        finding = machine.check_headers(str(tmp_path))
        assert finding.status is Status.BROKEN
        assert str(tmp_path / "Python.h") in finding.detail
        assert "-dev" in finding.mend or "brew" in finding.mend


class TestBuildTools:
    def test_the_ones_here_work(self):
        assert "ninja" in installation.check_build_tools().detail

    def test_one_that_does_not_run(self, monkeypatch, tmp_path):
        script(tmp_path / "cmake", "echo 'cmake version 3.30.1'")
        script(tmp_path / "ninja", "echo 'libc error' >&2; exit 3")
        monkeypatch.setattr(installation.sys, "executable", str(tmp_path / "python"))
        finding = installation.check_build_tools()
        assert finding.status is Status.BROKEN
        assert "ninja" in finding.detail and "libc error" in finding.detail

    def test_one_that_is_missing(self, monkeypatch, tmp_path):
        monkeypatch.setattr(installation.sys, "executable", str(tmp_path / "python"))
        assert "cmake" in installation.check_build_tools().detail


class TestPackages:
    def test_what_is_installed_here_is_what_is_asked_for(self):
        finding = installation.check_packages()
        assert finding.status is Status.OK, finding
        assert "mlx 0." in finding.detail and "nanobind" in finding.detail

    def test_another_nanobind_than_the_pinned_one(self, monkeypatch, tmp_path):
        claim(tmp_path, "nanobind", "2.9.0")
        monkeypatch.syspath_prepend(tmp_path)
        finding = installation.check_packages()
        assert finding.status is Status.BROKEN
        assert "nanobind is 2.9.0, wanted ==3.1.0" in finding.detail
        assert finding.mend

    def test_every_wrong_package_is_named(self, monkeypatch, tmp_path):
        claim(tmp_path, "mlx", "0.1.0")
        claim(tmp_path, "jupyterlab", "3.6.0")
        monkeypatch.syspath_prepend(tmp_path)
        detail = installation.check_packages().detail
        assert "mlx is 0.1.0" in detail and "jupyterlab is 3.6.0" in detail

    def test_a_package_that_is_missing(self, monkeypatch):
        real = installation.metadata.version

        def version(name):
            if name == "tqdm":
                raise installation.metadata.PackageNotFoundError(name)
            return real(name)

        monkeypatch.setattr(installation.metadata, "version", version)
        assert "tqdm is missing" in installation.check_packages().detail


def a_package(folder, monkeypatch, name, text):
    """Put a package in front of the real one, for child processes."""
    path = folder / f"{name.replace('.', '/')}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    for parent in path.relative_to(folder).parents[:-1]:
        (folder / parent / "__init__.py").touch()
    path.write_text(text)
    monkeypatch.syspath_prepend(folder)


class TestDevice:
    def test_mlx_computes_here(self):
        finding = installation.check_device(nvidia=False)
        assert finding.status is Status.OK
        assert "computes on the" in finding.detail

    def test_an_unused_nvidia_gpu_is_a_warning(self):
        import mlx.core as mx

        if mx.default_device() != mx.Device(mx.cpu):
            pytest.skip("MLX uses the GPU here")
        finding = installation.check_device(nvidia=True)
        assert finding.status is Status.WARNING
        assert "CUDA=1" in finding.mend

    def test_an_mlx_that_cannot_be_imported(self, monkeypatch, tmp_path):
        a_package(tmp_path, monkeypatch, "mlx.core", "raise ImportError('libmlx.so: no such file')")
        finding = installation.check_device()
        assert finding.status is Status.BROKEN
        assert "libmlx.so: no such file" in finding.detail

    def test_an_mlx_for_nvidia_gpus_where_there_is_no_driver(self, monkeypatch, tmp_path):
        text = "raise ImportError('libcuda.so.1: cannot open shared object file')"
        a_package(tmp_path, monkeypatch, "mlx.core", text)
        assert "make setup CUDA=0" in installation.check_device().mend

    def test_an_mlx_that_crashes_does_not_take_the_doctor_along(self, monkeypatch, tmp_path):
        a_package(tmp_path, monkeypatch, "mlx.core", "import os, signal; os.kill(os.getpid(), signal.SIGILL)")
        finding = installation.check_device()
        assert finding.status is Status.BROKEN
        assert "killed by SIGILL" in finding.detail

    def test_an_mlx_that_computes_wrongly(self, monkeypatch):
        wrong = installation.MLX_PROGRAM.replace("a @ a.T", "a + 1")
        monkeypatch.setattr(installation, "MLX_PROGRAM", wrong)
        finding = installation.check_device()
        assert finding.status is Status.BROKEN
        assert "computes wrongly" in finding.detail


class TestExtension:
    def answer(self, monkeypatch, tmp_path, text):
        # The doctor asks the package course_lib.kernels in a child process; this one stands in for it.
        stand_in = tmp_path / "stand_in.py"
        stand_in.write_text(text)
        program = installation.KERNELS_PROGRAM.replace("course_lib.kernels", "stand_in")
        monkeypatch.setattr(installation, "KERNELS_PROGRAM", program)
        monkeypatch.syspath_prepend(tmp_path)
        return installation.check_extension()

    def test_an_op_that_can_be_called(self, monkeypatch, tmp_path):
        assert self.answer(monkeypatch, tmp_path, "def self_test(): pass").status is Status.OK

    def test_one_that_imports_and_cannot_be_called(self, monkeypatch, tmp_path):
        text = "def self_test(): raise TypeError('quantized_matmul(): incompatible function arguments')"
        finding = self.answer(monkeypatch, tmp_path, text)
        assert finding.status is Status.BROKEN
        assert "incompatible function arguments" in finding.detail
        assert finding.mend.endswith("course build")

    def test_one_that_crashes(self, monkeypatch, tmp_path):
        text = "import os, signal\ndef self_test(): os.kill(os.getpid(), signal.SIGSEGV)"
        assert "killed by SIGSEGV" in self.answer(monkeypatch, tmp_path, text).detail

    def test_one_that_has_not_been_built(self, monkeypatch, tmp_path):
        text = "def self_test(): raise ImportError('the native kernels are not built for this machine')"
        finding = self.answer(monkeypatch, tmp_path, text)
        assert finding.status is Status.BROKEN
        assert finding.detail == "the native kernels are not built for this machine"
        assert finding.mend.endswith("course build")


class TestJupyter:
    def specify(self, monkeypatch, tmp_path, *command):
        """A kernel named python3 that Jupyter finds before this environment's."""
        folder = tmp_path / "kernels" / "python3"
        folder.mkdir(parents=True)
        text = json.dumps({"argv": [*command], "display_name": "other", "language": "python"})
        (folder / "kernel.json").write_text(text)
        # keep_inside drops JUPYTER_PATH, which is why a learner's own kernels do no harm; break that too.
        monkeypatch.setattr("course_lib.jupyter.keep_inside", lambda: None)
        monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))

    def test_the_kernel_here_answers(self):
        finding = installation.check_jupyter()
        assert finding.status is Status.OK, finding

    def test_a_kernel_that_does_not_start(self, monkeypatch, tmp_path):
        self.specify(monkeypatch, tmp_path, "/bin/false")
        finding = installation.check_jupyter()
        assert finding.status is Status.BROKEN
        assert "does not start" in finding.detail

    def test_a_kernel_of_another_environment(self, monkeypatch, tmp_path):
        elsewhere = "import runpy, sys; sys.prefix = '/elsewhere';"
        elsewhere += "runpy.run_module('ipykernel_launcher', run_name='__main__')"
        self.specify(monkeypatch, tmp_path, sys.executable, "-c", elsewhere, "-f", "{connection_file}")
        finding = installation.check_jupyter()
        assert finding.status is Status.BROKEN
        assert "/elsewhere" in finding.detail and sys.prefix in finding.detail

    def test_a_users_own_kernel_of_the_same_name_is_not_used(self, monkeypatch, tmp_path):
        self.specify(monkeypatch, tmp_path, "/bin/false")
        monkeypatch.undo()
        monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
        assert installation.check_jupyter().status is Status.OK


class TestModel:
    @pytest.fixture
    def folder(self, monkeypatch, tmp_path):
        """A small file in the place and with the note of the converted model."""
        monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
        folder = smollm2._folder(smollm2._scales_dtype())
        folder.mkdir(parents=True)
        weights = folder / "model.safetensors"
        weights.write_bytes(b"weights" * 1000)
        note = {"format": smollm2._FORMAT, "model_sha256": hashlib.sha256(weights.read_bytes()).hexdigest()}
        (folder / smollm2._ORIGIN).write_text(json.dumps(note))
        return folder

    def test_a_sound_one(self, folder):
        assert installation.check_model().status is Status.OK

    def test_one_flipped_bit(self, folder):
        weights = folder / "model.safetensors"
        content = bytearray(weights.read_bytes())
        content[1234] ^= 1
        weights.write_bytes(content)
        finding = installation.check_model()
        assert finding.status is Status.BROKEN
        assert finding.mend.startswith(f"rm -r '{folder}' && ")

    def test_a_truncated_one(self, folder):
        os.truncate(folder / "model.safetensors", 100)
        assert installation.check_model().status is Status.BROKEN

    def test_none(self, monkeypatch, tmp_path):
        monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
        finding = installation.check_model()
        assert finding.status is Status.BROKEN
        assert str(tmp_path) in finding.detail
        assert finding.mend.endswith("course fetch") and "rm" not in finding.mend


class TestReport:
    def say(self, monkeypatch, capsys, *findings):
        monkeypatch.setattr(report, "ALL", [lambda finding=finding: finding for finding in findings])
        return main(), capsys.readouterr().out

    def test_all_well(self, monkeypatch, capsys):
        code, text = self.say(monkeypatch, capsys, ok("disk", "2 TB free"))
        assert code == 0
        assert text.splitlines() == ["ok       disk         2 TB free", "", "All that is needed works."]

    def test_a_warning_is_not_a_failure(self, monkeypatch, capsys):
        code, text = self.say(
            monkeypatch, capsys, warning("disk", "tight", "make room"), ok("MLX", "computes")
        )
        assert code == 0
        assert "mend: make room" in text

    def test_what_is_broken_fails_and_the_rest_is_still_examined(self, monkeypatch, capsys):
        code, text = self.say(
            monkeypatch, capsys, broken("MLX", "gone", "make setup"), ok("disk", "2 TB free")
        )
        assert code == 1
        assert "mend: make setup" in text and "2 TB free" in text and "Broken: 1" in text

    def test_a_check_that_fails_itself_is_a_finding(self, monkeypatch, capsys):
        def check_moon():
            raise OSError("no telescope")

        monkeypatch.setattr(report, "ALL", [check_moon])
        assert main() == 1
        assert "moon         OSError: no telescope" in capsys.readouterr().out

    def test_before_set_up_only_what_is_not_well_is_said(self, monkeypatch, capsys):
        checks = [
            lambda: ok("disk", "2 TB free"),
            lambda: broken("C++ compiler", "none", "sudo apt install g++"),
        ]
        monkeypatch.setattr(report, "BEFORE_SETUP", checks)
        assert main(["--before-setup"]) == 1
        text = capsys.readouterr().out
        assert "2 TB" not in text and "sudo apt install g++" in text

    def test_every_finding_that_is_not_ok_names_a_mend(self):
        for check in (*report.ALL,):
            finding = (
                Finding("x", Status.OK, "y") if check is installation.check_jupyter else report.examine(check)
            )
            assert finding.status is Status.OK or finding.mend, finding


def test_the_checks_before_set_up_run_on_a_python_with_nothing_installed():
    # -S: no site-packages. -I would hide the checkout as well.
    command = [sys.executable, "-S", "-m", "course_lib.doctor", "--before-setup"]
    ran = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_command_that_hangs_or_is_not_there_is_a_failed_command(tmp_path):
    assert run([str(tmp_path / "nothing")]).returncode == 1


def test_the_complaint_is_the_line_that_names_the_error():
    text = "a.cpp:1: error: no such type\ncompilation terminated.\n"
    assert complaint(subprocess.CompletedProcess([], 1, "", text)) == "a.cpp:1: error: no such type"
    assert complaint(subprocess.CompletedProcess([], 2, "", "")) == "exit code 2"
    assert complaint(subprocess.CompletedProcess([], 1, "", "just\nwords\n")) == "words"


def test_a_reinstallation_keeps_the_choice_of_cuda(monkeypatch, tmp_path):
    from course_lib.doctor import finding

    monkeypatch.setattr(finding, "in_own_venv", lambda: True)
    monkeypatch.setattr(finding.sys, "prefix", str(tmp_path))
    assert finding.reinstall() == "make distclean && make setup"
    (tmp_path / ".installed-cuda").touch()
    assert finding.reinstall() == "make distclean && make setup CUDA=1"


def test_mends_name_the_commands_of_the_environment_that_is_used(monkeypatch):
    from course_lib.doctor import finding

    monkeypatch.setattr(finding.sys, "prefix", str(CHECKOUT / ".venv"))
    assert finding.course("fetch") == ".venv/bin/course fetch"
    assert finding.reinstall().startswith("make distclean && make setup")
    monkeypatch.setattr(finding.sys, "prefix", "/opt/conda/envs/build-your-own-vllm")
    assert finding.course("fetch") == "course fetch"
    assert "pip install" in finding.reinstall()
    assert Path(sys.executable).name in finding.reinstall()
