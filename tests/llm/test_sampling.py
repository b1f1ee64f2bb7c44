"""Sampling draws from the distribution it names, and each sampler from its own stream."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib.llm import Sampler, SamplingParams
from course_lib.llm.sampling import _at, sampling_logits, sampling_weights

PROBABILITIES = np.array([0.05, 0.4, 0.15, 0.3, 0.1])
LOGITS = mx.array(np.log(PROBABILITIES).astype(np.float32))


def kept(**options) -> set[int]:
    """Which of five tokens can still be drawn."""
    params = SamplingParams(**({"temperature": 1.0} | options))
    return set(np.flatnonzero(np.isfinite(np.array(sampling_logits(LOGITS, params)))))


def test_greedy_takes_the_most_probable():
    logits = mx.array([[0.0, 3.0, 1.0], [5.0, -1.0, 2.0]])
    assert Sampler(SamplingParams())(logits).tolist() == [1, 0]


def test_greedy_takes_the_first_of_equals():
    assert Sampler(SamplingParams())(mx.array([1.0, 2.0, 2.0])).item() == 1


@pytest.mark.parametrize(
    ("top_p", "tokens"),
    [(0.1, {1}), (0.4, {1}), (0.41, {1, 3}), (0.69, {1, 3}), (0.75, {1, 2, 3}), (1.0, {0, 1, 2, 3, 4})],
)
def test_top_p_keeps_the_fewest_tokens_that_hold_the_share(top_p, tokens):
    assert kept(top_p=top_p) == tokens


@pytest.mark.parametrize(
    ("min_p", "tokens"), [(0.0, {0, 1, 2, 3, 4}), (0.2, {1, 2, 3, 4}), (0.5, {1, 3}), (1.0, {1})]
)
def test_min_p_keeps_what_is_probable_enough_beside_the_most_probable(min_p, tokens):
    assert kept(min_p=min_p) == tokens


def test_top_p_stops_where_the_share_is_just_reached():
    logits = mx.array([2.0, 1.0, 1.0]) * float(np.log(2))  # a half and two quarters
    filtered = sampling_logits(logits, SamplingParams(temperature=1.0, top_p=0.5))
    assert mx.isinf(filtered).tolist() == [False, True, True]


def test_both_filters_hold():
    assert kept(top_p=0.8, min_p=0.5) == {1, 3}


def test_filters_see_the_distribution_that_is_sampled():
    assert kept(top_p=0.75, temperature=0.1) == {1}
    assert kept(min_p=0.5, temperature=100.0) == {0, 1, 2, 3, 4}


@given(
    logits=st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=20),
    temperature=st.floats(5e-324, 100),
    top_p=st.floats(1e-6, 1),
    min_p=st.floats(0, 1),
)
def test_the_most_probable_token_can_always_be_drawn(logits, temperature, top_p, min_p):
    filtered = np.array(sampling_logits(mx.array(logits), SamplingParams(temperature, top_p, min_p)))
    assert not np.isnan(filtered).any()
    assert filtered[int(np.argmax(np.array(logits, dtype=np.float32)))] == 0


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_distribution(temperature):
    sampler = Sampler(SamplingParams(temperature=temperature, seed=1))
    drawn = np.array(sampler(mx.broadcast_to(LOGITS, (20_000, 5))))
    wanted = PROBABILITIES ** (1 / temperature)
    wanted /= wanted.sum()
    assert np.bincount(drawn, minlength=5) / 20_000 == pytest.approx(wanted, abs=0.015)


@given(
    logits=st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=20),
    temperature=st.floats(5e-324, 100),
    top_p=st.floats(1e-6, 1),
    min_p=st.floats(0, 1),
)
def test_weights_are_those_of_the_logits(logits, temperature, top_p, min_p):
    """Up to rounding: a token whose share is just at the edge of a filter may be on either side."""
    params = SamplingParams(temperature, top_p, min_p)
    logits = np.array(logits, np.float32)
    weights = sampling_weights(logits, params)
    wanted = np.exp(np.array(sampling_logits(mx.array(logits), params)))
    assert weights.max() == 1 and (weights >= 0).all()
    both = (weights > 0) & (wanted > 0)
    np.testing.assert_allclose(weights[both], wanted[both], rtol=1e-4)
    unfiltered = np.exp((logits - logits.max()).astype(np.float64) / max(temperature, 1e-6))
    order = np.argsort(-unfiltered, kind="stable")
    before = np.empty(len(logits))
    before[order] = (np.cumsum(unfiltered[order]) - unfiltered[order]) / unfiltered.sum()
    for differs in np.flatnonzero(((weights > 0) != (wanted > 0)) & (unfiltered > 1e-30)):
        ties = np.isclose(unfiltered, unfiltered[differs], rtol=1e-4)
        at_edge = np.isclose(before[ties], top_p, rtol=1e-4, atol=1e-6).any()
        # Of equals, rounding decides which come first: some are in and some are out.
        at_edge |= before[ties].min() < top_p < before[ties].max()
        assert at_edge or np.isclose(unfiltered[differs], min_p, rtol=1e-3, atol=1e-30)


@pytest.mark.parametrize("spread", [0.01, 1.0, 5.0])
@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.99])
def test_the_nucleus_of_a_vocabulary_is_that_of_sorting_it(spread, top_p):
    logits = np.random.default_rng(0).normal(0, spread, 5000).astype(np.float32)
    kept_tokens = np.flatnonzero(sampling_weights(logits, SamplingParams(temperature=1.0, top_p=top_p)))
    order = np.argsort(-logits)
    probabilities = np.exp(logits[order].astype(np.float64))
    wanted = np.searchsorted(np.cumsum(probabilities) / probabilities.sum(), top_p) + 1
    assert abs(len(kept_tokens) - wanted) <= 1 + wanted * 1e-4
    assert set(kept_tokens) == set(order[: len(kept_tokens)])


@pytest.mark.parametrize("options", [{}, {"top_p": 0.9}, {"min_p": 0.05}])
def test_draws_from_a_vocabulary_follow_its_distribution(options):
    """More tokens than a block, a whole block of them without a chance: shares of groups of tokens."""
    random = np.random.default_rng(1)
    logits = random.normal(0, 2, 1000).astype(np.float32)
    logits[256:512] = -np.inf
    params = SamplingParams(temperature=1.0, seed=3, **options)
    drawn = np.array(Sampler(params)(mx.broadcast_to(mx.array(logits), (20_000, 1000))))
    weights = np.exp(np.array(sampling_logits(mx.array(logits), params), np.float64))
    assert (weights[drawn] > 0).all()
    groups = random.permutation(1000).reshape(10, 100)
    wanted = weights[groups].sum(axis=1) / weights.sum()
    assert np.bincount(drawn, minlength=1000)[groups].sum(axis=1) / 20_000 == pytest.approx(wanted, abs=0.015)


def test_the_last_token_that_has_a_chance_is_the_last_drawn():
    logits = mx.array(np.where(np.arange(600) < 300, 0.0, -np.inf).astype(np.float32))
    for point in (0.0, 0.5, 1 - 2**-24, np.nextafter(1, 0)):
        assert _at(sampling_weights(np.array(logits), SamplingParams(temperature=1.0)), point) == int(point * 300)


def test_a_block_without_a_chance_is_passed_over():
    weights = np.where(np.arange(600) < 300, 0, 1).astype(np.float32)
    assert _at(weights, 0.0) == 300


def draws(sampler: Sampler, count: int = 30) -> list[int]:
    return [sampler(LOGITS).item() for _ in range(count)]


def test_a_sampler_draws_from_its_own_stream_whoever_else_draws():
    alone = draws(Sampler(SamplingParams(temperature=1.0, seed=5)))
    sampler, other = (Sampler(SamplingParams(temperature=1.0, seed=seed)) for seed in (5, 6))
    beside = []
    for _ in range(30):
        mx.random.normal((3,))
        draws(other, 2)
        beside.append(sampler(LOGITS).item())
    assert alone == beside
    assert len(set(alone)) > 1


def test_without_a_seed_two_samplers_differ():
    assert draws(Sampler(SamplingParams(temperature=1.0))) != draws(Sampler(SamplingParams(temperature=1.0)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.1}, "temperature=-0.1; wanted a number, 0 or more"),
        ({"temperature": float("inf")}, "temperature=inf"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"temperature": "hot"}, "temperature='hot'"),
        ({"top_p": 0.0}, "top_p=0.0; wanted a number above 0"),
        ({"top_p": 1.1}, "top_p=1.1"),
        ({"min_p": -0.1}, "min_p=-0.1; wanted a number from 0 to 1"),
        ({"seed": -1}, "seed=-1; wanted an integer"),
        ({"seed": 1.5}, "seed=1.5"),
    ],
)
def test_refuses_values_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        SamplingParams(**options)


def test_refuses_unknown_options_by_name():
    with pytest.raises(ValueError, match="'top_k'; there are temperature, top_p, min_p, seed"):
        SamplingParams.from_options({"top_k": 3})
