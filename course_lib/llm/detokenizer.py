"""The text of tokens that go on from a prompt, as they come."""

from typing import Any


class Detokenizer:
    """Text from the tokens of an answer, each piece as soon as its characters are whole.

    mlx-lm's detokenizers, which do the work, drop the space that a text begins with. An answer does not begin a
    text: after "The capital of France is" it is " Paris". So they get a letter first, which is left out of what they
    say.

    Args:
        tokenizer: mlx-lm's wrapper, as `load` returns it.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._detokenizer = tokenizer.detokenizer  # a fresh one at each access
        self._in_front = len("a")
        for token in tokenizer.encode("a", add_special_tokens=False):
            self._detokenizer.add_token(token)

    def add(self, token: int) -> str:
        """One more token. Returns the text that it completes, often none."""
        self._detokenizer.add_token(token)
        return self._new_text()

    def finish(self) -> str:
        """No more tokens come. Returns what was not complete."""
        self._detokenizer.finalize()
        return self._new_text()

    def _new_text(self) -> str:
        segment = self._detokenizer.last_segment  # since it was last read
        in_front = min(self._in_front, len(segment))
        self._in_front -= in_front
        return segment[in_front:]
