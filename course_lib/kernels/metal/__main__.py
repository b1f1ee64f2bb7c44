"""python -m course_lib.kernels.metal build                 compile the emulator, so that a first kernel need not wait
python -m course_lib.kernels.metal metallib FOLDER FILE...  compile .metal files with Apple's compiler, on a Mac
"""

import sys
from pathlib import Path

from course_lib.kernels.metal.compile import build_emulator
from course_lib.kernels.metal.errors import MetalError
from course_lib.kernels.metal.metallib import compile_ahead
from course_lib.kernels.toolchain import BuildError


def main(words: list[str]) -> int:
    try:
        if words == ["build"]:
            build_emulator()
        elif len(words) > 2 and words[0] == "metallib":
            print(compile_ahead([Path(name) for name in words[2:]], Path(words[1])))
        else:
            print(__doc__, file=sys.stderr)
            return 2
    except (BuildError, MetalError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
