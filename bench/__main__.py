"""python -m bench [SUITE ...] [--json FILE] [--threads N] [--rounds N]

Contenders take turns in every round, after a warm-up. Shown are medians, the quartiles of the rounds, and the
ratio to the peer, taken within rounds: what else the machine does meanwhile hits both.

A suite is a module beside this one with a function `run(rounds)` that yields results.
"""

import argparse
import ast
import json
import sys
import time
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx

from bench.result import HEAD, table
from course_lib import kernels
from course_lib.kernels.build import BuildError, build
from course_lib.lab.bandwidth import read_bandwidth
from course_lib.lab.machine import describe
from course_lib.paths import CHECKOUT

DEFAULT = ("model", "kernels")  # a few minutes


def suites() -> dict[str, str]:
    """Name -> the first line of what the module says of itself."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        module = ast.parse(path.read_text())
        if any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in module.body):
            found[path.stem] = (ast.get_docstring(module) or "").split("\n")[0]
    return found


def main() -> int:
    known = suites()
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="The course's code against its peers, on this machine's CPU.",
        epilog="suites:\n" + "\n".join(f"  {name:10} {what}" for name, what in known.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = " ".join(DEFAULT)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"one or more of those below; default: {default}")
    parser.add_argument("--json", type=Path, default=CHECKOUT / "build/bench.json", help="where to write (%(default)s)")
    parser.add_argument("--threads", type=int, help="of the native kernels; default: one a physical core")
    parser.add_argument("--rounds", type=int, default=7, help="samples of each contender (%(default)s)")
    arguments = parser.parse_args()
    if unknown := set(arguments.suites) - set(known):
        parser.error(f"no suite {', '.join(sorted(unknown))}; there are {', '.join(known)}")

    mx.set_default_device(mx.cpu)
    try:
        build()
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    if arguments.threads:
        kernels.set_threads(arguments.threads)
    setting = {
        "machine": describe(),
        "threads": kernels.threads(),
        "bandwidth_gb_s": {str(n): gbs for n, gbs in read_bandwidth().by_threads.items()},
        "versions": {name: version(name) for name in ("mlx", "mlx-lm", "nanobind")},
        "time": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }
    print(f"{setting['machine']}\n{setting['threads']} threads, {read_bandwidth()!r}\n", flush=True)

    results = []
    for suite in arguments.suites or DEFAULT:
        for result in import_module(f"bench.{suite}").run(arguments.rounds):
            results.append(result)
            print(f"{result.suite}, {result.case}: done", file=sys.stderr, flush=True)
    print(table(results))
    missed = [
        f"{r.suite}, {r.case}: {name} is {r.times_faster(name):.2f} times as fast, the goal is {goal:g}"
        for r in results
        for name, goal in r.goals.items()
        if r.times_faster(name) < goal
    ]
    print("\n" + ("\n".join(["Short of the goal:", *missed]) if missed else "Every goal is reached."))
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    report = setting | {"columns": HEAD[2:], "results": [r.as_json() for r in results], "missed": missed}
    arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\nWritten to {arguments.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
