"""python -m bench.loadtest [--requests N] [--rates R ...] [--json FILE]

A load on `course serve`, through HTTP, on this machine alone. Four parts, each bounded in time:

1. Short requests at rising rates, at random times (Poisson). Each answer must be what the model says to that
   request alone. Shown are the times that a client sees, and goodput: requests a second that were served in time.
2. Clients that are killed: of three processes with a third of the requests each, one is killed midway.
3. Requests that are none, while right ones are answered beside them: each gets a status from 400 to 499.
4. What is left: rows, blocks, open requests, connections, threads and memory, against the start.

The exit status is 1 if an answer is lost or wrong, a bad request gets anything but its 4xx, or something leaks.
"""

import argparse
import asyncio
import json
import multiprocessing
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from bench.malformed import MALFORMED, send
from course_lib.lab.http_load import Reply, at_times, percentiles, run_clients
from course_lib.lab.machine import describe
from course_lib.lab.progress import progress
from course_lib.lab.server_process import ServerProcess, course_serve
from course_lib.lab.serving import MARGIN, poisson_arrivals, shortfall
from course_lib.lab.units import bytes_text, seconds_text
from course_lib.lab.wonderland import WONDERLAND
from course_lib.llm import generate, load
from course_lib.paths import CHECKOUT
from course_lib.techniques.goodput import goodput

NAME = "smollm2-135m"
MAX_NUM_SEQS, BLOCK_SIZE = 16, 16
# Blocks are given out and taken back, so none may be missing at the end. Blocks that requests share would make
# the later, faster rates look better than they are: the requests are the same ones.
SERVER = [
    "--max-num-seqs", str(MAX_NUM_SEQS), "--block-size", str(BLOCK_SIZE), "--no-enable-prefix-caching",
    "--kv-cache-memory-bytes", str(2**28),
]  # fmt: skip
# What a client is promised, for goodput: seconds to the first token, and seconds a token from there on.
TTFT_GOAL, TPOT_GOAL = 1.0, 0.2
PATIENCE = 120.0  # seconds that a client waits for the next byte


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.loadtest", description=__doc__.split("\n", 2)[2], formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=100, help="at each rate (%(default)s)")
    parser.add_argument("--rates", type=float, nargs="+", default=[2, 4, 8, 16], help="a second (%(default)s)")
    parser.add_argument("--json", type=Path, default=CHECKOUT / "build/loadtest.json", help="(%(default)s)")
    arguments = parser.parse_args()
    if arguments.requests < 6 or min(arguments.rates) <= 0:
        parser.error("wanted at least 6 requests, and rates above 0")

    print(describe(), flush=True)
    load_ = Load(arguments.requests)
    failures: list[str] = []
    with ServerProcess(course_serve(*SERVER)) as server:
        # What is made once and kept, such as the threads of the tokenizer, is there after some requests.
        warm_up = [*load_.bodies[:MAX_NUM_SEQS], *({"prompt": ["a text", "and another"]} for _ in range(2))]
        asyncio.run(at_times(server.url, warm_up, [0.0] * len(warm_up), timeout=PATIENCE))
        start = at_rest(server)
        rows = [at_rate(server, load_, rate, failures) for rate in arguments.rates]
        print(table(rows))
        killed = with_killed_clients(server, load_, max(arguments.rates) / 2, failures)
        print(killed["summary"])
        bad = with_bad_requests(server, load_, failures)
        print(bad["summary"])
        left = leaks(start, at_rest(server), failures)
        print(left["summary"])
    print("\n" + ("\n".join(["Wrong:", *failures]) if failures else "Nothing was lost, wrong or left behind."))
    report = {
        "machine": describe(), "time": time.strftime("%Y-%m-%d %H:%M:%S %z"), "server": SERVER,
        "requests": arguments.requests, "goals": {"ttft": TTFT_GOAL, "tpot": TPOT_GOAL},
        "rates": rows, "killed": killed, "bad": bad, "left": left, "failures": failures,
    }  # fmt: skip
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    print(f"Written to {arguments.json}")
    return 1 if failures else 0


class Load:
    """Short requests from a text everybody knows, half of them greedy, half sampled, and their right answers."""

    def __init__(self, count: int, seed: int = 0) -> None:
        self._model, self._tokenizer = load(NAME)
        tokens = self._tokenizer.encode(WONDERLAND)
        random = np.random.default_rng(seed)
        self.bodies = []
        for index in range(count):
            length, answer = random.integers(8, 33), int(random.integers(8, 25))
            begin = random.integers(0, len(tokens) - length)
            body = {"prompt": tokens[begin : begin + length], "max_tokens": answer, "temperature": 0}
            self.bodies.append(body | ({"temperature": 0.8, "seed": index} if index % 2 else {}))
        with progress("what each says alone", total=count, unit="requests") as bar:
            self.texts = [self._alone(body, bar) for body in self.bodies]

    def _alone(self, body: dict[str, Any], bar: progress) -> str:
        bar.advance()
        options = {name: value for name, value in body.items() if name != "prompt"}
        return generate(self._model, self._tokenizer, body["prompt"], **options)

    def is_right(self, index: int, text: str) -> bool:
        """Whether it is the text that the request gets alone.

        Where a model's kernels round differently for one row and for many, another greedy text of full length is
        right too, if each of its tokens has all but the best logit.
        """
        if text == self.texts[index]:
            return True
        body = self.bodies[index]
        tokens = self._tokenizer.encode(text, add_special_tokens=False)
        if body["temperature"] > 0 or len(tokens) != body["max_tokens"]:
            return False
        return shortfall(self._model, body["prompt"], tokens) <= MARGIN[self._model.dtype]

    def check(self, what: str, indices: Sequence[int], replies: Sequence[Reply], failures: list[str]) -> None:
        for index, reply in zip(indices, replies, strict=True):
            if not reply.complete:
                failures.append(f"{what}: request {index} was lost: status {reply.status}, {reply.error}")
            elif not self.is_right(index, reply.text):
                failures.append(f"{what}: request {index} got {reply.text!r}; alone {self.texts[index]!r}")


# --- 1. rising rates -----------------------------------------------------------------------------------------


def at_rate(server: ServerProcess, load_: Load, rate: float, failures: list[str]) -> dict[str, Any]:
    """All requests at random times, so many a second on average."""
    times = poisson_arrivals(rate, len(load_.bodies), seed=1)
    with progress(f"{rate:g} requests a second", total=len(load_.bodies), unit="answers") as bar:
        replies = asyncio.run(
            at_times(server.url, load_.bodies, times, timeout=PATIENCE, on_reply=lambda reply: bar.advance())
        )
    known = len(failures)
    load_.check(f"{rate:g} a second", range(len(replies)), replies, failures)
    metrics = [reply.metrics for reply in replies]
    seconds = max(m.finish_time for m in metrics) - min(m.arrival_time for m in metrics)
    first = [m.time_to_first_token for m in metrics if m.token_times]
    return {
        "rate": rate,
        "answered": sum(reply.complete for reply in replies),
        "wrong_or_lost": len(failures) - known,
        "tokens_per_second": sum(reply.num_tokens for reply in replies) / seconds,
        "requests_per_second": len(replies) / seconds,
        "goodput": goodput(metrics, TTFT_GOAL, TPOT_GOAL),
        "ttft": percentiles(first),
        "inter_token": percentiles([gap for m in metrics for gap in m.inter_token_latencies]),
        "end_to_end": percentiles([m.end_to_end_latency for m in metrics]),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Percentiles are of the 50th, 90th and 99th."""
    head = ("rate", "answered", "wrong", "tok/s", "req/s", "good/s", "first token", "token to token", "whole answer")
    lines = [head]
    for row in rows:
        times = (" / ".join(map(seconds_text, row[name])) for name in ("ttft", "inter_token", "end_to_end"))
        numbers = (f"{row[name]:.1f}" for name in ("tokens_per_second", "requests_per_second", "goodput"))
        lines.append((f"{row['rate']:g}/s", str(row["answered"]), str(row["wrong_or_lost"]), *numbers, *times))
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    text = "\n".join("  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) for line in lines)
    goals = f"{seconds_text(TTFT_GOAL)} to the first token and {seconds_text(TPOT_GOAL)} a token after it"
    return f"{text}\nTimes are the 50th, 90th and 99th percentile. Good: at most {goals}."


# --- 2. killed clients ---------------------------------------------------------------------------------------


def with_killed_clients(server: ServerProcess, load_: Load, rate: float, failures: list[str]) -> dict[str, Any]:
    """Three processes with a third of the requests each. One, whose answers are long, is killed midway."""
    count = len(load_.bodies)
    times = poisson_arrivals(rate, count, seed=2)
    thirds = [range(first, count, 3) for first in range(3)]
    # Every other one waits for the whole answer; then the server has nothing to send by which it would notice.
    long = [
        load_.bodies[i] | {"max_tokens": 2000, "ignore_eos": True, "stream": bool(n % 2)} for n, i in enumerate(thirds[0])
    ]
    before = read_gauges(server)
    clients = [
        Clients(server.url, long, times[thirds[0]]),
        *(Clients(server.url, [load_.bodies[i] for i in third], times[third]) for third in thirds[1:]),
    ]
    with progress("a third of the clients is killed midway", total=3, unit="processes") as bar:
        wait_until(lambda: read_gauges(server)["num_requests_open"] >= min(4, len(long)))
        time.sleep(times[-1] / 2)
        open_then = read_gauges(server)["num_requests_open"]
        clients[0].kill()
        bar.advance()
        for number, third in enumerate(thirds[1:], 1):
            load_.check("beside killed clients", third, clients[number].replies(), failures)
            bar.advance()
        at_rest(server)
    after = read_gauges(server)
    cancelled = after.get("requests_finished_total cancelled", 0) - before.get("requests_finished_total cancelled", 0)
    if not cancelled:
        failures.append("killed clients: no request of theirs was cancelled")
    return {
        "open_when_killed": open_then,
        "cancelled": cancelled,
        "summary": f"\nKilled a third of the clients with {open_then:g} requests open: {cancelled:g} were cancelled, the "
        f"{count - len(long)} of the others were answered.",
    }


class Clients:
    """Clients in a process of their own."""

    def __init__(self, url: str, bodies: Sequence[dict], times: Sequence[float]) -> None:
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe(duplex=False)
        self._process = context.Process(target=run_clients, args=(url, bodies, list(times), PATIENCE, there), daemon=True)
        self._process.start()
        there.close()

    def replies(self) -> list[Reply]:
        replies = self._here.recv()
        self._process.join()
        return replies

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


# --- 3. bad requests -----------------------------------------------------------------------------------------


def with_bad_requests(server: ServerProcess, load_: Load, failures: list[str]) -> dict[str, Any]:
    """What is no request, one after the other, while right ones are answered beside it."""
    beside = range(min(16, len(load_.bodies)))
    times = np.linspace(0, 2, len(beside)).tolist()
    right = Clients(server.url, [load_.bodies[i] for i in beside], times)
    statuses = {}
    with progress("bad requests", total=len(MALFORMED), unit="requests") as bar:
        for name, bad in MALFORMED.items():
            statuses[name], says_why = send(server.url, bad)
            if not 400 <= statuses[name] < 500:
                failures.append(f"bad request: {name} got status {statuses[name]}; wanted one from 400 to 499")
            elif not says_why:
                failures.append(f"bad request: {name} got status {statuses[name]} and no error in OpenAI's shape")
            bar.advance()
    load_.check("beside bad requests", beside, right.replies(), failures)
    counts = ", ".join(f"{list(statuses.values()).count(s)} times {s}" for s in sorted(set(statuses.values())))
    return {
        "statuses": statuses,
        "summary": f"Sent {len(statuses)} bad requests: {counts}. The {len(beside)} beside them were answered.",
    }


# --- 4. what is left -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rest:
    """What a server holds while nobody asks anything."""

    gauges: dict[str, float]
    connections: int
    threads: int
    rss: int


def read_gauges(server: ServerProcess) -> dict[str, float]:
    """The server's own numbers by name, and by label where there is one."""
    text = httpx.get(f"{server.url}/metrics", timeout=PATIENCE, trust_env=False).text
    found = re.findall(r'^engine_(\w+)(?:\{reason="(\w+)"\})? (\S+)$', text, re.MULTILINE)
    return {f"{name} {label}".strip(): float(value) for name, label, value in found}


def at_rest(server: ServerProcess) -> Rest:
    """Wait for the last requests to end, at most half a minute, and look."""
    wait_until(lambda: not any(read_gauges(server)[name] for name in EMPTY), seconds=30)
    wait_until(lambda: not established(server), seconds=10)
    return Rest(
        read_gauges(server), established(server), server.process.num_threads(), server.process.memory_info().rss
    )


EMPTY = ("num_requests_open", "num_requests_running", "num_requests_waiting", "kv_cache_bytes")


def established(server: ServerProcess) -> int:
    return sum(c.status == "ESTABLISHED" for c in server.process.net_connections("inet"))


def leaks(start: Rest, end: Rest, failures: list[str]) -> dict[str, Any]:
    """What is there at the end and was not at the start."""
    for name in EMPTY:
        if end.gauges[name]:
            failures.append(f"left behind: {name} is {end.gauges[name]:g}, and nobody asks anything")
    arrays = end.gauges["active_memory_bytes"] - start.gauges["active_memory_bytes"]
    if arrays > 2**16:  # a key of random numbers here or there
        failures.append(f"left behind: {bytes_text(arrays)} of MLX's arrays")
    if end.connections > start.connections:
        failures.append(f"left behind: {end.connections - start.connections} connections")
    if end.threads > start.threads:
        failures.append(f"left behind: {end.threads - start.threads} threads")
    growth = end.rss - start.rss
    if growth > 2**25:
        failures.append(f"left behind: the process grew by {bytes_text(growth)}")
    return {
        "start": vars(start), "end": vars(end),
        "summary": f"At the end {', '.join(f'{name} {end.gauges[name]:g}' for name in EMPTY)}; {end.connections} "
        f"connections, {end.threads} threads ({start.threads} at the start); MLX's arrays {bytes_text(arrays)} more than "
        f"at the start, the process {bytes_text(growth)} (of {bytes_text(end.rss)}).",
    }  # fmt: skip


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Until it holds, or the time is up: what follows looks again."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
