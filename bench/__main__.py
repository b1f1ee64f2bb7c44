"""python -m bench [model] [kernels] [--json FILE] [--threads N] [--rounds N]

Contenders take turns in every round; medians with the quartiles of the rounds, and ratios within rounds.
"""

import argparse
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

SUITES = ("model", "kernels")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="The native CPU code against its peers.")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)}; default: all")
    parser.add_argument("--json", type=Path, default=CHECKOUT / "build/bench.json", help="where to write (%(default)s)")
    parser.add_argument("--threads", type=int, help="of the native kernels; default: one a physical core")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    if unknown := set(arguments.suites) - set(SUITES):
        parser.error(f"no suite {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")

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
    for suite in arguments.suites or SUITES:
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
