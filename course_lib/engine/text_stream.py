"""From token ids, as they come, to text, and where the text stops."""

from collections.abc import Callable, Sequence
from typing import Any

from course_lib.llm.detokenizer import Detokenizer
from course_lib.techniques.stop_strings import StopStrings


class TextStream:
    """The text of one request.

    Text comes out as soon as it is certain: a character may take several tokens, and what may be the
    beginning of a stop string is held back until it is known to be none. It goes on from the prompt: after
    "The capital of France is" it begins with the space of " Paris".

    Attributes:
        text (str): all that has come out so far.
        stopped (bool): a stop string has come. It and what follows it are not part of the text.

    Args:
        stop: the stop strings.
        make_stops: makes what watches for them, `techniques.stop_strings.StopStrings` or another.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[str] = (), make_stops: Callable = StopStrings) -> None:
        self.text = ""
        self._detokenizer = Detokenizer(tokenizer)
        self._stops = make_stops(tuple(stop))

    @property
    def stopped(self) -> bool:
        return self._stops.stopped

    def add(self, token: int) -> str:
        """One more token. Returns the text that it makes certain, often none."""
        return self._out(self._stops.add(self._detokenizer.add(token)))

    def finish(self) -> str:
        """No more tokens come. Returns what was held back."""
        certain = self._stops.add(self._detokenizer.finish())
        return self._out(certain + self._stops.finish())

    def _out(self, certain: str) -> str:
        self.text += certain
        return certain
