"""The rungs of attention in Metal, in the emulator, against MLX's own attention in float32."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels.closeness import EPSILON, float64, same_bits

from course_lib.kernels.metal_attention import FEATURES, RUNGS, MetalAttention, span_count
from course_lib.techniques.attention_traffic import largest_block, moved_bytes
from course_lib.kernels import scaled_dot_product_attention

DTYPES = [mx.float32, mx.float16, mx.bfloat16]
HALF_UNIT = {mx.float32: 2.0**-24, mx.float16: 2.0**-11, mx.bfloat16: 2.0**-8}  # of rounding a result
SMALLEST = {mx.float32: 1e-30, mx.float16: 2.0**-24, mx.bfloat16: 1e-30}  # what lies below it is rounded away


def normal(seed, *shape, dtype=mx.float32):
    return mx.array(np.random.default_rng(seed).standard_normal(shape).astype(np.float32)).astype(dtype)


def inputs(seed, B, H, H_kv, L, S, D, dtype=mx.float32):
    return normal(seed, B, H, L, D, dtype=dtype), *(normal(seed + i, B, H_kv, S, D, dtype=dtype) for i in (1, 2))


def oracle(q, k, v, scale, mask):
    """MLX's attention in float32, and of the magnitudes of the values."""
    q, k, v = (a.astype(mx.float32) for a in (q, k, v))
    attend = mx.fast.scaled_dot_product_attention
    return float64(attend(q, k, v, scale=scale, mask=mask)), float64(attend(q, k, mx.abs(v), scale=scale, mask=mask))


def assert_right(out, q, k, v, scale, mask, times=40):
    """Summed in float32, `times` of its units, then rounded once to the dtype."""
    want, size = oracle(q, k, v, scale, mask)
    assert out.shape == q.shape and out.dtype == q.dtype
    tolerance = HALF_UNIT[q.dtype] * np.abs(want) + times * EPSILON * size + SMALLEST[q.dtype]
    off = np.abs(float64(out) - want) / tolerance
    assert (off <= 1).all(), f"{np.nanmax(off):.3g} times the tolerance at {np.unravel_index(np.argmax(off), off.shape)}"


def checked(rung, q, k, v, mask=None, scale=None, **options):
    """The result of a run in which the sanitizer found nothing."""
    seen = MetalAttention(rung, **options).inspect(q, k, v, scale=scale or q.shape[3] ** -0.5, mask=mask)
    assert [str(finding) for launch in seen for finding in launch.findings] == []
    return seen[-1].outputs[0]


@pytest.mark.parametrize("rung", RUNGS)
@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 2**31),
    st.integers(1, 2),
    st.integers(1, 2),
    st.sampled_from([1, 3, 4]),
    st.integers(1, 70),
    st.integers(0, 50),
    st.sampled_from([(64, mx.float32), (96, mx.float32), (128, mx.float32), (64, mx.float16), (64, mx.bfloat16)]),
    st.sampled_from([None, "causal"]),
)
def test_equals_mlx_and_is_clean(rung, seed, B, H_kv, G, L, more, kind, mask):
    D, dtype = kind
    L = min(L, 200 // (B * H_kv * G))
    q, k, v = inputs(seed, B, H_kv * G, H_kv, L, L + more, D, dtype)
    assert_right(checked(rung, q, k, v, mask), q, k, v, D**-0.5, mask)


@pytest.mark.parametrize("rung", RUNGS)
def test_more_queries_than_keys_without_a_mask(rung):
    q, k, v = inputs(3, 1, 2, 1, 21, 5, 64)
    assert_right(checked(rung, q, k, v), q, k, v, 0.125, None)


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_metals_compiler_would_take_it(rung, dtype):
    for D in (64, 128):
        q, k, v = inputs(0, 1, 1, 1, 2, 3, D, dtype)
        MetalAttention(rung)(q, k, v, scale=0.125, mask="causal", strict=True)


@pytest.mark.parametrize("rung", [rung for rung in RUNGS if 80 % FEATURES[rung] == 0])
def test_a_head_size_of_80(rung):
    q, k, v = inputs(1, 1, 2, 1, 9, 40, 80, mx.float16)
    assert_right(checked(rung, q, k, v, "causal"), q, k, v, 80**-0.5, "causal")


@pytest.mark.parametrize("rung", RUNGS)
def test_agrees_with_the_kernel_in_cpp(rung):
    q, k, v = inputs(2, 1, 6, 2, 45, 130, 64)
    ours = MetalAttention(rung)(q, k, v, scale=0.125, mask="causal")
    theirs = scaled_dot_product_attention(q, k, v, scale=0.125, mask="causal")
    _, size = oracle(q, k, v, 0.125, "causal")
    assert (np.abs(float64(ours) - float64(theirs)) <= 80 * EPSILON * size).all()


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("dtype", [mx.float32, mx.float16])
def test_scores_of_ten_thousand_do_not_overflow(rung, dtype):
    q, k, v = inputs(4, 1, 2, 1, 5, 90, 64, dtype)
    q = mx.sign(q)
    for sign in (1, -1):
        k = (sign * 1e4 * mx.sign(k) / 8).astype(dtype)
        out = checked(rung, q, k, v)
        want, size = oracle(q, k, v, 0.125, None)
        assert (np.abs(float64(out) - want) <= 1e-3 * size.max()).all()


@pytest.mark.parametrize("rung", RUNGS)
def test_scores_that_rise_and_fall_along_the_keys(rung):
    q, k, v = inputs(5, 1, 1, 1, 9, 200, 64)
    along = mx.linspace(-12, 12, 200)[:, None] * mx.ones(64) / 8
    for keys in (along, -along):
        keys = keys[None, None] + 0.1 * k
        assert_right(checked(rung, mx.abs(q), keys, v), mx.abs(q), keys, v, 0.125, None)


@pytest.mark.parametrize("rung", RUNGS)
def test_views_are_read_as_what_they_are(rung):
    q, k, v = inputs(6, 2, 4, 2, 9, 40, 64)
    want = MetalAttention(rung)(q, k, v, scale=0.2, mask="causal")
    as_stored_by_tokens = [mx.contiguous(a.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3) for a in (q, k, v)]
    assert same_bits(MetalAttention(rung)(*as_stored_by_tokens, scale=0.2, mask="causal"), want)
    room = [mx.concatenate([a, normal(9, 2, 2, 24, 64)], axis=2)[:, :, :40] for a in (k, v)]  # of a cache
    assert same_bits(MetalAttention(rung)(q, *room, scale=0.2, mask="causal"), want)


@pytest.mark.parametrize("rung", RUNGS)
def test_the_order_of_the_threads_does_not_matter(rung):
    q, k, v = inputs(7, 1, 2, 1, 40, 70, 64, mx.float16)
    runs = [MetalAttention(rung)(q, k, v, scale=0.125, mask="causal", order=order, seed=3) for order in ("forward", "reverse", "shuffle")]
    assert same_bits(runs[0], runs[1]) and same_bits(runs[0], runs[2])


@pytest.mark.parametrize(("rung", "queries"), [("tiles", n) for n in (4, 8, 16, 32)] + [("matrices", n) for n in (8, 16, 32)])
def test_keys_and_values_are_read_once_for_a_block_of_queries(rung, queries):
    L, S, D = 70, 96, 64
    q, k, v = inputs(8, 1, 2, 1, L, S, D)
    (seen,) = MetalAttention(rung, queries=queries).inspect(q, k, v, scale=0.125)
    assert seen.findings == []
    assert_right(seen.outputs[0], q, k, v, 0.125, None)
    blocks = 2 * -(-L // queries)
    moved = seen.traffic.buffers
    assert moved["k"].bytes_read == moved["v"].bytes_read == blocks * S * D * 4
    assert moved["q"].bytes_read == moved["out"].bytes_written == 2 * L * D * 4


def test_without_tiles_they_are_read_once_for_each_query():
    L, S, D = 7, 40, 64
    q, k, v = inputs(8, 1, 2, 1, L, S, D)
    (slow,) = MetalAttention("one_thread").inspect(q, k, v, scale=0.125)
    (fast,) = MetalAttention("simd_group").inspect(q, k, v, scale=0.125)
    assert slow.traffic.buffers["k"].bytes_read == 2 * (2 * L * S * D * 4)  # twice: no place for the scores
    assert fast.traffic.buffers["k"].bytes_read == fast.traffic.buffers["v"].bytes_read == 2 * L * S * D * 4
    assert fast.traffic.coalescing == 1 > slow.traffic.coalescing


def test_a_causal_mask_halves_what_tiles_read():
    q, k, v = inputs(8, 1, 1, 1, 128, 128, 64)
    read = [
        MetalAttention("tiles").inspect(q, k, v, scale=0.125, mask=mask)[0].traffic.buffers["k"].bytes_read
        for mask in (None, "causal")
    ]
    # 8 blocks of 16 queries and 4 tiles of 32 keys: 32 visits, and 2 (1 + 2 + 3 + 4).
    assert read[1] * 32 == read[0] * 20


@pytest.mark.parametrize(("L", "S", "queries", "causal"), [(70, 96, 16, False), (45, 75, 8, True), (1, 100, 16, True), (90, 90, 32, True)])
@pytest.mark.parametrize("dtype", [mx.float32, mx.float16])
def test_what_tiles_move_is_what_is_computed(L, S, queries, causal, dtype):
    q, k, v = inputs(8, 1, 1, 1, L, S, 64, dtype)
    mask = "causal" if causal else None
    for rung in ("tiles", "matrices"):
        (seen,) = MetalAttention(rung, queries=queries).inspect(q, k, v, scale=0.125, mask=mask)
        assert seen.traffic.device_bytes == moved_bytes(L, S, 64, queries, itemsize=dtype.size, causal=causal)


@pytest.mark.parametrize(("D", "dtype"), [(64, mx.float32), (128, mx.float32), (128, mx.float16)])
def test_the_largest_block_fits_threadgroup_memory_and_the_next_does_not(D, dtype):
    q, k, v = inputs(8, 1, 1, 1, 4, 32, D, dtype)
    most = largest_block(D, dtype.size)
    found = [
        [f.kind for f in MetalAttention("tiles", queries=n).inspect(q, k, v, scale=0.1)[0].findings] for n in (most, most + 4)
    ]
    assert found == [[], ["threadgroup_memory"]]


def test_keys_are_split_into_spans():
    q, k, v = inputs(9, 1, 1, 1, 1, 2000, 64)
    seen = MetalAttention("split_keys").inspect(q, k, v, scale=0.125)
    assert seen[0].outputs[0].shape == (1, 1, 1, span_count(2000), 66) and span_count(2000) == 32
    assert_right(seen[1].outputs[0], q, k, v, 0.125, None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dtype": mx.int32}, "float32, float16, bfloat16"),
        ({"D": 80}, "multiples of 32"),
        ({"H_kv": 2}, "a multiple of 2 key/value heads"),
        ({"L": 9}, "L <= S"),
        ({"S": 0}, "at least one"),
        ({"mask": "band"}, "'causal' or None"),
        ({"mask": mx.zeros((1, 4))}, "'causal' or None"),
    ],
)
def test_what_does_not_fit_is_refused(change, words):
    sizes = {"L": 1, "S": 4, "D": 64, "H_kv": 1, "dtype": mx.float32, "mask": "causal"} | change
    q = mx.zeros((1, 3, sizes["L"], sizes["D"]), sizes["dtype"])
    k = mx.zeros((1, sizes["H_kv"], sizes["S"], sizes["D"]), sizes["dtype"])
    with pytest.raises(ValueError, match=words.replace(".", r"\.")):
        MetalAttention("simd_group")(q, k, k, scale=1.0, mask=sizes["mask"])
