"""How long does it take? Timing that is right for arrays that are computed only when they are asked for.

MLX records operations and runs them later, so a clock around a call measures the recording. Here every call
is evaluated inside the clock. Contenders take turns within each round, so that what else the machine does at
that moment hits all of them alike, and the median with its quartiles is reported: one slow round moves a mean
but not a median.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from math import ceil
from typing import Any

import mlx.core as mx
import numpy as np

from .progress import progress
from .units import number_text, seconds_text

# A sample shorter than this is lost in the clock's own cost and in the scheduler's noise.
SHORTEST_SAMPLE = 1e-3
FEWEST_ROUNDS = 3


@dataclass(frozen=True)
class Timed:
    """One timed call: its result, evaluated, and the seconds it took."""

    result: Any
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """Seconds a call, for each contender and each round.

    Attributes:
        samples: name -> seconds a call, [rounds], in the order in which the rounds ran.
    """

    samples: Mapping[str, np.ndarray]

    @cached_property
    def median(self) -> dict[str, float]:
        """Name -> median seconds a call."""
        return {name: float(np.median(s)) for name, s in self.samples.items()}

    @cached_property
    def spread(self) -> dict[str, tuple[float, float]]:
        """Name -> first and third quartile, in seconds: half of the rounds lie between them."""
        return {name: tuple(np.quantile(s, (0.25, 0.75)).tolist()) for name, s in self.samples.items()}

    def ratio(self, slow: str, fast: str) -> float:
        """How many times as long `slow` takes as `fast`: the median of the rounds' own ratios.

        Both ran in every round, so a round in which the machine was busy does not shift the ratio.
        It can differ slightly from the ratio of the two medians.
        """
        for name in (slow, fast):
            if name not in self.samples:
                raise ValueError(f"{name!r} was not timed; these were: {', '.join(self.samples)}.")
        return float(np.median(self.samples[slow] / self.samples[fast]))

    def _rows(self) -> list[tuple[str, str, str, str]]:
        first = next(iter(self.samples))
        rows = []
        for name in self.samples:
            low, high = self.spread[name]
            spread = f"{seconds_text(low)} to {seconds_text(high)}"
            rows.append((name, seconds_text(self.median[name]), spread, number_text(self.ratio(name, first))))
        return rows

    def _head(self) -> tuple[str, str, str, str]:
        return ("", "median", "half of the rounds", f"times {next(iter(self.samples))}")

    def __repr__(self) -> str:
        rows = [self._head(), *self._rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(
                t.ljust(w) if i == 0 else t.rjust(w) for i, (t, w) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        )

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(text)}</th>" for text in self._head())
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in self._rows()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def timed(fn: Callable[[], Any]) -> Timed:
    """Call `fn` once and take the time until its result has been computed.

    Args:
        fn: without arguments; returns anything, arrays in nested lists, tuples and dicts are evaluated.
    """
    mx.synchronize()
    begin = time.perf_counter()
    result = fn()
    mx.eval(result)
    mx.synchronize()
    return Timed(result, time.perf_counter() - begin)


def compare(
    contenders: Mapping[str, Callable[[], Any]],
    *,
    rounds: int = 7,
    warmup: int = 1,
    budget: float | None = None,
    label: str | None = None,
) -> Comparison:
    """Time several functions against each other, in turns.

    Each round runs every contender, in the opposite order of the round before. A function that takes less
    than a millisecond is called several times a sample. What a call returns is evaluated within the clock:
    arrays in nested lists, tuples and dicts. Work whose result is not returned may never be done: return it.

    Args:
        contenders: name -> function without arguments, which can be called any number of times.
        rounds: samples for each contender.
        warmup: calls of each contender before the first round, which do not count. The first call of
            an MLX function can include compiling a kernel.
        budget: seconds after which no new round begins, though at least three are run (or `rounds`, if that
            is fewer). None: all rounds.
        label: if given, a progress display with this text is shown meanwhile.

    Returns:
        The samples, with medians, quartiles and ratios.

    Raises:
        ValueError: no contenders, or `rounds` or `warmup` below 1.
    """
    if not contenders:
        raise ValueError("compare was given no function. Give it at least one: compare({'name': function}).")
    if rounds < 1 or warmup < 1:
        raise ValueError(f"compare needs rounds >= 1 and warmup >= 1, not rounds={rounds}, warmup={warmup}.")
    repeats = {name: _repeats(fn, warmup) for name, fn in contenders.items()}
    samples = {name: [] for name in contenders}
    begin = time.perf_counter()
    with progress(label, total=rounds, unit="rounds") as bar:
        for i in range(rounds):
            if budget is not None and i >= FEWEST_ROUNDS and time.perf_counter() - begin > budget:
                break
            order = list(contenders) if i % 2 == 0 else list(reversed(contenders))
            for name in order:
                samples[name].append(_sample(contenders[name], repeats[name]))
            bar.advance()
    return Comparison({name: np.array(seconds) for name, seconds in samples.items()})


def _repeats(fn: Callable[[], Any], warmup: int) -> int:
    """Warm up, and say how many calls make a sample long enough."""
    for _ in range(warmup):
        once = timed(fn).seconds
    if once < SHORTEST_SAMPLE:
        # Worth another look: the last warm-up may still have been slower than those that follow.
        once = min(once, timed(fn).seconds)
    return max(1, ceil(SHORTEST_SAMPLE / max(once, 1e-9)))


def _sample(fn: Callable[[], Any], repeats: int) -> float:
    def all_calls():
        # Evaluated one by one: kept as a list of lazy results, they would be computed as one large graph.
        for _ in range(repeats):
            mx.eval(fn())

    return timed(all_calls).seconds / repeats
