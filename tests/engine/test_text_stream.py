"""Text comes as soon as it is certain, whole, and ends before a stop string."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlx_lm.tokenizer_utils import BPEStreamingDetokenizer, NaiveStreamingDetokenizer, SPMStreamingDetokenizer

from course_lib.engine.text_stream import TextStream


class ByCharacter:
    """A detokenizer whose tokens are characters; `last_segment` may be read once, as mlx-lm's."""

    def __init__(self):
        self.text, self._read = "", 0

    @property
    def detokenizer(self):
        return ByCharacter()

    def encode(self, text, add_special_tokens):
        return [*text]

    def add_token(self, token):
        self.text += token

    def finalize(self):
        pass

    @property
    def last_segment(self):
        new, self._read = self.text[self._read :], len(self.text)
        return new


def streamed(text, stop=()):
    stream, pieces = TextStream(ByCharacter(), stop), []
    for character in text:
        pieces.append(stream.add(character))
        if stream.stopped:
            break
    return stream, [*pieces, stream.finish()]


def test_without_stop_strings_everything_comes_at_once():
    stream, pieces = streamed("hello")
    assert pieces == [*"hello", ""] and stream.text == "hello" and not stream.stopped


def test_what_may_begin_a_stop_string_is_held_back_until_it_is_none():
    stream, pieces = streamed("a\n\nUser", stop=["\nUser:"])
    assert pieces == ["a", "", "\n", "", "", "", "", "\nUser"]
    assert stream.text == "a\n\nUser" and not stream.stopped


def test_the_stop_string_and_what_follows_are_left_out():
    stream, pieces = streamed("one END two", stop=["END", "never"])
    assert "".join(pieces) == stream.text == "one "
    assert stream.stopped


@given(st.text("abc", max_size=30), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3))
def test_the_text_is_cut_at_the_first_stop_string_to_be_complete(text, stop):
    stream, pieces = streamed(text, stop)
    assert "".join(pieces) == stream.text
    ends = [text.find(s) + len(s) for s in stop if s in text]
    if not ends:
        assert stream.text == text and not stream.stopped
        return
    # Characters come one by one: when the earliest end is reached, the longest of the strings that end there counts.
    seen = text[: min(ends)]
    assert stream.stopped
    assert stream.text == seen[: min(seen.find(s) for s in stop if s in seen)]


@given(st.text("ab", max_size=20), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3))
def test_nothing_that_came_out_is_taken_back(text, stop):
    stream = TextStream(ByCharacter(), stop)
    out = ""
    for character in text:
        out += stream.add(character)
        assert stream.text == out and text.startswith(out)
        if stream.stopped:
            break


class Words:
    """A tokenizer of three words, of the kind that mlx-lm's `kind` of detokenizer is for."""

    def __init__(self, kind, space):
        self.kind, self.words = kind, ["a", f"{space}Paris", ","]
        self.pieces = ["a", " Paris", ","]

    def __len__(self):
        return len(self.words)

    def convert_ids_to_tokens(self, ids):
        return [self.words[i] for i in ids]

    @property
    def detokenizer(self):
        return self.kind(self)

    def encode(self, text, add_special_tokens=False):
        return [self.pieces.index(character) for character in text if character in self.pieces]

    def decode(self, tokens):
        return "".join(self.pieces[token] for token in tokens)


@pytest.mark.parametrize(
    "kind, space",
    [(BPEStreamingDetokenizer, "\u0120"), (SPMStreamingDetokenizer, "\u2581"), (NaiveStreamingDetokenizer, " ")],
)
def test_the_space_between_the_prompt_and_the_answer_is_kept(kind, space):
    stream = TextStream(Words(kind, space))
    assert [stream.add(1), stream.add(2), stream.finish()] == [" Paris", ",", ""]
    assert stream.text == " Paris,"
    begun_without = TextStream(Words(kind, space))
    assert [begun_without.add(2), begun_without.add(1)] == [",", " Paris"]


@pytest.mark.model
def test_an_answer_goes_on_from_its_prompt():
    from course_lib.llm import load

    _, tokenizer = load("smollm2-135m")
    answer = tokenizer.encode("The capital of France is Paris.")[len(tokenizer.encode("The capital of France is")) :]
    stream = TextStream(tokenizer)
    assert "".join(stream.add(token) for token in answer) + stream.finish() == " Paris."


@pytest.mark.model
def test_characters_of_several_tokens_come_whole():
    from course_lib.llm import load

    _, tokenizer = load("smollm2-135m")
    stream = TextStream(tokenizer)
    pieces = [stream.add(token) for token in tokenizer.encode("naïve 日本 🎉!")]
    assert not any("\ufffd" in piece for piece in pieces)
    assert "".join(pieces) + stream.finish() == "naïve 日本 🎉!"
