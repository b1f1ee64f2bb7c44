"""A request takes up tokens until one is the last."""

from types import SimpleNamespace

from course_lib.engine.metrics import RequestMetrics
from course_lib.engine.request import Request
from course_lib.engine.text_stream import TextStream
from course_lib.llm.sampling import SamplingParams


class LateDetokenizer:
    """Gives the last token's text only when no more can come."""

    def __init__(self):
        self.tokens, self.given = [], 0

    def add_token(self, token):
        self.tokens.append(token)

    def finalize(self):
        self.tokens.append("")

    @property
    def last_segment(self):
        text = "".join(self.tokens[:-1])
        new, self.given = text[self.given :], len(text)
        return new


def asked(max_tokens, stop=(), stop_tokens=()):
    tokenizer = SimpleNamespace(detokenizer=LateDetokenizer(), encode=lambda text, **_: [text])
    stream = TextStream(tokenizer, stop)
    return Request(0, [1, 2], max_tokens, SamplingParams(), frozenset(stop_tokens), stream, RequestMetrics(0.0))


def test_a_stop_string_that_the_last_characters_complete_counts():
    request = asked(max_tokens=2, stop=["bc"])
    assert request.take("ab").finish_reason is None
    last = request.take("c")
    assert (last.text, last.finish_reason, request.text) == ("a", "stop", "a")
    plain = asked(max_tokens=2)
    plain.take("ab")
    assert plain.take("c").finish_reason == "length" and plain.text == "abc"


def test_new_tokens_are_the_prompt_then_what_was_generated():
    request = asked(max_tokens=9)
    assert request.num_new_tokens == 2 and list(request.next_tokens(1)) == [1]
    request.num_computed_tokens = 2
    request.take("x")
    assert request.num_new_tokens == 1 and list(request.next_tokens(1)) == ["x"]
    request.num_computed_tokens = 0  # as after a preemption
    assert request.num_new_tokens == 3 and list(request.next_tokens(3)) == [1, 2, "x"]
