"""A left-padded batch says for each row what it says alone; what is computed for nobody is counted."""

import mlx.core as mx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm.tiny import tiny_config, write_checkpoint

from course_lib.llm import load
from course_lib.techniques.static_batching import LeftPaddedCache, generate_static, left_pad, static_waste


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load(write_checkpoint(tmp_path_factory.mktemp("models") / "tiny", tiny_config()))[0]


def alone(model, prompt, count):
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(mx.argmax(model(mx.array([tokens]))[0, -1]).item())
    return tokens[len(prompt) :]


def test_padding_stands_on_the_left_and_is_counted():
    ids, padding = left_pad([[5, 6, 7], [8], (9, 10)], pad_token=2)
    assert ids.tolist() == [[5, 6, 7], [2, 2, 8], [2, 9, 10]]
    assert ids.dtype == mx.int32 and padding == [0, 2, 1]


@pytest.mark.parametrize("prompts", [[], [[1], []]])
def test_nothing_to_pad_is_refused(prompts):
    with pytest.raises(ValueError, match="at least one prompt, and at least one token in each"):
        left_pad(prompts)


def test_each_row_says_what_it_says_alone_whatever_the_padding_is(model):
    prompts = [[5, 6, 7, 8, 9, 10], [77], [130, 4, 4]]
    for pad_token in (0, 77):
        ids, padding = left_pad(prompts, pad_token)
        cache = [LeftPaddedCache(padding) for _ in model.blocks]
        together = model(ids, cache, positions=-1)[:, 0]
        for row, prompt in enumerate(prompts):
            assert mx.allclose(together[row], model(mx.array([prompt]))[0, -1], atol=1e-4)


def test_answers_of_different_lengths(model):
    prompts, lengths = [[5, 6, 7, 8, 9, 10], [77], [130, 4, 4]], [3, 9, 1]
    answers = generate_static(model, prompts, lengths)
    assert answers == [alone(model, prompt, n) for prompt, n in zip(prompts, lengths, strict=True)]


def test_a_stop_token_ends_a_row_and_not_the_others(model):
    prompts = [[5, 6, 7], [77, 4]]
    first, second = (alone(model, prompt, 8) for prompt in prompts)
    stop = next(token for token in first if token not in second)
    answers = generate_static(model, prompts, [8, 8], stop_tokens={stop})
    assert answers == [first[: first.index(stop)], second]


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=12), st.integers(1, 14)
)
def test_waste_adds_up_to_what_is_computed(lengths, size):
    prompts, answers = zip(*lengths, strict=True)
    useful, padding, waiting = static_waste(prompts, answers, size)
    assert useful == sum(prompts) + sum(answers) - len(lengths)
    passes = 0
    for start in range(0, len(lengths), size):
        batch = lengths[start : start + size]
        passes += len(batch) * (max(p for p, _ in batch) + max(a for _, a in batch) - 1)
    assert useful + padding + waiting == passes
    assert static_waste(prompts, answers, 1) == (useful, 0, 0)


@pytest.mark.parametrize("arguments", [([], [], 2), ([3], [3, 4], 2), ([3], [0], 2), ([3], [3], 0)])
def test_impossible_lengths_are_refused(arguments):
    with pytest.raises(ValueError, match="as many answers as prompts"):
        static_waste(*arguments)
