"""The `course` command. Each subcommand imports what it needs when it runs, so that all start fast."""

import argparse
import sys
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand; returns the exit code."""
    parser = argparse.ArgumentParser(prog="course", description="Build your own vLLM, in notebooks.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name, run, summary):
        command = commands.add_parser(name, help=summary, description=summary)
        command.set_defaults(run=run)
        return command

    add("doctor", _doctor, "Say what works on this machine, and how to mend what does not.")
    lab = add("lab", _lab, "Open JupyterLab on the first notebook.")
    lab.add_argument("lab_args", nargs=argparse.REMAINDER, help="passed on to jupyter lab")
    add("progress", _progress, "Show how your exercises stand.")
    grade = add("grade", _grade, "For instructors: judge a learner's notebooks and kernels; fails unless all are right.")
    grade.add_argument("path", nargs="?", type=Path, help="a checkout, a folder of notebooks, or one (this checkout)")
    grade.add_argument("--only", nargs="+", metavar="NAME", default=[], help="these notebooks: 01, kv_cache or 01_kv_cache")
    grade.add_argument("--json", metavar="FILE", help="write the grade as JSON, too; - prints it instead of the table")
    grade.add_argument("--verbose", action="store_true", help="show each first failure whole, with its hint")
    reset = add("reset", _reset, "Put a notebook or native kernels back as given; your version is kept as a backup.")
    reset.add_argument("name", help="01, kv_cache or 01_kv_cache; quantized_matmul, quantized_matmul.metal; or one rung: quantized_matmul.threads")
    add("fetch", _fetch, "Fetch the course's model and convert it for MLX.")
    build = add("build", _build, "Compile the native kernels and the Metal emulator for this machine, if not done yet.")
    build.add_argument("--check", action="store_true", help="build nothing; fail where they are not built")
    build.add_argument("--verbose", action="store_true", help="show the compiler's commands")
    measure = add("measure", _measure, "On a Mac: time the Metal kernels against MLX's own, into a file that you can send.")
    measure.add_argument("output", nargs="?", type=Path, default=Path("metal-measured.json"), help="the file (%(default)s)")
    measure.add_argument("--dry-run", action="store_true", help="tiny sizes on any machine, to see the file's form")
    serve = add("serve", _serve, "Serve the model over HTTP, as OpenAI's API does.")
    serve.add_argument("--model", default="smollm2-135m", help="a name or folder, as for load (%(default)s)")
    serve.add_argument("--served-model-name", help="what clients call it (as --model)")
    serve.add_argument("--host", default="127.0.0.1", help="where to listen (%(default)s: this machine alone)")
    serve.add_argument("--port", type=int, default=8000, help="(%(default)s; 0: any free one)")
    serve.add_argument("--max-num-seqs", type=int, default=8, help="requests at a time (%(default)s)")
    serve.add_argument("--max-num-batched-tokens", type=int, default=256, help="tokens a step (%(default)s)")
    serve.add_argument("--long-prefill-token-threshold", type=int, help="tokens of one prompt a step (no limit)")
    serve.add_argument("--max-model-len", type=int, help="tokens of a request (the model's context)")
    serve.add_argument("--block-size", type=int, help="tokens of a block of the paged cache (contiguous cache)")
    sharing = "paged cache: requests that begin alike share blocks (they do)"
    serve.add_argument("--enable-prefix-caching", action=argparse.BooleanOptionalAction, default=True, help=sharing)
    serve.add_argument("--kv-cache-memory-bytes", type=int, help="bytes for the cache")
    serve.add_argument("--max-open-requests", type=int, default=256, help="more get status 429 (%(default)s)")
    serve.add_argument("--max-body-bytes", type=int, default=2**20, help="longer ones get status 413 (%(default)s)")
    timeout = "seconds to finish in after SIGTERM or Ctrl-C, before the rest is cancelled (%(default)s)"
    serve.add_argument("--shutdown-timeout", type=float, default=10, help=timeout)
    notebooks = add("notebooks", _notebooks, "For authors: write starters and solutions from their sources.")
    notebooks.add_argument("only", nargs="*", help="these notebooks; without a name, all")
    mode = notebooks.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="write nothing; fail where a notebook has drifted")
    mode.add_argument("--copies", type=Path, metavar="DIR", help="write the copies that nbval runs")
    mode.add_argument("--again", action="store_true", help="run the solutions even if unchanged")

    # REMAINDER does not take a leading --option: what follows `lab` goes to JupyterLab as it stands.
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["lab"] and argv[1:] not in (["-h"], ["--help"]):
        return _lab(argparse.Namespace(lab_args=argv[1:]))
    arguments = parser.parse_args(argv)
    return arguments.run(arguments) or 0


def _doctor(arguments) -> int:
    from .doctor import main

    return main()


def _lab(arguments) -> int:
    from .jupyter import main

    return main(arguments.lab_args)


def _progress(arguments) -> int:
    from .classroom.table import progress_text

    print(progress_text())
    return 0


def _grade(arguments) -> int:
    """0 where everything required is right, 1 where not, 2 where there is nothing to grade."""
    import json

    from .classroom.author.build import SourceError, find_lesson
    from .classroom.grade import as_json, grade, table
    from .classroom.grade.submission import NoSubmission
    from .paths import CHECKOUT

    def say(line):
        print(line, file=sys.stderr, flush=True)

    try:
        only = [find_lesson(name) for name in arguments.only]
        found = grade(arguments.path or CHECKOUT, only or None, say)
    except (NoSubmission, SourceError) as error:
        print(f"course: {error}", file=sys.stderr)
        return 2
    data = json.dumps(as_json(found), indent=1, ensure_ascii=False)
    if arguments.json == "-":
        print(data)
    else:
        print(table(found, arguments.verbose))
        if arguments.json:
            Path(arguments.json).write_text(data + "\n", encoding="utf-8")
    return 0 if found.complete else 1


def _reset(arguments) -> int:
    from .classroom.author.build import SourceError, find_lesson
    from .classroom.author.write import reset, shown
    from .classroom.native.ladder import ladders

    known = {ladder.name: ladder for ladder in ladders()}
    name, _, rung = arguments.name.rpartition(".")
    if arguments.name in known:
        return _reset_kernels(known[arguments.name], "")
    if name in known:
        return _reset_kernels(known[name], rung)
    try:
        lesson = find_lesson(arguments.name)
    except SourceError as error:
        return _fail(f"{error} Native kernels: {', '.join(known)}.")
    backup = reset(lesson)
    if backup:
        print(f"Your version is kept as {shown(backup)}.")
    print(f"{shown(lesson.starter)} is as it was given. If it is open in JupyterLab: File > Reload from Disk.")
    return 0


def _reset_kernels(ladder, rung: str) -> int:
    from .classroom.author.write import shown
    from .classroom.exercise import UnknownExercise
    from .classroom.native.student import reset, student_file

    try:
        chosen = ladder.rung(rung) if rung else None
    except UnknownExercise as error:
        return _fail(error)
    for backup in reset(ladder, chosen):
        print(f"Your version is kept as {shown(backup)}.")
    for each in [chosen] if chosen else ladder.rungs:
        print(f"{shown(student_file(each))} is as it was given.")
    return 0


def _fetch(arguments) -> int:
    from .llm.errors import ModelUnavailable
    from .llm.smollm2 import ensure_model

    try:
        ensure_model()
    except ModelUnavailable as error:
        return _fail(error)
    return 0


def _build(arguments) -> int:
    from .kernels.build import BuildError, build, built
    from .kernels.metal.compile import build_emulator
    from .kernels.metal.errors import MetalError

    try:
        if arguments.check:
            path = built()
            print(path or "The native kernels are not built. Run: course build")
            return 0 if path else 1
        print(build(verbose=arguments.verbose))
        build_emulator()  # or the first Metal kernel would wait for it
    except (BuildError, MetalError) as error:
        return _fail(error)
    return 0


def _measure(arguments) -> int:
    import json

    from .lab.gpu_report import NothingToMeasure, report

    try:
        found = report(arguments.dry_run, lambda line: print(line, flush=True))
        arguments.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    except NothingToMeasure as error:
        print(error)
        return 0
    except OSError as error:
        return _fail(error)
    for row in found["results"]:
        name = f"{row['kernel']:17} {row['contender']:11}"
        if not row["right"]:
            print(f"{name} is wrong or fails here: {row.get('failure', row.get('relative_error'))}")
        elif not arguments.dry_run:
            print(f"{name} {1e6 * row['median']:10,.0f} us, {row['times_mlx']:6.2f} times MLX's  {row['shape']}")
    print(f"Written to {arguments.output}." + (" A dry run: these are no measurements." if arguments.dry_run else " You can open an issue with it."))
    return 0


def _serve(arguments) -> int:
    from .engine import EngineConfig
    from .engine.server import ServerLimits
    from .engine.server.serve import serve_model
    from .llm.errors import ModelUnavailable

    names = ("max_num_seqs", "max_num_batched_tokens", "max_model_len", "block_size", "kv_cache_memory_bytes",
             "enable_prefix_caching", "long_prefill_token_threshold")  # fmt: skip
    try:
        config = EngineConfig(**{name: getattr(arguments, name) for name in names})
        limits = ServerLimits(arguments.max_body_bytes, arguments.max_open_requests)
        where = {"host": arguments.host, "port": arguments.port, "grace": arguments.shutdown_timeout}
        serve_model(arguments.model, config, served_name=arguments.served_model_name, limits=limits, **where)
    except (ModelUnavailable, ValueError, OSError) as error:
        return _fail(error)
    except KeyboardInterrupt:  # while the model is loaded; later the server ends in its own way
        return 130
    return 0


def _notebooks(arguments) -> int:
    from .classroom.author.build import SourceError, find_lesson, lessons
    from .classroom.author.copies import write_copies
    from .classroom.author.drift import drift
    from .classroom.author.execute import ExecutionError
    from .classroom.author.write import Edited, write_all
    from .classroom.native.student import drift as native_drift
    from .classroom.native.student import write_starters

    try:
        only = [find_lesson(n) for n in arguments.only] or lessons()
        if arguments.check:
            found = drift(only) if arguments.only else drift() + native_drift()
            print("\n".join(found) or f"{len(only)} notebooks agree with their sources.")
            if found:
                print("Run: course notebooks")
            return 1 if found else 0
        if arguments.copies:
            write_copies(arguments.copies, only)
        else:
            if not arguments.only:
                print("\n".join(write_starters()))
            write_all(only, lambda line: print(line, flush=True), again=arguments.again)
    except (SourceError, ExecutionError, Edited) as error:
        return _fail(error)
    return 0


def _fail(error: Exception | str) -> int:
    print(f"course: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
