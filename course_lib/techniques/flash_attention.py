"""Flash attention: attention in tiles, without the matrix of scores.

The softmax needs the largest score and the sum of all exponentials, so it seems to need all scores at once. It
does not: what is summed up relative to the largest score *so far* can be corrected when a larger one comes, by one
multiplication. So keys and values are taken a tile at a time, and memory beside the result is one tile's.

These are the versions in Python, to be read; `extensions/reference/attention.cpp` is the one to be used.

Sources: online softmax, Milakov and Gimelshein, https://arxiv.org/abs/1805.02867; FlashAttention, Dao et al.,
https://arxiv.org/abs/2205.14135; its loop order here is that of FlashAttention-2, https://arxiv.org/abs/2307.08691
"""

from typing import NamedTuple

import mlx.core as mx


def stable_softmax(scores: mx.array) -> mx.array:
    """exp(score) / sum of exp(score), along the last axis, for scores of any size.

    Args:
        scores: floating [..., S]; -inf where a key is not seen.

    Returns:
        Weights of the same shape and dtype. A row that is -inf throughout sees nothing: its weights are zeros.
    """
    largest = mx.max(scores, axis=-1, keepdims=True)
    # Nothing seen: any finite number will do in place of -inf, since exp(-inf - 0) is the 0 that is wanted.
    weights = mx.exp(scores - mx.where(largest == -mx.inf, 0, largest))
    total = mx.sum(weights, axis=-1, keepdims=True)
    return weights / mx.where(total == 0, 1, total)


class Carried(NamedTuple):
    """What the online softmax carries from tile to tile, for L queries. All may have further axes in front.

    Attributes:
        largest: [L, 1], the largest score so far, -inf before the first.
        total: [L, 1], the sum of exp(score - largest).
        weighted: [L, D], the sum of exp(score - largest) * value.
    """

    largest: mx.array
    total: mx.array
    weighted: mx.array


def nothing_yet(*shape: int) -> Carried:
    """What is carried before the first tile, float32.

    Args:
        shape: that of the result: L queries and the values' size D, before them any number of other axes.
    """
    return Carried(mx.full((*shape[:-1], 1), -mx.inf), mx.zeros((*shape[:-1], 1)), mx.zeros(shape))


def take_up(carried: Carried, scores: mx.array, values: mx.array) -> Carried:
    """One step of the online softmax.

    Args:
        carried: of all keys before.
        scores: [L, n] with the next n keys; -inf where a key is not seen.
        values: [n, D] of these keys.

    Returns:
        Carried, of all keys up to now. `carried` is left as it was.
    """
    largest = mx.maximum(carried.largest, mx.max(scores, axis=-1, keepdims=True))
    # As long as a query has seen nothing its largest is -inf, and -inf - -inf is NaN.
    reference = mx.where(largest == -mx.inf, 0, largest)
    rescale = mx.exp(carried.largest - reference)
    weights = mx.exp(scores - reference)  # [L, n]
    total = carried.total * rescale + mx.sum(weights, axis=-1, keepdims=True)
    return Carried(largest, total, carried.weighted * rescale + weights @ values)


def result(carried: Carried) -> mx.array:
    """The weighted mean of the values, [L, D]; zeros for a query that saw nothing."""
    return carried.weighted / mx.where(carried.total == 0, 1, carried.total)


def tiled_attention(
    queries: mx.array, keys: mx.array, values: mx.array, *, scale: float, query_block: int = 32, key_block: int = 64
) -> mx.array:
    """softmax(scale * queries keys^T) values for one head, a tile of scores at a time.

    Args:
        queries: [L, D].
        keys, values: [S, D].
        scale: multiplies the scores.
        query_block, key_block: the tile's sides; no array larger than a tile is made beside the result.

    Returns:
        [L, D].
    """
    L, D = queries.shape
    out = []
    for q in range(0, L, query_block):
        block = queries[q : q + query_block] * scale
        carried = nothing_yet(block.shape[0], D)
        for k in range(0, keys.shape[0], key_block):
            scores = block @ keys[k : k + key_block].T  # one tile
            carried = take_up(carried, scores, values[k : k + key_block])
        out.append(result(carried))
        mx.eval(out[-1])  # or all tiles of all blocks would be recorded, and could be there at once
    return mx.concatenate(out)


def causal_tiles(first: int, last: int, L: int, S: int, key_block: int) -> tuple[int, int]:
    """Which key tiles a block of queries meets under a causal mask.

    Query l stands at position S - L + l and sees the keys up to its own.

    Args:
        first, last: the block's first query, and the one behind its last.
        L, S: queries and keys in all.
        key_block: keys in a tile; the last tile may have fewer.

    Returns:
        (full, visited): tiles 0 to full - 1 are seen whole by every query of the block and need no mask; tiles
        full to visited - 1 are seen in part; later ones are not seen at all, and are skipped.

    Raises:
        ValueError: L > S, where a query would stand before the first key.
    """
    if L > S:
        raise ValueError(f"{L} queries and {S} keys: under a causal mask each query has a key of its own, so L <= S")
    seen_by_first = S - L + first + 1
    seen_by_last = S - L + last
    visited = -(-seen_by_last // key_block)
    # A last tile that is not full has no keys behind its end: whoever sees all that are there sees it whole.
    full = visited if seen_by_first == S else seen_by_first // key_block
    return full, visited


def flash_attention(
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    *,
    scale: float,
    mask: mx.array | str | None = None,
    query_block: int = 64,
    key_block: int = 128,
    window: int | None = None,
) -> mx.array:
    """`mx.fast.scaled_dot_product_attention`, a tile of scores at a time.

    Args:
        queries: [B, H, L, D].
        keys, values: [B, H_kv, S, D]; query head h reads key/value head h // (H / H_kv).
        scale: multiplies the scores, usually D ** -0.5.
        mask: None; "causal", where query l sees keys 0 to S - L + l; or an array that broadcasts to
            [B, H, L, S], boolean (True: may attend) or floating (added to the scores).
        query_block, key_block: the tile's sides.
        window: with "causal": a query sees only the newest `window` keys up to its own.

    Returns:
        [B, H, L, D], the queries' dtype; sums are float32. Zeros for a query that sees no key.

    Raises:
        ValueError: H is no multiple of H_kv, L > S with a causal mask, an unknown mask, or a window without it.
    """
    B, H, L, D = queries.shape
    H_kv, S = keys.shape[1:3]
    if H % H_kv:
        raise ValueError(f"{H} query heads cannot share {H_kv} key/value heads evenly; H must be a multiple of H_kv")
    causal = isinstance(mask, str)
    if causal and mask != "causal":
        raise ValueError(f"mask={mask!r}; wanted None, 'causal' or an array")
    if causal and L > S:
        raise ValueError(f"{L} queries and {S} keys: under a causal mask each query has a key of its own, so L <= S")
    if window is not None and (not causal or window < 1):
        raise ValueError(f"window={window} with mask={mask!r}; wanted at least 1, and mask='causal'")
    if mask is not None and not causal:
        mask = mx.broadcast_to(mask, (B, H, L, S)).reshape(B, H_kv, H // H_kv, L, S)
    # The heads that share keys and values side by side: matrix products broadcast over the rest.
    grouped = queries.reshape(B, H_kv, H // H_kv, L, D)  # [B, H_kv, G, L, D]
    keys, values = keys[:, :, None], values[:, :, None]  # [B, H_kv, 1, S, D]
    out = []
    for q in range(0, L, query_block):
        block = (grouped[..., q : q + query_block, :] * scale).astype(mx.float32)
        rows = block.shape[-2]
        begin, full, visited = 0, S, -(-S // key_block)
        if causal:
            full, visited = causal_tiles(q, q + rows, L, S, key_block)
            if window is not None:
                begin = max(0, S - L + q + 1 - window) // key_block
        carried = nothing_yet(B, H_kv, H // H_kv, rows, D)
        for tile in range(begin, visited):
            k, end = tile * key_block, min((tile + 1) * key_block, S)
            scores = block @ keys[..., k:end, :].swapaxes(-1, -2)  # [B, H_kv, G, rows, n]
            if causal and (tile >= full or window is not None):
                position = mx.arange(S - L + q, S - L + q + rows)[:, None]
                seen = mx.arange(k, end) <= position
                if window is not None:
                    seen = seen & (mx.arange(k, end) > position - window)
                scores = mx.where(seen, scores, -mx.inf)
            elif mask is not None and not causal:
                part = mask[..., q : q + rows, k:end]
                scores = mx.where(part, scores, -mx.inf) if mask.dtype == mx.bool_ else scores + part
            carried = take_up(carried, scores, values[..., k:end, :])
        out.append(result(carried).astype(queries.dtype))
        mx.eval(out[-1])
    return mx.concatenate(out, axis=-2).reshape(B, H, L, D)
