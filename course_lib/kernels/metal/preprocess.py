"""From the kernel's source to what the translator takes: includes of Metal's own headers gone, macros expanded."""

import re
import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from course_lib.kernels.metal.errors import MetalSyntaxError, UnsupportedMetal
from course_lib.kernels.metal.includes import inline

# What the emulator's own headers stand for.
_SYSTEM_INCLUDE = re.compile(r"^[ \t]*#[ \t]*include[ \t]*<(?:metal_\w+|metal/[\w/]+)>[^\n]*", re.MULTILINE)
_OTHER_INCLUDE = re.compile(r"^[ \t]*#[ \t]*include\b[^\n]*", re.MULTILINE)
_DIRECTIVE = re.compile(r"^[ \t]*#(?![ ]*(?:line[ ]+)?\d)", re.MULTILINE)
_MLX_HEADERS = "mlx/backend/metal/kernels"
_MLX_NAMES = {
    "elem_to_loc", "elem_to_loc_1", "elem_to_loc_2", "elem_to_loc_3", "elem_to_loc_2_nd", "elem_to_loc_3_nd",
    "LoopedElemToLoc", "Limits", "WorkPerThread", "ConditionalType", "ceildiv", "complex64_t", "complex_t", "log1p",
    "hypot", "cast_to", "MLX_MTL_PRAGMA_UNROLL",
}  # fmt: skip


def preprocess(source: str, compiler: Path | str, utilities: bool = True) -> str:
    """Metal without directives other than `#line`.

    Args:
        source: the whole of it.
        compiler: whose preprocessor expands macros.
        utilities: with MLX's utils.h, if it is used.

    Raises:
        MetalSyntaxError: what the preprocessor complains of.
        UnsupportedMetal: an include that nothing is known of.
    """
    source = _SYSTEM_INCLUDE.sub("", source)
    for match in _OTHER_INCLUDE.finditer(source):
        error = UnsupportedMetal(f"`{match.group().strip()}`: mx.fast.metal_kernel finds no such file")
        error.place = _place(source, match.start())
        raise error
    if utilities:
        source = _mlx_utilities(source) + source
    if not _DIRECTIVE.search(source):
        return source  # and every column stays as it was
    command = [compiler, "-E", "-x", "c++", "-std=c++20", "-nostdinc", "-undef", "-w"]
    command += ["-D__METAL__=1", "-D__METAL_VERSION__=310", "-"]
    ran = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    if ran.returncode:
        complaint = re.search(r"^(.+?):(\d+):(\d+): (?:fatal )?error: (.*)", ran.stderr, re.MULTILINE)
        error = MetalSyntaxError(complaint[4] if complaint else ran.stderr.strip())
        if complaint:
            error.place = (complaint[1], int(complaint[2]), int(complaint[3]))
        raise error
    return re.sub(r"^#pragma[^\n]*|_Pragma\s*\(\s*\"[^\"]*\"\s*\)", "", ran.stdout, flags=re.MULTILINE)


def _place(source: str, at: int) -> tuple[str, int, int]:
    file, line = "", 1
    for text in source[:at].split("\n")[:-1]:
        marker = re.match(r'#line (\d+) "([^"]*)"', text)
        file, line = (marker[2], int(marker[1])) if marker else (file, line + 1)
    return file, line, 1


def _mlx_utilities(source: str) -> str:
    """MLX's utils.h, which mx.fast.metal_kernel puts before every kernel, if this one uses any of it.

    Most use nothing, and translating it would double the time that a first call takes.
    """
    return f"{_mlx_utils()}\n" if _MLX_NAMES & set(re.findall(r"\w+", source)) else ""


@cache
def _mlx_utils() -> str:
    include = Path(find_spec("mlx").submodule_search_locations[0]) / "include"
    path = include / _MLX_HEADERS / "utils.h"
    # The emulator's math takes bfloat as it is.
    skip = [f"{_MLX_HEADERS}/bf16_math.h", f"{_MLX_HEADERS}/bf16.h", f"{_MLX_HEADERS}/logging.h"]
    text, _ = inline(path, [include], skip)
    text = re.sub(r"^[ \t]*#[ \t]*include[^\n]*|^typedef half float16_t;", "", text, flags=re.MULTILINE)
    return f'#line 1 "{path}"\n{text}'
