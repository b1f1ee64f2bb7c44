"""Chunks that fit a number of bytes: they shrink as the past grows."""

from ....techniques import chunked_prefill as reference
from ...exercise import Exercise
from .layer import NAMES

plan_chunks = Exercise(
    "chunked_prefill.plan_chunks",
    "Chunks that fit a number of bytes",
    name="plan_chunks",
    reference=reference.plan_chunks,
    names=NAMES,
    mistakes={
        "square": (
            "The first chunk fits, later ones take too much: their queries look at all tokens so far, not only at their own. "
            "L queries after `held` tokens take num_heads * L * (held + L) scores."
        ),
        "past_only": "A chunk also looks at itself: the keys are those held and its own L, so S is held + L.",
        "heads": "Every query head has scores of its own: a factor `num_heads` is missing.",
        "bytes": "The limit is in bytes, and a float32 score has 4 of them.",
        "one_more": "The largest chunk whose scores are still within the limit is wanted, this one is a token larger. Round down.",
        "same_size": (
            "All chunks are as small as the last one must be. Early chunks look back at less and may be larger: "
            "work each one out from what is held before it."
        ),
        "remainder": "The chunks do not add up to the prompt: the last one is what is left, neither dropped nor filled up.",
    },
)


def _largest(held, left, most, scores):
    """By trying: the most tokens whose scores number at most `most`."""
    size = 0
    while size < left and scores(size + 1, held) <= most:
        size += 1
    return size


def _plan(num_tokens, most, scores=lambda L, held: L * (held + L), more=0):
    """The chunks of a rule; a rule under which nothing fits stops early."""
    chunks, held = [], 0
    while held < num_tokens:
        size = min(_largest(held, num_tokens - held, most, scores) + more, num_tokens - held)
        if size < 1:
            break
        chunks.append(size)
        held += size
    return chunks


def _same_size(num_tokens, most):
    size = max(1, most // num_tokens)
    return [min(size, num_tokens - start) for start in range(0, num_tokens, size)]


def _judge(answer, t, num_tokens, num_heads, limit):
    most = limit // (4 * num_heads)
    wanted = _plan(num_tokens, most)
    mistakes = {
        "square": _plan(num_tokens, most, lambda L, held: L * L),
        "heads": _plan(num_tokens, limit // 4),
        "past_only": _plan(num_tokens, most, lambda L, held: L * max(1, held)),
        "bytes": _plan(num_tokens, limit // num_heads),
        "one_more": _plan(num_tokens, most, more=1),
        "same_size": lambda y: isinstance(y, list) and y in (_same_size(num_tokens, most), _same_size(num_tokens, most - 1)),
        "remainder": lambda y: isinstance(y, (list, tuple)) and all(type(n) is int for n in y) and sum(y) != num_tokens,
    }
    given = answer(num_tokens, num_heads, limit)
    t.equal(f"plan_chunks({num_tokens}, {num_heads}, {limit})", given, wanted, mistakes=mistakes)


@plan_chunks.case("by hand: 1 head, room for 12 scores, 7 tokens")
def _(answer, t):
    # 3 * 3 = 9 fit (4 * 4 = 16 do not); then 2 * 5 = 10; then 1 * 6 and 1 * 7.
    _judge(answer, t, 7, 1, 48)


@plan_chunks.case("a limit that the whole prompt keeps: one chunk")
def _(answer, t):
    _judge(answer, t, 20, 4, 4 * 4 * 20 * 20)


@plan_chunks.case("nine heads and a real prompt")
def _(answer, t):
    _judge(answer, t, 700, 9, 4 * 2**20)


@plan_chunks.case("many prompts, heads and limits")
def _(answer, t):
    for _ in range(30):
        num_tokens, num_heads = int(t.rng.integers(1, 300)), int(t.rng.integers(1, 12))
        _judge(answer, t, num_tokens, num_heads, int(4 * num_heads * num_tokens * t.rng.uniform(1, 40)))


@plan_chunks.case("a limit that the last token alone exceeds is an error")
def _(answer, t):
    t.raises(ValueError, lambda: answer(100, 2, 2 * 4 * 100 - 1), "plan_chunks(100, 2, 799), where the last token wants 800 bytes,")
