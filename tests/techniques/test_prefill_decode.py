"""Generation with a cache says what recomputation says, and goes on from a rewound cache."""

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.llm.config import ModelConfig
from course_lib.llm.model import Model
from course_lib.llm.parts import Parts
from course_lib.llm.random_weights import random_weights
from course_lib.techniques.first_steps import greedy_generate
from course_lib.techniques.kv_cache import ConcatKVCache, KVCache
from course_lib.techniques.prefill_decode import generate_cached, rewind

CONFIG = ModelConfig(
    model_type="llama", hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    intermediate_size=48, vocab_size=50,
)  # fmt: skip
WEIGHTS = random_weights(CONFIG, bits=None, group_size=32, seed=1, dtype=mx.float32)
NAIVE = Model(CONFIG, WEIGHTS, Parts(cache=None))

prompts = st.lists(st.integers(0, 49), min_size=1, max_size=12)


class Watched:
    """A model that notes how many tokens each pass reads."""

    def __init__(self, cache=KVCache):
        self.model = Model(CONFIG, WEIGHTS, Parts(cache=cache))
        self.make_cache = self.model.make_cache
        self.read = []

    def __call__(self, tokens, cache, positions):
        self.read.append(tokens.shape[1])
        return self.model(tokens, cache, positions)


@settings(max_examples=25, deadline=None)
@given(prompt=prompts, count=st.integers(0, 8), cache=st.sampled_from([KVCache, ConcatKVCache]))
def test_the_text_is_that_of_recomputation(prompt, count, cache):
    assert generate_cached(Watched(cache), prompt, count) == greedy_generate(NAIVE, prompt, count)


def test_the_prompt_is_read_once_and_then_each_token_once():
    model = Watched()
    generate_cached(model, [1, 2, 3, 4, 5, 6, 7], 5)
    assert model.read == [7, 1, 1, 1, 1]


def test_a_stop_token_ends_the_text_and_is_left_out():
    free = greedy_generate(NAIVE, [1, 2, 3], 8)
    stop = free[3]
    assert generate_cached(Watched(), [1, 2, 3], 8, [stop]) == free[: free.index(stop)]


def test_a_given_cache_is_continued():
    model = Watched()
    cache = model.make_cache()
    first = generate_cached(model, [1, 2, 3], 4, cache=cache)
    assert [layer.offset for layer in cache] == [6, 6]  # the last token was never read
    more = generate_cached(model, first[-1:], 4, cache=cache)
    assert first + more == greedy_generate(NAIVE, [1, 2, 3], 8)


@settings(max_examples=40, deadline=None)
@given(
    held=st.lists(st.integers(0, 2), max_size=8), wanted=st.lists(st.integers(0, 2), min_size=1, max_size=8)
)
def test_a_rewound_cache_holds_the_common_beginning(held, wanted):
    model = Watched()
    cache = model.make_cache()
    if held:
        model(mx.array([held]), cache, -1)
    unread = rewind(cache, held, wanted)
    kept = cache[0].offset
    assert {layer.offset for layer in cache} == {kept}
    assert unread and held[:kept] + unread == wanted
    # As much as possible is kept: the next token differs, or is the one that must be read for its logits.
    assert len(unread) == 1 or kept == len(held) or held[kept] != wanted[kept]
    assert generate_cached(model, unread, 3, cache=cache) == greedy_generate(NAIVE, wanted, 3)


def test_an_empty_prompt_is_refused():
    with pytest.raises(ValueError, match="empty"):
        rewind(Watched().make_cache(), [1, 2], [])
