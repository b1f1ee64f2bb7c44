"""Attention by the definition, in float64: what answers are held to, and what known mistakes would give."""

import mlx.core as mx
import numpy as np

from ....techniques import flash_attention as techniques

NAMES = {"mx": mx, "np": np, "Carried": techniques.Carried, "nothing_yet": techniques.nothing_yet, "result": techniques.result}


def wide(x) -> np.ndarray:
    return np.array(x.astype(mx.float32)).astype(np.float64)


def narrow(x: np.ndarray) -> mx.array:
    return mx.array(x.astype(np.float32))


def softmax(scores: np.ndarray) -> np.ndarray:
    """[..., S], -inf where a key is not seen; zeros where none is."""
    largest = scores.max(-1, keepdims=True)
    weights = np.exp(scores - np.where(np.isneginf(largest), 0, largest))
    total = weights.sum(-1, keepdims=True)
    return weights / np.where(total == 0, 1, total)


def heads_of(x: np.ndarray, H: int) -> np.ndarray:
    """Keys or values [B, H_kv, S, D], one for each of H query heads."""
    return np.repeat(x, H // x.shape[1], axis=1)


def band(L: int, S: int, *, late: int = 0, window: int | None = None) -> np.ndarray:
    """Booleans [L, S]: key j is seen from position S - L + l on; `late` moves the diagonal to the right."""
    position = np.arange(S - L, S)[:, None] + late
    seen = np.arange(S) <= position
    return seen if window is None else seen & (np.arange(S) > position - window)


def attend(q, k, v, scale: float, mask: np.ndarray | None = None) -> np.ndarray:
    """All float64, [B, H, L, D] and [B, H, S, D]; mask boolean or added."""
    scores = scale * q @ k.swapaxes(-1, -2)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    return softmax(scores) @ v


def online(q, k, v, scale: float, tile: int, *, rescale_total=True, rescale_values=True, own_largest=False) -> np.ndarray:
    """The online softmax over tiles of keys, with a step left out."""
    scores = scale * q @ k.swapaxes(-1, -2)
    L, D = q.shape[:-1], v.shape[-1]
    largest, total, weighted = np.full((*L, 1), -np.inf), np.zeros((*L, 1)), np.zeros((*L, D))
    for begin in range(0, k.shape[-2], tile):
        part = scores[..., begin : begin + tile]
        now = part.max(-1, keepdims=True)
        if not own_largest:
            now = np.maximum(now, largest)
        factor = np.exp(largest - now)
        weights = np.exp(part - now)
        total = total * (factor if rescale_total else 1) + weights.sum(-1, keepdims=True)
        weighted = weighted * (factor if rescale_values else 1) + weights @ v[..., begin : begin + tile, :]
        largest = now
    return weighted / total


def online_mistakes(q, k, v, scale: float, tile: int) -> dict[str, object]:
    """Known mistakes of an online softmax -> the array that each would give."""
    from_last = (k.shape[-2] - 1) // tile * tile
    no_rescale = [
        narrow(online(q, k, v, scale, tile, rescale_total=a, rescale_values=b)) for a, b in ((0, 0), (1, 0), (0, 1))
    ]
    return {
        "no_rescale": lambda y: any(same(y, other) for other in no_rescale),
        "own_largest": narrow(online(q, k, v, scale, tile, rescale_total=False, rescale_values=False, own_largest=True)),
        "not_carried": narrow(attend(q, k[..., from_last:, :], v[..., from_last:, :], scale)),
    }


def same(y, other: mx.array) -> bool:
    return isinstance(y, mx.array) and y.shape == other.shape and mx.allclose(y, other, atol=1e-4, rtol=1e-4).item()
