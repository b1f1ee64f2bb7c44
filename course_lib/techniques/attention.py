"""Attention of new tokens to all tokens seen so far, as one softmax over one score matrix.

With a cache there are fewer queries than keys: L new tokens look at S keys, of which the last L are
their own. Everything here follows from that: the causal mask is a rectangle whose last row is all
True, and a single new token needs no mask at all.

Scores take L * S numbers a head, which is what flash attention (notebook 04) does away with.
"""

import mlx.core as mx


def causal_mask(L: int, S: int) -> mx.array:
    """Which keys each of the newest tokens may attend to.

    Args:
        L: queries, the newest tokens.
        S: keys, cached and new; the last L of them belong to the queries.

    Returns:
        Booleans [L, S], True where the query may attend: at keys up to its own.

    Raises:
        ValueError: L < 1 or L > S.
    """
    if not 1 <= L <= S:
        raise ValueError(
            f"{L} queries and {S} keys: the queries are the newest tokens, and each has a key of its own, "
            "so 1 <= L <= S"
        )
    query_position = mx.arange(S - L, S)[:, None]  # [L, 1]
    key_position = mx.arange(S)  # [S]
    return key_position <= query_position


def attention(
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    *,
    scale: float,
    mask: mx.array | str | None,
) -> mx.array:
    """softmax(scale * queries keys^T, masked) values, for each head.

    The convention is that of `mx.fast.scaled_dot_product_attention`, so that it can be a model's
    `attention` part.

    Args:
        queries: [B, H, L, D].
        keys: [B, H_kv, S, D]; query head h reads key/value head h // (H / H_kv).
        values: [B, H_kv, S, D_v].
        scale: multiplies the scores, usually D ** -0.5.
        mask: None, every query attends to every key; "causal", as `causal_mask`; or an array that
            broadcasts to [B, H, L, S], boolean (True: may attend) or floating (added to the scores).
            A query that may attend to nothing gives NaN.

    Returns:
        [B, H, L, D_v], dtype of the queries. The softmax is computed in float32.

    Raises:
        ValueError: shapes that do not fit each other, or an unknown mask.

    Sources: Vaswani et al., https://arxiv.org/abs/1706.03762; grouped-query attention, Ainslie et
    al., https://arxiv.org/abs/2305.13245
    """
    _check(queries, keys, values)
    B, H, L, _ = queries.shape
    H_kv, S, D_v = values.shape[1:]
    G = H // H_kv  # neighbouring query heads that read the same keys and values
    # Not mx.repeat: it would copy the whole cache G times a step.
    grouped = (queries * scale).reshape(B, H_kv, G, L, -1)
    scores = grouped @ keys[:, :, None].swapaxes(-1, -2)  # [B, H_kv, G, L, S]
    scores = scores.reshape(B, H, L, S).astype(mx.float32)
    if isinstance(mask, str):
        if mask != "causal":
            raise ValueError(f"mask={mask!r}; wanted None, 'causal' or an array")
        mask = causal_mask(L, S)
    if mask is not None:
        scores = mx.where(mask, scores, -mx.inf) if mask.dtype == mx.bool_ else scores + mask
    weights = mx.softmax(scores, axis=-1).astype(values.dtype)
    out = weights.reshape(B, H_kv, G, L, S) @ values[:, :, None]  # [B, H_kv, G, L, D_v]
    return out.reshape(B, H, L, D_v).astype(queries.dtype)


def _check(queries: mx.array, keys: mx.array, values: mx.array) -> None:
    shapes = f"queries {list(queries.shape)}, keys {list(keys.shape)}, values {list(values.shape)}"
    if not queries.ndim == keys.ndim == values.ndim == 4:
        raise ValueError(f"{shapes}; wanted [B, H, L, D], [B, H_kv, S, D] and [B, H_kv, S, D_v]")
    if keys.shape[:3] != values.shape[:3] or queries.shape[0] != keys.shape[0]:
        raise ValueError(f"{shapes}; keys and values must agree in B, H_kv and S, and in B with the queries")
    if queries.shape[3] != keys.shape[3]:
        raise ValueError(f"{shapes}; queries and keys must have the same head size D")
    if queries.shape[1] % keys.shape[1]:
        raise ValueError(
            f"{queries.shape[1]} query heads cannot share {keys.shape[1]} key/value heads evenly; "
            "H must be a multiple of H_kv"
        )
