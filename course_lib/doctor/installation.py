"""Checks of what set-up installed, fetched and built. Each imports what it examines only when it runs."""

import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from ..paths import CHECKOUT, cache_dir
from .finding import Finding, broken, complaint, course, ok, reinstall, run, warning

MLX_PROGRAM = """\
import json
import mlx.core as mx
a = mx.arange(6, dtype=mx.float32).reshape(2, 3)
name = mx.device_info().get("device_name", "")
print(json.dumps([mx.default_device().type.name, name, (a @ a.T).tolist()]))
"""
KERNELS_PROGRAM = """\
try:
    from course_lib.kernels import self_test
    said = self_test()
except ImportError as error:
    print("absent:", error)
else:
    print(said or "built, and its ops can be called")
"""


def check_build_tools() -> Finding:
    """CMake and ninja, which come with the packages, run."""
    found = []
    for tool in ("cmake", "ninja"):
        path = Path(sys.executable).with_name(tool)
        ran = run([str(path), "--version"])
        if ran.returncode:
            return broken("build tools", f"{path} does not run: {complaint(ran)}", reinstall())
        found.append(f"{tool} {re.search(r'[0-9][0-9.]*[0-9]', ran.stdout).group()}")
    return ok("build tools", ", ".join(found))


def check_packages() -> Finding:
    """Every package that pyproject.toml asks for is installed, in a version that it allows.

    mlx and nanobind are pinned exactly there: the extension must be built with the nanobind that built the
    MLX wheel.
    """
    try:
        from packaging.requirements import Requirement
    except ImportError as error:
        return broken("packages", str(error), reinstall())
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    wrong, pinned = [], []
    for requirement in map(Requirement, project["dependencies"]):
        if requirement.marker and not requirement.marker.evaluate():
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} is {version}, wanted {requirement.specifier}")
        elif requirement.name in ("mlx", "nanobind"):
            pinned.append(f"{requirement.name} {version}")
    if wrong:
        return broken("packages", "; ".join(wrong), reinstall())
    return ok("packages", f"{' and '.join(pinned)} as pinned, the others as allowed")


def check_device(nvidia: bool | None = None) -> Finding:
    """MLX computes, and on which device.

    Args:
        nvidia: whether this machine has an NVIDIA GPU; None: look.
    """
    ran = run([sys.executable, "-c", MLX_PROGRAM])
    if ran.returncode:
        no_driver = "libcuda.so" in ran.stderr
        mend = (
            "install NVIDIA's driver, or: make distclean && make setup CUDA=0" if no_driver else reinstall()
        )
        return broken("MLX", f"does not compute: {complaint(ran)}", mend)
    kind, name, product = json.loads(ran.stdout)
    if product != [[5.0, 14.0], [14.0, 50.0]]:
        return broken("MLX", f"computes wrongly on the {kind.upper()}: {product}", reinstall())
    detail = f"computes on the {kind.upper()}" + f" ({name})" * bool(name)
    if nvidia is None:
        nvidia = Path("/proc/driver/nvidia/version").exists()
    if nvidia and kind == "cpu":
        return warning(
            "MLX", f"{detail}, though there is an NVIDIA GPU", "make distclean && make setup CUDA=1"
        )
    return ok("MLX", detail)


def check_extension() -> Finding:
    """The native extension is built, and MLX can call its ops."""
    ran = run([sys.executable, "-c", KERNELS_PROGRAM])
    if ran.returncode:
        return broken("native code", complaint(ran), course("build"))
    if ran.stdout.startswith("absent:"):
        return broken("native code", ran.stdout.removeprefix("absent:").strip(), course("build"))
    return ok("native code", ran.stdout.strip().splitlines()[-1])


def check_jupyter() -> Finding:
    """JupyterLab is there, and the kernel that it would start answers and is this Python."""
    from ..jupyter import keep_inside

    keep_inside()
    try:
        from jupyter_client.manager import start_new_kernel

        version = metadata.version("jupyterlab")
    except (ImportError, metadata.PackageNotFoundError) as error:
        return broken("JupyterLab", f"not installed: {error}", reinstall())
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    said: list[str] = []
    try:
        manager, client = start_new_kernel(startup_timeout=60, **quiet)
        try:
            client.execute_interactive(
                "import sys; print(sys.prefix)",
                timeout=60,
                output_hook=lambda message: said.append(message["content"].get("text", "")),
            )
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
    except Exception as error:
        return broken("JupyterLab", f"{version}, but its kernel does not start: {error}", reinstall())
    prefix = "".join(said).strip()
    if prefix != sys.prefix:
        return broken("JupyterLab", f"its kernel runs in {prefix}, not in {sys.prefix}", reinstall())
    return ok("JupyterLab", f"{version}, its kernel answers and is this Python")


def check_model() -> Finding:
    """The embedded model has been converted, and its file is still what was written."""
    from ..llm.smollm2 import NAME, find_model, verify_model

    folder = find_model()
    if folder is None:
        return broken("model", f"{NAME} is not in {cache_dir()}", course("fetch"))
    if verify_model() is not None:
        mend = f"rm -r '{folder}' && {course('fetch')}"
        return broken("model", f"the file in {folder} is not what was written there", mend)
    return ok("model", f"{NAME}, SHA-256 as written ({folder})")
