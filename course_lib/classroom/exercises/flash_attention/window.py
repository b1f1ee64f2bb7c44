"""A sliding window: tiles are skipped on both sides."""

import mlx.core as mx

from ....techniques import flash_attention as techniques
from ...exercise import Exercise
from .oracle import NAMES, attend, band, heads_of, narrow, wide


def reference(queries, keys, values, *, scale, window, query_block=64, key_block=128):
    return techniques.flash_attention(
        queries, keys, values, scale=scale, mask="causal", window=window, query_block=query_block, key_block=key_block
    )


window_attention = Exercise(
    "flash_attention.window_attention",
    "A sliding window that skips on both sides",
    name="window_attention",
    reference=reference,
    names=NAMES,
    uses=("flash_attention.take_up", "flash_attention.causal_tiles"),
    mistakes={
        "window_ignored": "The window does not show: a query sees all keys up to its own.",
        "one_more": "The window is one key too wide. A query sees `window` keys, its own among them: those with position > its own - window.",
        "one_less": "The window is one key too narrow. A query sees `window` keys, its own among them.",
        "block_window": "All queries of a block have the window of its first. Each has its own.",
        "not_skipped": "Tiles before the window were read all the same: values there were poisoned with NaN, and came through. Begin with the first tile that the block's first query sees.",
    },
    stretch=True,
)


def check_window(answer, t, H, H_kv, L, S, window, blocks=(16, 16)):
    q, k, v = t.normal("queries", 1, H, L, 32), t.normal("keys", 1, H_kv, S, 32), t.normal("values", 1, H_kv, S, 32)
    a, b, c = wide(q), heads_of(wide(k), H), heads_of(wide(v), H)
    by = lambda mask: narrow(attend(a, b, c, 0.2, mask))  # noqa: E731
    mistakes = {"window_ignored": by(band(L, S)), "one_more": by(band(L, S, window=window + 1))}
    if window > 1:
        mistakes["one_less"] = by(band(L, S, window=window - 1))
    # Each block with the oldest key of its first query.
    wide_band = band(L, S)
    for first in range(0, L, blocks[0]):
        wide_band[first : first + blocks[0], : max(0, S - L + first + 1 - window)] = False
    mistakes["block_window"] = by(wide_band)
    t.close(
        f"window_attention of queries [1, {H}, {L}, 32], keys [1, {H_kv}, {S}, 32], window={window}, blocks of {blocks[0]} and {blocks[1]}",
        answer(q, k, v, scale=0.2, window=window, query_block=blocks[0], key_block=blocks[1]), by(band(L, S, window=window)),
        atol=1e-4, rtol=1e-4, mistakes=mistakes,
    )  # fmt: skip


@window_attention.case("a window shorter than the text")
def _(answer, t):
    check_window(answer, t, 2, 2, 64, 64, 20)
    check_window(answer, t, 4, 2, 33, 100, 24)


@window_attention.case("windows of one key, of a tile, and of everything")
def _(answer, t):
    for window in (1, 16, 1000):
        check_window(answer, t, 2, 1, 40, 70, window)


@window_attention.case("any lengths")
def _(answer, t):
    for _ in range(12):
        L = int(t.rng.integers(1, 60))
        check_window(answer, t, 2, 1, L, L + int(t.rng.integers(0, 60)), int(t.rng.integers(1, 50)), (int(t.rng.integers(1, 20)), int(t.rng.integers(1, 20))))


@window_attention.case("tiles before the window are not read")
def _(answer, t):
    q, k, v = (t.normal(name, 1, 1, 64, 8) for name in ("queries", "keys", "values"))
    wanted = narrow(attend(wide(q), wide(k), wide(v), 0.2, band(64, 64, window=8)))[:, :, 32:]
    poisoned = mx.where(mx.arange(64)[:, None] >= 16, v, mx.nan)
    given = answer(q, k, poisoned, scale=0.2, window=8, query_block=16, key_block=16)
    t.close(
        "the last 32 of 64 queries, window=8, blocks of 16, with NaN for values 0 to 15", given[:, :, 32:], wanted, atol=1e-4,
        mistakes={"not_skipped": lambda y: bool(mx.any(mx.isnan(y)).item())},
    )  # fmt: skip
