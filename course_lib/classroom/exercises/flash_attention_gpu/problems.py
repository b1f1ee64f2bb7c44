"""What the check asks of attention in Metal, with the values that known mistakes would give.

The oracle is the definition in float64, on the inputs as they are in their dtype. What may be off follows from the
dtype: sums in float32, and the result rounded once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import mlx.core as mx
import numpy as np

from ....kernels.metal_attention import span_count
from ...native.ladder import MetalProblem
from ..flash_attention.oracle import attend, band, heads_of, wide

UNIT = {mx.float32: 2.0**-24, mx.float16: 2.0**-11, mx.bfloat16: 2.0**-8}  # of rounding once
SMALLEST = {mx.float32: 1e-30, mx.float16: 2.0**-24, mx.bfloat16: 1e-30}  # what lies below is rounded away
EPSILON = 2.0**-23
KEYS = 32  # of a tile
LOWEST = -3.0e38  # a score of a key that is not seen
TILED = ("tiles", "matrices")


@dataclass(frozen=True)
class Heads:
    """One problem in float64, with keys and values for each query head."""

    q: np.ndarray  # [B, H, L, D]
    k: np.ndarray  # [B, H, S, D]
    v: np.ndarray  # [B, H, S, D]
    scale: float
    causal: bool

    @property
    def mask(self) -> np.ndarray:
        """[L, S], True where a query sees a key."""
        L, S = self.q.shape[2], self.k.shape[2]
        return band(L, S) if self.causal else np.ones((L, S), bool)

    @cached_property
    def scores(self) -> np.ndarray:
        return np.where(self.mask, self.scale * self.q @ self.k.swapaxes(-1, -2), -np.inf)

    def wanted(self) -> np.ndarray:
        return attend(self.q, self.k, self.v, self.scale, self.mask)

    def tolerance(self, dtype: mx.Dtype) -> np.ndarray:
        """Of each value: rounded once, from float32 sums of S terms whose weights came from sums of D terms."""
        size = attend(self.q, self.k, np.abs(self.v), self.scale, self.mask)
        terms = self.scale * (np.abs(self.q) @ np.abs(self.k).swapaxes(-1, -2)).max(-1, keepdims=True)
        sums = (24 + self.k.shape[2] / 8 + 8 * terms) * EPSILON * size
        return 1.001 * UNIT[dtype] * np.abs(self.wanted()) + sums + SMALLEST[dtype]


def problem(
    rung: str, B: int, H: int, H_kv: int, L: int, S: int, D: int = 64, *, dtype: mx.Dtype = mx.float32, causal: bool = False,
    keys: Callable | None = None, what: str = "",
) -> MetalProblem:  # fmt: skip
    """A problem of these sizes.

    Args:
        keys: random keys and queries to those that are taken; None for the random ones.
        what: is special about it.
    """
    random = np.random.default_rng(L * S + D)
    q, k, v = (
        mx.array(random.standard_normal((B, heads, tokens, D)).astype(np.float32)).astype(dtype)
        for heads, tokens in ((H, L), (H_kv, S), (H_kv, S))
    )
    if keys is not None:
        q, k = (a.astype(dtype) for a in keys(q, k))
    scale = float(np.float32(D**-0.5))
    name = str(dtype).removeprefix("mlx.core.")
    heads = Heads(wide(q), heads_of(wide(k), H), heads_of(wide(v), H), scale, causal)
    tolerance = heads.tolerance(dtype)
    return MetalProblem(
        f"B={B} H={H} H_kv={H_kv} L={L} S={S} D={D} {name}{', causal' if causal else ''}{what}",
        (q, k, v),
        heads.wanted(),
        tolerance,
        mistakes(rung, heads, (wide(k), wide(v)), dtype),
        {"scale": scale, "mask": "causal" if causal else None},
    )


def mistakes(rung: str, heads: Heads, shared: tuple[np.ndarray, np.ndarray], dtype: mx.Dtype) -> dict:
    """Name of a mistake -> the values that it gives, [B, H, L, D], or what tells that it was made.

    Args:
        shared: keys and values [B, H_kv, S, D].
    """
    q, k, v, scale, mask = heads.q, heads.k, heads.v, heads.scale, heads.mask
    (B, H, L, D), S = q.shape, k.shape[2]
    tile = KEYS if rung in TILED else 1
    spans = span_count(S) if rung == "split_keys" else 1
    span = np.arange(S) // -(-S // spans)
    corrected = ((False, False), (True, False), (False, True))  # the sum, the values
    made = {
        "no_rescale": [online(heads, tile, span, rescale_sum=a, rescale_values=b) for a, b in corrected],
        "not_carried": [attend(q, k, v, scale, mask & newest(mask, tile, span))],
        "wrong_head": [attend(q, *other, scale, mask) for other in other_heads(shared, B, H)],
        "not_scaled": [attend(q, k, v, 1.0, mask)],
        "not_divided": [np.exp(heads.scores - heads.scores.max(-1, keepdims=True)) @ v],
        "keys_as_values": [attend(q, k, k, scale, mask)],
    }
    if heads.causal:
        bands = {"one_too_many": band(L, S, late=1), "one_too_few": band(L, S, late=-1), "no_mask": band(L, S, late=S), "top_left": band(L, S, late=L - S)}
        for name, seen in bands.items():
            nothing = ~seen.any(-1)[:, None]  # what comes out for such a query depends on the code
            made[name] = [np.where(nothing, np.nan, attend(q, k, v, scale, seen))]
    if rung == "tiles":
        halves = np.arange(KEYS) // 16, np.arange(D) % 32 // 16
        made["half_the_lanes"] = [split(heads, *halves, both=both) for both in (True, False)]
        made["own_weight"] = [own_weight(heads)]
    elif rung == "matrices":
        halves = np.arange(KEYS) % 8 // 4, np.arange(D) % 8 // 4
        made["half_the_row"] = [split(heads, *halves, both=both) for both in (True, False)]
        made["not_transposed"] = [attend(q, blocks_as_they_lie(k), v, scale, mask)]
    elif rung == "simd_group":
        lane = np.arange(D) % 32
        made["half_the_lanes"] = [of_lanes(heads, [lane // 16 == half for half in (0, 1)])]
        made["one_lane"] = [of_lanes(heads, [lane == one for one in range(32)])]
    if rung == "split_keys":
        made["last_keys"] = [attend(q, k, v, scale, mask & (np.arange(S) < S // spans * spans))]
        made["not_merged"] = not_merged(heads, span)
    wanted = heads.wanted()
    # Where a mistake does not show, it is not to be named.
    told = {name: any_of([x for x in values if not near(wanted, x)]) for name, values in made.items()}
    if dtype != mx.float32:
        # Close, and yet further off than one rounding explains. The last to be asked.
        off = 24 * UNIT[dtype] * attend(q, k, np.abs(v), scale, mask)
        told["half_sums"] = lambda values: bool((np.abs(values - wanted) <= off).all())
    return told


def newest(mask: np.ndarray, tile: int, span: np.ndarray) -> np.ndarray:
    """[L, S]: the keys of the last tile that a query comes to in each span."""
    found = np.zeros_like(mask)
    for number in range(span[-1] + 1):
        seen = mask & (span == number)
        last = np.where(seen.any(-1), seen.shape[1] - 1 - seen[:, ::-1].argmax(-1), -1)[:, None]
        found |= (span == number) & (np.arange(len(span)) // tile == last // tile) & (last >= 0)
    return found


def online(heads: Heads, tile: int, span: np.ndarray, *, rescale_sum: bool, rescale_values: bool) -> np.ndarray:
    """The online softmax over tiles of keys, span by span, with a correction left out; the spans are merged well."""
    parts = []
    for number in range(span[-1] + 1):
        scores, v = heads.scores[..., span == number], heads.v[..., span == number, :]
        largest = np.full((*scores.shape[:-1], 1), LOWEST)
        total, weighted = np.zeros_like(largest), np.zeros_like(heads.q)
        for first in range(0, scores.shape[-1], tile):
            part = scores[..., first : first + tile]
            now = np.maximum(largest, part.max(-1, keepdims=True))
            factor, weights = np.exp(largest - now), np.exp(part - now)
            total = total * (factor if rescale_sum else 1) + weights.sum(-1, keepdims=True)
            weighted = weighted * (factor if rescale_values else 1) + weights @ v[..., first : first + tile, :]
            largest = now
        parts.append((largest, total, weighted))
    top = np.max([largest for largest, _, _ in parts], axis=0)
    factors = [np.exp(largest - top) for largest, _, _ in parts]
    return sum(f * w for f, (_, _, w) in zip(factors, parts)) / sum(f * t for f, (_, t, _) in zip(factors, parts))


def split(heads: Heads, key_half: np.ndarray, feature_half: np.ndarray, *, both: bool) -> np.ndarray:
    """Tiles whose reductions go over half of the lanes: each half has a maximum (if `both`) and a sum of its own.

    Args:
        key_half: of a tile's keys, [KEYS]: 0 or 1; feature_half: of the features, [D].
        both: also the maximum; otherwise only the sum.
    """
    S = heads.k.shape[2]
    pad = -S % KEYS
    scores = np.pad(heads.scores, [(0, 0)] * 3 + [(0, pad)], constant_values=-np.inf)
    v = np.pad(heads.v, [(0, 0)] * 2 + [(0, pad), (0, 0)])
    shape = (*scores.shape[:-1], 2)
    largest, total = np.full(shape, LOWEST), np.zeros(shape)
    weighted = np.zeros((*scores.shape[:-1], v.shape[-1]))
    for first in range(0, S, KEYS):
        part = np.maximum(scores[..., first : first + KEYS], LOWEST)
        of_half = [part[..., key_half == half].max(-1) if both else part.max(-1) for half in (0, 1)]
        now = np.maximum(largest, np.stack(of_half, -1))
        factor, weights = np.exp(largest - now), np.exp(part - now[..., key_half])
        total = total * factor + np.stack([weights[..., key_half == half].sum(-1) for half in (0, 1)], -1)
        weighted = weighted * factor[..., feature_half] + weights @ v[..., first : first + KEYS, :]
        largest = now
    with np.errstate(divide="ignore", invalid="ignore"):
        return weighted / total[..., feature_half]


def own_weight(heads: Heads) -> np.ndarray:
    """Each lane takes the weight of its own key for all keys of the tile."""
    weights = np.exp(heads.scores - heads.scores.max(-1, keepdims=True))
    total, (S, D) = weights.sum(-1, keepdims=True), heads.k.shape[2:]
    weights = np.pad(weights, [(0, 0)] * 3 + [(0, -S % KEYS)])
    weighted = 0
    for first in range(0, S, KEYS):
        tile_sum = heads.v[..., None, first : first + KEYS, :].sum(-2)
        weighted = weighted + weights[..., first + np.arange(D) % 32] * tile_sum
    return weighted / total


def of_lanes(heads: Heads, shares: list[np.ndarray]) -> np.ndarray:
    """Scores from a share of the features alone, which gives that share of the result."""
    result = np.empty_like(heads.q)
    for share in shares:
        result[..., share] = attend(heads.q[..., share], heads.k[..., share], heads.v[..., share], heads.scale, heads.mask)
    return result


def blocks_as_they_lie(k: np.ndarray) -> np.ndarray:
    """Keys whose 8 x 8 blocks (8 keys, 8 features) are transposed."""
    *outer, S, D = k.shape
    padded = np.pad(k, [(0, 0)] * len(outer) + [(0, -S % 8), (0, 0)])
    blocks = padded.reshape(*outer, -1, 8, D // 8, 8).swapaxes(-1, -3)
    return blocks.reshape(padded.shape)[..., :S, :]


def not_merged(heads: Heads, span: np.ndarray) -> list[np.ndarray]:
    """Spans that are added up although their sums are relative to different scores; and the last one alone."""
    weighted, total = 0, 0
    for number in range(span[-1] + 1):
        part = np.where(span == number, heads.scores, -np.inf)
        largest = part.max(-1, keepdims=True)
        weights = np.exp(part - np.where(np.isneginf(largest), 0, largest))
        weighted, total = weighted + weights @ heads.v, total + weights.sum(-1, keepdims=True)
    return [weighted / total, attend(heads.q, heads.k, heads.v, heads.scale, heads.mask & (span == span[-1]))]


def other_heads(shared: tuple[np.ndarray, np.ndarray], B: int, H: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Keys and values for each query head by other rules than h // (H / H_kv): h % H_kv, the first, of the first batch entry."""
    H_kv = shared[0].shape[1]
    right = np.arange(H) // (H // H_kv)
    rules = [(np.arange(B), np.arange(H) % H_kv), (np.arange(B), 0 * right), (np.zeros(B, int), right)]
    found = []
    for batch, head in rules:
        if (head == right).all() and (batch == np.arange(B)).all():
            continue
        found.append(tuple(x[batch[:, None], head[None, :]] for x in shared))
    return found


def near(values: np.ndarray, other: np.ndarray) -> bool:
    """The same, as near as half precision tells; NaN stands for anything."""
    return bool((np.isclose(values, other, rtol=0.02, atol=0.004) | np.isnan(other)).all())


def any_of(expected: list[np.ndarray]) -> Callable[[np.ndarray], bool]:
    return lambda values: any(near(values, other) for other in expected)


def rising(q, k):
    """Scores that rise along the keys, by 12."""
    along = mx.linspace(0, 12, k.shape[2])[:, None]
    return mx.abs(q), 0.1 * k + along / mx.mean(mx.abs(q)) / q.shape[3] ** 0.5


def falling(q, k):
    q, k = rising(q, k)
    return q, k[:, :, ::-1]


def extreme(q, k):
    """Scores of 10,000 and -10,000."""
    sign = mx.where(mx.arange(k.shape[2]) % 3 == 0, 1.0, -1.0)[:, None]
    return mx.ones_like(q), 1e4 / q.shape[3] ** 0.5 * (sign + 1e-4 * k)


def problems(rung: str, case: str) -> list[MetalProblem]:
    """What a case asks of a rung."""
    return CASES[case](rung)


CASES = {
    "one_query": lambda rung: [problem(rung, 1, 1, 1, 1, 70)],
    "few_keys": lambda rung: [problem(rung, 1, 1, 1, 3, S) for S in (1, 5)],
    "rising": lambda rung: [problem(rung, 1, 1, 1, 4, 150, keys=keys) for keys in (rising, falling)],
    "heads": lambda rung: [problem(rung, 2, 6, 2, 3, 40)],
    "causal": lambda rung: [problem(rung, 1, 1, 1, L, S, causal=True) for L, S in ((9, 9), (5, 43), (33, 70))],
    "edges": lambda rung: [problem(rung, 1, 2, 2, L, S) for L, S in ((37, 75), (1, 64), (40, 33))],
    "extremes": lambda rung: [problem(rung, 1, 1, 1, 3, 100, keys=extreme)],
    "wide": lambda rung: [problem(rung, 1, 2, 1, 18, 40, 128, causal=True)],
    # Half precision comes last: what is wrong in float32, too, has been told by then.
    "half": lambda rung: [problem(rung, 1, 3, 1, 20, 90, dtype=mx.float16, causal=True)],
    "bfloat": lambda rung: [problem(rung, 1, 3, 1, 20, 90, dtype=mx.bfloat16, causal=True)],
    "long": lambda rung: [problem(rung, 1, 2, 1, 2, 500, dtype=mx.float16, causal=True)],
}
