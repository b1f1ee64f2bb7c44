"""Text that stops at given strings, while it still comes in pieces.

A stop string may arrive in pieces, a few characters a token. What could be the beginning of one must not
be shown before the rest is known; everything else should be shown at once.
"""

from collections.abc import Sequence


class StopStrings:
    """Lets text through as soon as it is certain.

    Args:
        stop: strings of at least one character; none of them is ever shown.

    Attributes:
        stopped (bool): one has come. Nothing is shown from there on.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self.stopped = False
        self._stop = tuple(stop)
        self._held = ""

    def add(self, text: str) -> str:
        """The next piece. Returns what is certain now and was not shown before."""
        if self.stopped:
            return ""
        self._held += text
        found = [place for place in (self._held.find(stop) for stop in self._stop) if place >= 0]
        if found:
            self.stopped = True
            certain, self._held = self._held[: min(found)], ""
            return certain
        end = len(self._held) - self._beginning_of_a_stop()
        certain, self._held = self._held[:end], self._held[end:]
        return certain

    def finish(self) -> str:
        """No more text comes. Returns what was held back."""
        certain, self._held = self._held, ""
        return certain

    def _beginning_of_a_stop(self) -> int:
        """How many characters at the end of what is held may be the beginning of a stop string."""
        longest = max(map(len, self._stop), default=0)
        for count in range(min(len(self._held), longest - 1), 0, -1):
            if any(stop.startswith(self._held[-count:]) for stop in self._stop):
                return count
        return 0
