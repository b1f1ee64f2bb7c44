"""Stop strings in a stream."""

from .. import mutant, rival

STOPS = "build_your_own_vllm.stop_strings"


class _Base:
    """The right answer, in parts that mutants change."""

    def __init__(self, stop=()):
        self.stop, self.held, self.stopped = tuple(stop), "", False

    def place(self, text):
        found = [text.find(s) for s in self.stop if s in text]
        return min(found) if found else None

    def hold(self, text):
        """Characters at the end to hold back."""
        return max((n for s in self.stop for n in range(1, len(s)) if text.endswith(s[:n])), default=0)

    def add(self, text):
        if self.stopped:
            return ""
        self.held += text
        place = self.place(self.held)
        if place is not None:
            self.stopped = True
            certain, self.held = self.held[:place], ""
            return certain
        end = len(self.held) - self.hold(self.held)
        certain, self.held = self.held[:end], self.held[end:]
        return certain

    def finish(self):
        certain, self.held = self.held, ""
        return certain


@mutant(STOPS, "leaks")
class ShowsAtOnce(_Base):
    def __init__(self, stop=()):
        super().__init__(stop)
        self.text, self.shown = "", 0

    def add(self, text):
        if self.stopped:
            return ""
        self.text += text
        place = self.place(self.text)
        self.stopped = place is not None
        end = len(self.text) if place is None else place
        certain, self.shown = self.text[self.shown : end], max(end, self.shown)
        return certain

    def finish(self):
        return ""


@mutant(STOPS, "across")
class LooksAtEachPiece(_Base):
    def add(self, text):
        if self.stopped:
            return ""
        place = self.place(text)
        if place is not None:
            self.stopped = True
            return text[:place]
        return text


@mutant(STOPS, "stop_shown")
class ShowsTheStop(_Base):
    def place(self, text):
        found = [text.find(s) + len(s) for s in self.stop if s in text]
        return min(found) if found else None


@mutant(STOPS, "holds_too_much")
class AlwaysHoldsTheLongest(_Base):
    def hold(self, text):
        return min(len(text), max(map(len, self.stop), default=1) - 1)


@mutant(STOPS, "holds_too_much")
class HoldsEverything(_Base):
    def hold(self, text):
        return len(text)


@mutant(STOPS, "only_one_character")
class HoldsOneCharacter(_Base):
    def hold(self, text):
        return int(any(text.endswith(s[0]) for s in self.stop if len(s) > 1))


@mutant(STOPS, "whole_piece")
class WholePieceOnly(_Base):
    def hold(self, text):
        return len(text) if any(s.startswith(text) for s in self.stop) else 0


@mutant(STOPS, "first_listed")
class TakesTheFirstListed(_Base):
    def place(self, text):
        return next((text.find(s) for s in self.stop if s in text), None)


@mutant(STOPS, "after_stop")
class GoesOn(_Base):
    def add(self, text):
        self.stopped, was = False, self.stopped
        certain = super().add(text)
        self.stopped = self.stopped or was
        return certain


@mutant(STOPS, "held_lost")
class ForgetsWhatItHeld(_Base):
    def finish(self):
        return ""


@mutant(STOPS, "twice")
class KeepsWhatItShowed(_Base):
    def __init__(self, stop=()):
        super().__init__(stop)
        self.text = ""

    def add(self, text):
        if self.stopped:
            return ""
        self.text += text
        place = self.place(self.text)
        if place is not None:
            self.stopped = True
            return self.text[:place]
        return self.text[: len(self.text) - self.hold(self.text)]


@mutant(STOPS, "not_stopped")
class NeverSaysSo(_Base):
    def add(self, text):
        if getattr(self, "done", False):
            return ""
        certain = super().add(text)
        self.done, self.stopped = self.stopped, False
        return certain

    def finish(self):
        return "" if getattr(self, "done", False) else super().finish()


@mutant(STOPS, "returns_text")
class SaysNothingAsNone(_Base):
    def add(self, text):
        return super().add(text) or None


@rival(STOPS)
class KeepsTheWholeText:
    """Looks at all of the text each time, and counts what was shown."""

    def __init__(self, stop=()):
        self.stop, self.text, self.shown, self.end = list(stop), "", 0, None

    @property
    def stopped(self):
        return self.end is not None

    def add(self, text):
        return self._show(text, last=False)

    def finish(self):
        return self._show("", last=True)

    def _show(self, text, last):
        if self.stopped:
            return ""
        self.text += text
        places = sorted(self.text.find(s) for s in self.stop if self.text.find(s) >= 0)
        if places:
            self.end = upto = places[0]
        else:
            upto = len(self.text)
            while not last and upto > self.shown:
                tail = [self.text[i:] for i in range(self.shown, len(self.text))]
                risky = [i for i, rest in enumerate(tail) if any(s.startswith(rest) for s in self.stop)]
                upto = self.shown + risky[0] if risky else len(self.text)
                break
        new, self.shown = self.text[self.shown : upto], max(self.shown, upto)
        return new
