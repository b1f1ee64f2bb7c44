"""The course's HTTP server against mlx-lm's and llama.cpp's, with the same requests from outside.

1, 4 and 16 clients at a time send short prompts to `/v1/completions` and read streamed answers of one length.
First all three servers; then, with longer answers and more rounds, the two that take seconds for it.

Fair means: the same weights (llama.cpp: the GGUF file that they were converted from), the same text, greedy, the
same number of generated tokens (each server's own count is checked), as many threads (mlx-lm's takes what MLX takes
by itself). Each server runs in a process of its own, at its own defaults but for the number of requests that it works
on at a time, which is enough for all clients. No prompt comes twice, so no server's cache of prompts helps. llama.cpp
computes with activations of 8 bits, the others in float32.

A round of the first takes mlx-lm about a minute, so there are few. llama.cpp is left out where it cannot be built.
"""

import asyncio
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench import llama_cpp
from bench.result import Result
from course_lib import kernels
from course_lib.lab.http_load import in_turn
from course_lib.lab.server_process import ServerProcess, course_serve
from course_lib.lab.timing import Comparison
from course_lib.lab.wonderland import WONDERLAND
from course_lib.llm import load as load_model
from course_lib.llm import stream_generate
from course_lib.llm.checkpoints import find_checkpoint

NAME = "smollm2-135m"
MLX_LM, OURS, LLAMA = "mlx_lm.server", "course serve", "llama.cpp's server"
CLIENTS = (1, 4, 16)
PATIENCE = 300.0  # seconds that a client waits for the next byte


def run(rounds: int) -> Iterator[Result]:
    """Generated tokens a second of all clients together, and the median client's wait for the first token."""
    known = contenders()
    with ExitStack() as stack:
        threads = {"COURSE_NUM_THREADS": str(kernels.threads())}
        running = {
            name: stack.enter_context(ServerProcess(contender.command, environment=threads))
            for name, contender in known.items()
        }
        yield from load(Load(MLX_LM, 16, 16, min(rounds, 3)), known, running)
        if LLAMA in known:
            yield from load(Load(LLAMA, 32, 64, rounds), {name: known[name] for name in (LLAMA, OURS)}, running)


@dataclass(frozen=True)
class Load:
    """What is asked.

    Attributes:
        peer: the contender that the others are compared with.
        prompt, answer: tokens.
        rounds: samples; one more round before them does not count.
    """

    peer: str
    prompt: int
    answer: int
    rounds: int


@dataclass(frozen=True)
class Contender:
    """A server.

    Attributes:
        command: starts it.
        options: what it is asked besides, so that nothing ends an answer early.
    """

    command: Sequence[str]
    options: Mapping[str, Any] = field(default_factory=dict)


def contenders() -> dict[str, Contender]:
    most = str(max(CLIENTS))
    model = str(find_checkpoint(NAME))
    stock = [sys.executable, "-m", "mlx_lm", "server", "--model", model, "--port", "{port}", "--log-level", "WARNING"]
    found = {
        MLX_LM: Contender(stock),  # it takes 32 at a time
        OURS: Contender(course_serve("--max-num-seqs", most), {"ignore_eos": True}),
    }
    try:
        command = [
            str(llama_cpp.server()), "--model", str(llama_cpp.gguf()), "--port", "{port}", "--parallel", most,
            "--ctx-size", str(256 * max(CLIENTS)), "--threads", str(kernels.threads()),
        ]  # fmt: skip
        found[LLAMA] = Contender(command, {"ignore_eos": True})
    except llama_cpp.Unavailable as error:
        print(f"without llama.cpp: {error}", file=sys.stderr)
    return found


def unlike_prompts(count: int, prompt: int, answer: int, seed: int = 0) -> list[str]:
    """Texts of `prompt` tokens, each from another place, after which the model has `answer` tokens to say.

    mlx-lm's server knows no other way to force a length.
    """
    model, tokenizer = load_model(NAME)
    tokens = tokenizer.encode(WONDERLAND)
    found = []
    for place in np.random.default_rng(seed).permutation(len(tokens) - prompt):
        if len(found) == count:
            return found
        text = tokenizer.decode(tokens[place : place + prompt])
        *_, last = stream_generate(model, tokenizer, text, max_tokens=answer)
        if last.prompt_tokens == prompt and last.finish_reason == "length":
            found.append(text)
    raise AssertionError(f"the text has only {len(found)} such places, and {count} are wanted")


def load(load: Load, known: Mapping[str, Contender], running: Mapping[str, ServerProcess]) -> Iterator[Result]:
    """In turns, with other prompts in each round."""
    prompts = iter(unlike_prompts((load.rounds + 1) * sum(CLIENTS), load.prompt, load.answer))
    for clients in CLIENTS:
        whole: dict[str, list[float]] = {name: [] for name in known}
        first: dict[str, list[float]] = {name: [] for name in known}
        for number in range(load.rounds + 1):
            texts = [next(prompts) for _ in range(clients)]
            for name in list(known)[:: -1 if number % 2 else 1]:
                took, waited = served(name, known[name], running[name], load, texts)
                print(f"server, {clients} clients, {name}: {took:.2f} s", file=sys.stderr, flush=True)
                if number:
                    whole[name].append(took)
                    first[name].append(waited)
        case = f"{clients} client{'s' * (clients > 1)}, {load.prompt} tokens in, {load.answer} out"
        for what, samples, work in (
            (case, whole, clients * load.answer), (f"{case}: median first token", first, load.prompt),
        ):  # fmt: skip
            comparison = Comparison({name: np.array(seconds) for name, seconds in samples.items()})
            yield Result("server", what, load.peer, comparison, work, "tok")


def served(name: str, contender: Contender, server: ServerProcess, load: Load, texts: Sequence[str]) -> tuple[float, float]:
    """One request a client, all at once.

    Returns:
        Seconds to the last answer's end, and to the first token of the median client.
    """
    ask = {"max_tokens": load.answer, "temperature": 0} | dict(contender.options)
    start = time.perf_counter()
    bodies = [[{"prompt": text} | ask] for text in texts]
    # Python's own HTTP server, which is mlx-lm's, lets five connections wait, and may reset the sixteenth.
    replies = asyncio.run(in_turn(server.url, bodies, timeout=PATIENCE, retries=2))
    took = time.perf_counter() - start
    for reply in replies:
        assert reply.complete, f"{name}: status {reply.status}, {reply.error}; it printed:\n{server.printed()}"
        counts = reply.num_prompt_tokens, reply.num_tokens
        assert counts == (load.prompt, load.answer), f"{name} counts {counts}; wanted {load.prompt, load.answer} tokens"
    return took, float(np.median([reply.metrics.time_to_first_token for reply in replies]))
