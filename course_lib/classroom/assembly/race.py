"""The scoreboard: what the engine is made of, and a small load on it, on the reference and on mlx-lm."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from ...engine import Engine
from ...lab.mlx_lm_batch import load_stock, serve_batch
from ...lab.passage import PASSAGE
from ...lab.picture import show
from ...lab.progress import progress
from ...lab.scoreboard import Row, scoreboard
from ...lab.serving import Ask, run_load, says_the_same
from ...llm import load
from .build import Assembly
from .choose import kept_elsewhere

YOURS, REFERENCE, PEER = "yours", "reference engine", "mlx-lm"
REQUESTS, PROMPT, ANSWER = 4, 6, 8  # mlx-lm takes several seconds for these on a CPU


@dataclass(frozen=True)
class Race:
    """What a small load took.

    Attributes:
        samples: name -> generated tokens a second, a number a round.
        same_text: does each request say what the reference model says to it alone, up to rounding?
    """

    samples: dict[str, np.ndarray]
    same_text: bool

    @property
    def median(self) -> dict[str, float]:
        return {name: float(np.median(found)) for name, found in self.samples.items()}

    @property
    def spread(self) -> dict[str, tuple[float, float]]:
        """The slowest round and the fastest."""
        return {name: (float(found.min()), float(found.max())) for name, found in self.samples.items()}


def small_load(tokenizer) -> list[Ask]:
    """A few short requests, all there at once."""
    text = tokenizer.encode(PASSAGE)
    return [Ask(tuple(text[40 * i : 40 * i + PROMPT]), ANSWER) for i in range(REQUESTS)]


def race(assembly: Assembly, asks: Sequence[Ask] | None = None, rounds: int = 3) -> Race:
    """Serve a load with the assembled engine, the reference engine and mlx-lm's batching, in turns.

    Args:
        asks: by default `small_load`.
        rounds: for the engines; mlx-lm, which takes seconds, runs in every other one.
    """
    asks = asks or small_load(assembly.tokenizer)
    reference, tokenizer = load(assembly.name)
    stock = load_stock(assembly.name)
    config = assembly.engine().config
    said = {}

    def peer():
        serve_batch(*stock, asks, config.max_num_seqs)

    def mine():
        said["yours"] = run_load(assembly.engine(), asks).generated

    contenders = {YOURS: mine, REFERENCE: lambda: run_load(Engine(reference, tokenizer, config), asks), PEER: peer}
    short = [Ask(ask.prompt[:4], 2) for ask in asks[:1]]  # a first run is slower than those that follow
    run_load(assembly.engine(), short)
    run_load(Engine(reference, tokenizer, config), short)
    serve_batch(*stock, short)
    tokens = sum(ask.max_tokens for ask in asks)
    samples = {name: [] for name in contenders}
    with progress("yours, the reference and mlx-lm in turns", total=rounds, unit="rounds") as bar:
        for i in range(rounds):
            for name in list(contenders)[:: 1 if i % 2 == 0 else -1]:
                if name == PEER and i % 2:
                    continue
                mx.synchronize()
                begin = time.perf_counter()
                contenders[name]()
                samples[name].append(tokens / (time.perf_counter() - begin))
            bar.advance()
    same = says_the_same(reference, [ask.prompt for ask in asks], said["yours"])
    return Race({name: np.array(found) for name, found in samples.items()}, same)


def show_scoreboard(assembly: Assembly, *, measure: bool = True) -> None:
    """Show the parts, what their checks say, and, measured, the speeds."""
    rows = [
        Row(part.slot.name, part.slot.does, part.is_yours, part.checks, part.id or "") for part in assembly.parts
    ]
    found = race(assembly) if measure else None
    figure = scoreboard(rows, found.median, found.spread) if found else scoreboard(rows, {})
    others = ", and generated tokens a second of yours, the reference and mlx-lm" if found else ""
    show(figure, alt=f"The parts of the engine, for each whether it is yours or the reference's{others}.")
    print("\n".join(words(assembly, found)))


def words(assembly: Assembly, found: Race | None) -> list[str]:
    """What the picture has no room for: why the reference stands somewhere, and what else is kept."""
    said = [f"{part.slot.name}: {part.note}" for part in assembly.parts if part.note]
    if missing := [part.slot.answers[0] for part in assembly.parts if not (part.is_yours or part.note)]:
        said.append(f"not there yet: {', '.join(missing)}")
    elsewhere = kept_elsewhere(assembly.parts)
    on_a_gpu = [id for ids in elsewhere.values() for id in ids if ".metal." in id]
    counts = {notebook: len(set(ids) - set(on_a_gpu)) for notebook, ids in elsewhere.items()}
    if more := [f"{count} of {notebook}" for notebook, count in counts.items() if count]:
        said.append(f"kept besides, without a place in this engine: {', '.join(more)}")
    if on_a_gpu:
        said.append(f"kept, and for a GPU: {', '.join(on_a_gpu)}")
    if found:
        same = "yes" if found.same_text else "NO: a part of yours computes something else inside the engine"
        said.append(f"each request says what the reference model says to it alone: {same}")
    return said
