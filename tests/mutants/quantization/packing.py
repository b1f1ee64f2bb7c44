"""Wrong and right ways to pack and unpack."""

import mlx.core as mx
import numpy as np

from course_lib.techniques import quantization as reference

from .. import mutant, rival

PACK, UNPACK = "quantization.pack", "quantization.unpack"


def _checked(q, bits):
    if q.shape[-1] * bits % 32:
        raise ValueError("no whole words")


def _by_shifts(q, bits, places):
    """What everyone writes first: shift and add up within a word."""
    per_word = 32 // bits
    words = q.reshape(*q.shape[:-1], -1, per_word).astype(mx.uint32)
    return (words << mx.array(places, dtype=mx.uint32)).sum(axis=-1).astype(mx.uint32)


@mutant(PACK, "high_first")
def pack_high_first(q, bits):
    _checked(q, bits)
    if 32 % bits:
        return reference.pack(q, bits)
    return _by_shifts(q, bits, [32 - bits * (i + 1) for i in range(32 // bits)])


@mutant(PACK, "pairs_swapped")
def pack_pairs_swapped(q, bits):
    pairs = q.reshape(*q.shape[:-1], -1, 2)
    return reference.pack(mx.stack([pairs[..., 1], pairs[..., 0]], axis=-1).reshape(q.shape), bits)


@mutant(PACK, "word_a_weight")
def pack_nothing(q, bits):
    return q.astype(mx.uint32)


@mutant(PACK, "straddle")
def pack_without_straddling(q, bits):
    _checked(q, bits)
    per_word = 32 // bits
    missing = -q.shape[-1] % per_word
    padded = mx.concatenate([q, mx.zeros((*q.shape[:-1], missing), q.dtype)], axis=-1)
    return _by_shifts(padded, bits, [bits * i for i in range(per_word)])[..., : q.shape[-1] * bits // 32]


@mutant(PACK, "straddle")
def pack_only_whole(q, bits):
    _checked(q, bits)
    return _by_shifts(q, bits, [bits * i for i in range(32 // bits)])


@mutant(PACK, "no_error")
def pack_pads(q, bits):
    missing = -q.shape[-1] % 32
    return reference.pack(mx.concatenate([q, mx.zeros((*q.shape[:-1], missing), q.dtype)], axis=-1), bits)[
        ..., : -(-q.shape[-1] * bits // 32)
    ]


@mutant(PACK, None)
def pack_signed(q, bits):
    return reference.pack(q, bits).astype(mx.int32)


@mutant(PACK, None)
def pack_bytes(q, bits):
    return reference.pack(q, bits).view(mx.uint8)


@rival(PACK)
def pack_with_big_integers(q, bits):
    _checked(q, bits)
    rows = np.array(q).reshape(-1, q.shape[-1])
    words = [
        np.frombuffer(sum(int(v) << (k * bits) for k, v in enumerate(row)).to_bytes(len(row) * bits // 8, "little"), "<u4")
        for row in rows
    ]
    return mx.array(np.stack(words).reshape(*q.shape[:-1], -1))


@rival(PACK)
def pack_two_words_at_a_time(q, bits):
    _checked(q, bits)
    K = q.shape[-1]
    out = np.zeros((*q.shape[:-1], K * bits // 32 + 1), np.uint64)
    for k, column in enumerate(np.moveaxis(np.array(q).astype(np.uint64), -1, 0)):
        word, place = divmod(k * bits, 32)
        shifted = column << np.uint64(place)
        out[..., word] |= shifted & np.uint64(0xFFFFFFFF)
        out[..., word + 1] |= shifted >> np.uint64(32)
    return mx.array(out[..., :-1].astype(np.uint32))


def _unpack_by_shifts(words, places, mask):
    return ((words[..., None] >> mx.array(places, dtype=mx.uint32)) & mask).reshape(*words.shape[:-1], -1)


def _whole(right_elsewhere):
    """A wrong way for bits that divide 32; right for the others."""

    def answer(words, bits):
        return reference.unpack(words, bits) if 32 % bits else right_elsewhere(words, bits)

    return answer


@mutant(UNPACK, "high_first")
@_whole
def unpack_high_first(words, bits):
    return _unpack_by_shifts(words, [32 - bits * (i + 1) for i in range(32 // bits)], 2**bits - 1)


@mutant(UNPACK, "pairs_swapped")
@_whole
def unpack_pairs_swapped(words, bits):
    q = reference.unpack(words, bits)
    pairs = q.reshape(*q.shape[:-1], -1, 2)
    return mx.stack([pairs[..., 1], pairs[..., 0]], axis=-1).reshape(q.shape)


@mutant(UNPACK, "not_masked")
@_whole
def unpack_without_mask(words, bits):
    return _unpack_by_shifts(words, [bits * i for i in range(32 // bits)], 0xFFFFFFFF)


@mutant(UNPACK, "grouped")
@_whole
def unpack_by_place(words, bits):
    return mx.concatenate([(words >> (bits * i)) & (2**bits - 1) for i in range(32 // bits)], axis=-1)


@mutant(UNPACK, "straddle")
def unpack_only_whole(words, bits):
    return _unpack_by_shifts(words, [bits * i for i in range(32 // bits)], 2**bits - 1)


@mutant(UNPACK, None)
def unpack_floats(words, bits):
    return reference.unpack(words, bits).astype(mx.float32)


@rival(UNPACK)
def unpack_with_shifts_of_pairs(words, bits):
    K = words.shape[-1] * 32 // bits
    wide = np.concatenate([np.array(words).astype(np.uint64), np.zeros((*words.shape[:-1], 1), np.uint64)], axis=-1)
    at = np.arange(K) * bits
    both = wide[..., at // 32] | (wide[..., at // 32 + 1] << np.uint64(32))
    return mx.array(((both >> (at % 32).astype(np.uint64)) & np.uint64(2**bits - 1)).astype(np.int32))
