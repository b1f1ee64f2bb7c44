"""python -m course_lib.kernels [build | test]"""

import argparse
import sys
import time

from course_lib.kernels.build import build
from course_lib.kernels.extension import NotBuilt
from course_lib.kernels.selftest import self_test


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m course_lib.kernels", description="The native kernels.")
    parser.add_argument("command", nargs="?", choices=["build", "test"], default="build")
    parser.add_argument("--verbose", action="store_true", help="show the compiler's commands")
    arguments = parser.parse_args()
    try:
        if arguments.command == "test":
            print(self_test())
        else:
            start = time.perf_counter()
            path = build(verbose=arguments.verbose)
            print(f"{path} ({time.perf_counter() - start:.3g} s)")
    except (NotBuilt, RuntimeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
