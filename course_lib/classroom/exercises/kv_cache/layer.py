"""One attention layer's step for new tokens: the right positions, the right mask, the cache used once."""

import mlx.core as mx
import numpy as np

from ....techniques import cached_attention as reference
from ....techniques.cached_attention import AttentionLayer
from ...exercise import Exercise

NAMES = {"mx": mx, "np": np}

cached_attention = Exercise(
    "kv_cache.cached_attention",
    "One layer's step: the right position for new tokens",
    name="cached_attention",
    reference=reference.cached_attention,
    names=NAMES,
    uses=("kv_cache.causal_mask", "kv_cache.attention"),
    mistakes={
        "offset_missing": (
            "The new tokens are rotated as if they stood at the beginning of the text. The first of them "
            "stands at position `cache.offset`."
        ),
        "offset_late": (
            "The offset was read after the update, which had already moved it on by L. Read "
            "`cache.offset` first."
        ),
        "query_offset": (
            "The keys are rotated to their positions, the queries are not (or to other ones). Query and "
            "key of one token stand at the same position."
        ),
        "key_offset": (
            "The queries are rotated to their positions, the keys are not (or to other ones). The cache "
            "keeps keys for good: rotate them before the update."
        ),
        "no_rope": (
            "Nothing is rotated, so the layer does not know the order of the tokens: "
            "`layer.rope(queries, offset)`, and the keys likewise."
        ),
        "values_rotated": (
            "The values are rotated too. Positions matter for who looks at whom, not for what is "
            "gathered: only queries and keys turn."
        ),
        "mask_missing": 'New tokens see the ones after them. Pass `mask="causal"`.',
        "only_new": (
            "The new tokens attend to themselves alone. Attend to what `cache.update_and_fetch` returns: "
            "everything so far."
        ),
        "swapped": "Keys and values have changed places on their way through the cache.",
        "updated_twice": (
            "The cache was updated more than once. It is one step: one update, with the L new tokens."
        ),
        "not_updated": (
            "The cache does not hold the new tokens afterwards: `cache.update_and_fetch(keys, values)`."
        ),
    },
)

E, H, H_KV, D = 24, 6, 2, 8


class _ListCache:
    """The plainest cache there is: a list of what came, joined for every answer."""

    def __init__(self):
        self.parts = []

    @property
    def offset(self):
        return sum(k.shape[2] for k, _ in self.parts)

    def update_and_fetch(self, keys, values):
        self.parts.append((keys, values))
        return tuple(mx.concatenate([p[i] for p in self.parts], axis=2) for i in (0, 1))


def _layer(t):
    return AttentionLayer(
        wq=t.normal("layer.wq", H * D, E, scale=0.4),
        wk=t.normal("layer.wk", H_KV * D, E, scale=0.4),
        wv=t.normal("layer.wv", H_KV * D, E, scale=0.4),
        wo=t.normal("layer.wo", E, H * D, scale=0.2),
        num_heads=H,
        num_kv_heads=H_KV,
        rope_base=100.0,  # small, so that a few positions turn every pair visibly
    )


def _rope(x, offset):
    return mx.fast.rope(x, D, traditional=False, base=100.0, scale=1.0, offset=offset)


def _split(y, heads):
    return y.reshape(*y.shape[:2], heads, D).transpose(0, 2, 1, 3)


def _oracle(x, layer):
    """The layer on the whole text at once, by MLX's own operations."""
    return _steps(x, layer, [x.shape[1]])


def _steps(
    x, layer, cuts, *, q_at=lambda at, L: at, k_at=lambda at, L: at, rotate=_rope, causal=True,
    new_only=False, turn_values=False, swap=False,
):  # fmt: skip
    """All outputs [B, S, E] of a text read in steps of `cuts` tokens, with places to go wrong."""
    keys, values, outputs, at = [], [], [], 0
    for L in cuts:
        part = x[:, at : at + L]
        q = rotate(_split(part @ layer.wq.T, H), q_at(at, L))
        k = rotate(_split(part @ layer.wk.T, H_KV), k_at(at, L))
        v = _split(part @ layer.wv.T, H_KV)
        v = _rope(v, at) if turn_values else v
        at += L
        keys.append(k)
        values.append(v)
        K = k if new_only else mx.concatenate(keys, axis=2)
        V = v if new_only else mx.concatenate(values, axis=2)
        K, V = (V, K) if swap else (K, V)
        allowed = np.tril(np.ones((L, K.shape[2]), dtype=bool), k=K.shape[2] - L)
        mask = mx.array(allowed) if causal else None
        out = mx.fast.scaled_dot_product_attention(q, K, V, scale=D**-0.5, mask=mask)
        outputs.append(out.transpose(0, 2, 1, 3).reshape(x.shape[0], L, H * D) @ layer.wo.T)
    return mx.concatenate(outputs, axis=1)


def _mistakes(x, layer, cuts):
    """The outputs of the last step under each known mistake."""

    def start(at, L):
        return 0

    def late(at, L):
        return at + L

    variants = {
        "offset_missing": [dict(q_at=start, k_at=start)],
        "offset_late": [dict(q_at=late, k_at=late), dict(q_at=late)],
        "query_offset": [dict(q_at=start)],
        "key_offset": [dict(k_at=start), dict(k_at=late)],
        "no_rope": [dict(rotate=lambda y, offset: y)],
        "values_rotated": [dict(turn_values=True)],
        "mask_missing": [dict(causal=False)],
        "only_new": [dict(new_only=True)],
        "swapped": [dict(swap=True)],
    }
    last = cuts[-1]
    found = {}
    for name, flags in variants.items():
        outputs = [_steps(x, layer, cuts, **f)[:, -last:] for f in flags]
        found[name] = lambda y, outputs=outputs: any(_near(y, o) for o in outputs)
    return found


def _read(answer, t, cuts, B=1):
    """Read a random text in steps and compare each step's output with the layer on the whole text."""
    layer = _layer(t)
    x = t.normal("x", B, sum(cuts), E)
    wanted = _oracle(x, layer)
    cache, at = _ListCache(), 0
    for number, L in enumerate(cuts, start=1):
        part = t.watch(f"x of step {number}", x[:, at : at + L])
        given = answer(part, layer, cache)
        t.true(
            len(cache.parts) <= number,
            f"Step {number} updated the cache {len(cache.parts) - number + 1} times.\nWanted: once.",
            "updated_twice",
        )
        t.close(
            f"cached_attention(x, layer, cache), step {number}: {L} token{'s' * (L > 1)} after {at}",
            given,
            wanted[:, at : at + L],
            mistakes=_mistakes(x[:, : at + L], layer, cuts[:number]),
        )
        at += L
        t.equal("cache.offset after the step", cache.offset, at, mistakes={"not_updated": at - L})


@cached_attention.case("the prompt, with an empty cache: the same as without one")
def _(answer, t):
    _read(answer, t, [6])


@cached_attention.case("one token after a prompt of 6: it stands at position 6")
def _(answer, t):
    _read(answer, t, [6, 1])


@cached_attention.case("a text read one token at a time")
def _(answer, t):
    _read(answer, t, [1] * 8)


@cached_attention.case("three tokens at once after a prompt of 5: position and mask")
def _(answer, t):
    _read(answer, t, [5, 3])


@cached_attention.case("random steps, two texts in the batch")
def _(answer, t):
    for _ in range(4):
        _read(answer, t, [int(n) for n in t.rng.integers(1, 8, size=6)], B=2)


def _near(y, other) -> bool:
    return (
        isinstance(y, mx.array) and y.shape == other.shape and bool(mx.allclose(y, other, atol=1e-5).item())
    )
