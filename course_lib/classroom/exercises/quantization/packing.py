"""Packing integers of a few bits into words, and back."""

import mlx.core as mx
import numpy as np

from ....techniques import quantization
from ...exercise import Exercise

NAMES = {"mx": mx, "np": np}
BITS = (2, 3, 4, 6, 8)


def packed_by_definition(q, bits: int, order=lambda row: row) -> mx.array:
    """The words, by Python's integers of any size: integer k times 2^(k bits), all added up."""
    q = np.array(q)
    rows = q.reshape(-1, q.shape[-1]).tolist()
    count = q.shape[-1] * bits // 32
    words = []
    for row in rows:
        whole = sum(value << (k * bits) for k, value in enumerate(order(row)))
        words.append([(whole >> (32 * i)) & 0xFFFFFFFF for i in range(count)])
    return mx.array(np.array(words, np.uint32).reshape(*q.shape[:-1], count))


def integers(t, *shape: int, bits: int) -> mx.array:
    return t.watch("q", mx.array(t.rng.integers(0, 2**bits, shape).astype(np.uint8)))


def reversed_in_words(bits):
    """The first integer of each word in its highest bits."""
    size = 32 // bits if 32 % bits == 0 else 1
    return lambda row: [v for i in range(0, len(row), size) for v in reversed(row[i : i + size])]


def pairs_swapped(row):
    return [v for i in range(0, len(row), 2) for v in reversed(row[i : i + 2])]


pack = Exercise(
    "quantization.pack",
    "Integers of a few bits, packed into words",
    name="pack",
    reference=quantization.pack,
    names=NAMES,
    mistakes={
        "high_first": "The first integer sits in the highest bits of its word. It belongs into the lowest: integer k at bit k * bits.",
        "pairs_swapped": "Neighbours have changed places, as if the first of each pair went into the upper half of its byte. The first goes into the lower.",
        "word_a_weight": "One word for each integer: nothing is packed. K integers of `bits` bits fill K * bits / 32 words.",
        "straddle": (
            "Integers that begin in one word and end in the next are not right: with 3 or 6 bits a word holds no whole "
            "number of them. Think of the row as one long string of bits."
        ),
        "no_error": "Integers that fill no whole number of words are an error: raise ValueError where K * bits is not a multiple of 32.",
    },
)


def _same_kind(wanted):
    """Only the values can be wrong."""
    return lambda y: isinstance(y, mx.array) and (y.shape, y.dtype) == (wanted.shape, wanted.dtype)


def pack_mistakes(q, bits):
    return {
        "high_first": packed_by_definition(q, bits, reversed_in_words(bits)),
        "pairs_swapped": packed_by_definition(q, bits, pairs_swapped),
        "word_a_weight": q.astype(mx.uint32),
    }


@pack.case("eight integers of 4 bits make one word")
def _(answer, t):
    q = t.watch("q", mx.array([[1, 2, 3, 4, 5, 6, 7, 8]], dtype=mx.uint8))
    t.close("pack([[1, 2, 3, 4, 5, 6, 7, 8]], bits=4)", answer(q, 4), mx.array([[0x87654321]], dtype=mx.uint32), mistakes=pack_mistakes(q, 4))


@pack.case("2, 4 and 8 bits: words hold a whole number of integers")
def _(answer, t):
    for bits in (2, 4, 8):
        q = integers(t, 3, 64, bits=bits)
        t.close(f"pack(q, bits={bits})", answer(q, bits), packed_by_definition(q, bits), mistakes=pack_mistakes(q, bits))


@pack.case("3 and 6 bits: some integers lie across two words", errors={"straddle": r".*"})
def _(answer, t):
    for bits in (3, 6):
        q = integers(t, 3, 96, bits=bits)
        wanted = packed_by_definition(q, bits)
        t.close(f"pack(q, bits={bits})", answer(q, bits), wanted, mistakes={**pack_mistakes(q, bits), "straddle": _same_kind(wanted)})


@pack.case("it is the format of mx.quantize")
def _(answer, t):
    for bits in BITS:
        q = integers(t, 2, 128, bits=bits)
        ones, zeros = mx.ones((2, 4)), mx.zeros((2, 4))
        t.close(
            f"mx.dequantize(pack(q, bits={bits}), scales=1, biases=0)",
            mx.dequantize(answer(q, bits), ones, zeros, group_size=32, bits=bits),
            q.astype(mx.float32),
        )


@pack.case("leading dimensions stay as they are")
def _(answer, t):
    q = integers(t, 2, 3, 4, 32, bits=4)
    t.close("pack(q, bits=4), q [2, 3, 4, 32]", answer(q, 4), packed_by_definition(q, 4))


@pack.case("what fills no whole words is an error")
def _(answer, t):
    t.raises(ValueError, lambda: answer(integers(t, 2, 12, bits=4), 4), "pack of 12 integers of 4 bits", mistake="no_error")


unpack = Exercise(
    "quantization.unpack",
    "The integers in packed words",
    name="unpack",
    reference=quantization.unpack,
    names=NAMES,
    mistakes={
        "high_first": "You begin with the highest bits of each word. Integer 0 is in the lowest.",
        "pairs_swapped": "Neighbours have changed places: the first of two 4-bit integers is in the lower half of its byte.",
        "not_masked": "After the shift the integers above are still there. Mask them away: `& (2**bits - 1)`.",
        "grouped": "The integers come out sorted by their place in the word: all first ones, then all second ones. The words' order comes first.",
        "straddle": "Integers that begin in one word and end in the next are not right: with 3 or 6 bits look at the row as one long string of bits.",
    },
)


def unpack_mistakes(q, words, bits):
    values = np.array(q)
    if 32 % bits:
        return {"straddle": lambda y: isinstance(y, mx.array) and mx.issubdtype(y.dtype, mx.integer)}
    per_word = 32 // bits
    by_word = values.reshape(*values.shape[:-1], -1, per_word)
    shifted = np.array(words)[..., None] >> (np.arange(per_word) * bits).astype(np.uint32)
    pairs = values.reshape(*values.shape[:-1], -1, 2)[..., ::-1].reshape(values.shape)
    found = {
        "high_first": mx.array(np.ascontiguousarray(by_word[..., ::-1]).reshape(values.shape)),
        "pairs_swapped": mx.array(np.ascontiguousarray(pairs)),
        "not_masked": lambda y: isinstance(y, mx.array) and np.array_equal(
            np.array(y).astype(np.uint64) & 0xFF, shifted.reshape(values.shape).astype(np.uint64) & 0xFF
        ),
        "grouped": mx.array(np.ascontiguousarray(by_word.swapaxes(-1, -2)).reshape(values.shape)),
    }  # fmt: skip
    # In a single word some of them do no harm.
    return {name: v for name, v in found.items() if callable(v) or not mx.array_equal(v, q).item()}


def check_unpack(answer, t, *shape, bits):
    q = integers(t, *shape, bits=bits)
    words = t.watch("words", packed_by_definition(q, bits))
    given = answer(words, bits)
    if isinstance(given, mx.array) and mx.issubdtype(given.dtype, mx.integer):
        negative = bool((given < 0).any().item())
        same_bits = given.astype(mx.uint8) if not negative and given.size and given.max().item() < 256 else given
        given = same_bits  # any integer dtype will do
    t.close(f"unpack(words, bits={bits})", given, q, mistakes=unpack_mistakes(q, words, bits))


@unpack.case("one word is eight integers of 4 bits")
def _(answer, t):
    check_unpack(answer, t, 1, 8, bits=4)


@unpack.case("2, 4 and 8 bits: words hold a whole number of integers")
def _(answer, t):
    for bits in (2, 4, 8):
        check_unpack(answer, t, 3, 64, bits=bits)


@unpack.case("3 and 6 bits: some integers lie across two words", errors={"straddle": r".*"})
def _(answer, t):
    for bits in (3, 6):
        check_unpack(answer, t, 3, 96, bits=bits)


@unpack.case("what mx.quantize has packed")
def _(answer, t):
    for bits in BITS:
        w = t.normal("w", 4, 64)
        words, scales, biases = mx.quantize(w, group_size=32, bits=bits)
        q = answer(words, bits).astype(mx.float32).reshape(4, 2, 32)
        weights = (q * scales[..., None] + biases[..., None]).reshape(4, 64)
        t.close(f"scales * unpack(words, bits={bits}) + biases", weights, mx.dequantize(words, scales, biases, group_size=32, bits=bits))


@unpack.case("leading dimensions stay as they are")
def _(answer, t):
    check_unpack(answer, t, 2, 3, 4, 32, bits=4)
