"""What static batches compute, and for whom."""

import mlx.core as mx
import numpy as np

from ....techniques import static_batching as reference
from ...exercise import Exercise
from ...mismatch import plain

waste = Exercise(
    "continuous_batching.waste",
    "What static batching computes for nobody",
    name="static_waste",
    reference=reference.static_waste,
    names={"mx": mx, "np": np},
    mistakes={
        "first_token": (
            "The answers are counted one token too long. The pass that reads the prompts gives each answer's "
            "first token: a passes less one decode an answer of a tokens."
        ),
        "one_batch": (
            "All requests are counted as one batch, or with the longest prompt and answer of all. Every "
            "`batch_size` of them form a batch, in order, which waits only for its own longest."
        ),
        "full_batch": "The last batch is counted as if it were full. It has as many rows as there are requests left.",
        "swapped": "Padding and waiting have changed places: the order is useful, padding, waiting.",
        "all_positions": "The first number is all that is computed. Wanted is the useful part alone.",
    },
)


def _count(prompts, answers, batch_size):
    """Box by box, as it is drawn: the oracle."""
    boxes = {"useful": 0, "padding": 0, "waiting": 0}
    for start in range(0, len(prompts), batch_size):
        batch = list(zip(prompts, answers, strict=True))[start : start + batch_size]
        for prompt, answer in batch:
            for column in range(max(p for p, _ in batch)):
                boxes["useful" if column < prompt else "padding"] += 1
            for column in range(1, max(a for _, a in batch)):
                boxes["useful" if column < answer else "waiting"] += 1
    return list(boxes.values())


def _mistakes(prompts, answers, batch_size):
    def by(prompts, answers, size):
        return _count(prompts, answers, size)

    longer = by(prompts, [a + 1 for a in answers], batch_size)
    useful, padding, waiting = by(prompts, answers, batch_size)
    total_rows = len(prompts)
    full = -(-total_rows // batch_size) * batch_size - total_rows
    last = slice(total_rows - total_rows % batch_size, None)
    L, A = max(prompts[last], default=0), max(answers[last], default=1) - 1
    return {
        "first_token": longer,
        "one_batch": by(prompts, answers, total_rows),
        "full_batch": [useful, padding + full * L, waiting + full * A],
        "swapped": [useful, waiting, padding],
        "all_positions": [useful + padding + waiting, padding, waiting],
    }


def _check(answer, t, prompts, answers, size):
    t.equal(
        f"static_waste({prompts}, {answers}, {size})", plain(answer(prompts, answers, size)),
        _count(prompts, answers, size), mistakes=_mistakes(prompts, answers, size),
    )  # fmt: skip


@waste.case("one batch of two")
def _(answer, t):
    _check(answer, t, [3, 5], [4, 2], 2)


@waste.case("equal lengths waste nothing, and a batch of one neither")
def _(answer, t):
    _check(answer, t, [4, 4, 4], [6, 6, 6], 3)
    _check(answer, t, [3, 9, 1], [2, 7, 5], 1)


@waste.case("two batches, each with its own longest")
def _(answer, t):
    _check(answer, t, [2, 3, 10, 12], [9, 8, 1, 3], 2)


@waste.case("a last batch that is not full")
def _(answer, t):
    _check(answer, t, [2, 6, 4, 7, 5], [9, 3, 2, 8, 4], 3)


@waste.case("random lengths and batch sizes")
def _(answer, t):
    for _ in range(20):
        count = int(t.rng.integers(2, 12))
        prompts, answers = (t.rng.integers(1, 30, count).tolist() for _ in range(2))
        _check(answer, t, prompts, answers, int(t.rng.integers(1, count + 3)))
