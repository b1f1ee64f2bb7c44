"""From token ids, as they come, to text, and where the text stops."""

from collections.abc import Sequence
from typing import Any


class TextStream:
    """The text of one request.

    Text comes out as soon as it is certain: a character may take several tokens, and what may be the
    beginning of a stop string is held back until it is known to be none.

    Attributes:
        text (str): all that has come out so far.
        stopped (bool): a stop string has come. It and what follows it are not part of the text.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[str] = ()) -> None:
        self.text = ""
        self.stopped = False
        self._detokenizer = tokenizer.detokenizer  # a fresh one at each access
        self._stop = tuple(stop)
        self._held = ""

    def add(self, token: int) -> str:
        """One more token. Returns the text that it makes certain, often none."""
        self._detokenizer.add_token(token)
        return self._out(self._detokenizer.last_segment, is_last=False)

    def finish(self) -> str:
        """No more tokens come. Returns what was held back."""
        self._detokenizer.finalize()
        return self._out(self._detokenizer.last_segment, is_last=True)

    def _out(self, new: str, is_last: bool) -> str:
        if self.stopped:
            return ""
        self._held += new
        found = [place for place in (self._held.find(stop) for stop in self._stop) if place >= 0]
        if found:
            self.stopped = True
            certain, self._held = self._held[: min(found)], ""
        else:
            end = len(self._held) - (0 if is_last else self._beginning_of_a_stop())
            certain, self._held = self._held[:end], self._held[end:]
        self.text += certain
        return certain

    def _beginning_of_a_stop(self) -> int:
        """How many characters at the end of what is held may be the beginning of a stop string."""
        longest = max(map(len, self._stop), default=0)
        for count in range(min(len(self._held), longest - 1), 0, -1):
            if any(stop.startswith(self._held[-count:]) for stop in self._stop):
                return count
        return 0
