"""Stop strings in a stream."""

from ....techniques.stop_strings import StopStrings
from ...exercise import Exercise

stop_strings = Exercise(
    "build_your_own_vllm.stop_strings",
    "Stop strings in a stream",
    name="StopStrings",
    reference=StopStrings,
    names={},
    mistakes={
        "leaks": "The beginning of a stop string was shown before it was known whether the rest follows. Hold it back.",
        "stop_shown": "The stop string itself was shown. The text ends before it.",
        "across": "A stop string came in two pieces and was not seen. Look in what is held back and the new piece together.",
        "holds_too_much": (
            "Text is held back that cannot begin a stop string. Hold back only an end of the text that is the beginning "
            "of one; the longest such end."
        ),
        "only_one_character": "An end of several characters may begin a stop string, too; try the longest first.",
        "whole_piece": "A piece may end with only the *beginning* of a stop string; see which of its ends begins one.",
        "first_listed": "Two stop strings came in one piece, and the text ends at the wrong one. It ends at the earliest in the text, wherever it stands in the list.",
        "after_stop": "Something was shown after a stop string had come. From there on `add` and `finish` return nothing.",
        "held_lost": "`finish` is to return what was held back: no more text comes, so it begins no stop string.",
        "twice": "Text was shown twice. `add` returns only what it had not returned before.",
        "not_stopped": "`stopped` is to be True as soon as a stop string has come, and False before.",
        "returns_text": "`add` and `finish` return a string each time, empty where nothing is certain.",
    },
)


def _certain(text, stop, is_last):
    """(What may be shown of the whole text so far, has it stopped): from the definition, without any state."""
    found = [text.find(s) for s in stop if s in text]
    if found:
        return text[: min(found)], True
    ends = [n for s in stop for n in range(1, len(s)) if text.endswith(s[:n])]
    return text[: len(text) - max(ends, default=0)] if not is_last else text, False


def _right(pieces, stop):
    """What is shown in all after each piece and after `finish`, and whether it has stopped by then."""
    shown, has_stopped = [], []
    for i in range(len(pieces) + 1):
        if has_stopped and has_stopped[-1]:
            shown.append(shown[-1])
            has_stopped.append(True)
            continue
        certain, now = _certain("".join(pieces[: i + 1]), stop, i == len(pieces))
        shown.append(certain)
        has_stopped.append(now)
    return shown, has_stopped


def _wrong(pieces, stop):
    """Name of a known mistake -> what is shown in all after each piece and after `finish`."""
    longest = max(map(len, stop), default=1)

    def first(text):
        return min((text.find(s) for s in stop if s in text), default=None)

    def run(hold, place=first, across=True, show_stop=False, lost=False, goes_on=False):
        shown, held, stopped, found = "", "", False, []
        for piece in pieces:
            held = held + piece if across else piece
            at = place(held)
            if stopped and not goes_on:
                pass
            elif at is not None:
                stopped, shown = True, shown + held[:at] + ("" if not show_stop else max((s for s in stop if held.startswith(s, at)), key=len))
                held = ""
            else:
                end = len(held) - hold(held)
                shown, held = shown + held[:end], held[end:] if across else ""
            found.append(shown)
        return [*found, shown if lost or stopped and not goes_on else shown + held]

    def all_ends(text):
        return max((n for s in stop for n in range(1, len(s)) if text.endswith(s[:n])), default=0)

    def at_once():
        found, text = [], ""
        for piece in [*pieces, ""]:
            end = len(text) if first(text) is not None else None
            text += piece
            at = first(text)
            shown = found[-1] if end is not None else text if at is None else text[: max(at, len(found[-1]) if found else 0)]
            found.append(shown)
        return found

    return {
        "leaks": at_once(),
        "across": run(lambda text: 0, across=False),
        "stop_shown": run(all_ends, show_stop=True),
        "held_lost": run(all_ends, lost=True),
        "after_stop": run(all_ends, goes_on=True),
        "first_listed": run(all_ends, place=lambda text: next((text.find(s) for s in stop if s in text), None)),
        "only_one_character": run(lambda text: int(any(text.endswith(s[0]) for s in stop if len(s) > 1))),
        "whole_piece": run(lambda text: len(text) if any(s.startswith(text) for s in stop) else 0),
        "holds_too_much": run(lambda text: min(len(text), longest - 1)),
    }


def _check(answer, t, pieces, stop, end=True):
    """end: with `finish`. It comes last, so that what `add` does is told to those who have not written it."""
    stream = answer(tuple(stop))
    given, flags = [], []
    for piece in pieces:
        given.append(stream.add(piece))
        flags.append(bool(stream.stopped))
    _compare(t, pieces, stop, given, flags)
    if end:
        given.append(stream.finish())
        flags.append(bool(stream.stopped))
        _compare(t, pieces, stop, given, flags)


def _compare(t, pieces, stop, given, flags):
    count = len(given)
    call = f"StopStrings({list(stop)}), pieces {list(pieces)}"
    t.true(all(isinstance(text, str) for text in given), f"{call}: add and finish return {given}.", "returns_text")
    shown = ["".join(given[: i + 1]) for i in range(count)]
    wanted, has_stopped = (found[:count] for found in _right(pieces, stop))
    if shown != wanted:
        known = [name for name, others in _wrong(pieces, stop).items() if others[:count] == shown]
        at = next(i for i, pair in enumerate(zip(shown, wanted, strict=True)) if pair[0] != pair[1])
        where = "finish()" if at == len(pieces) else f"add({pieces[at]!r})"
        message = f"{call}: after {where} {shown[at]!r} has been shown.\nWanted: {wanted[at]!r}."
        kind = _kind(shown[at], wanted[at], "".join(pieces), at and given[at], shown[at - 1] if at else "")
        t.true(False, message, known[0] if known else kind)
    t.equal(f"{call}: `stopped` after each", flags, has_stopped, mistakes={"not_stopped": lambda given: True})


def _kind(shown, wanted, text, given, before):
    """What kind of mistake it is, where none of the known ones gives exactly this."""
    if before and given and given.startswith(before):
        return "twice"
    if len(shown) > len(wanted) and text.startswith(shown):
        return "leaks"
    return "holds_too_much" if wanted.startswith(shown) else None


@stop_strings.case("without stop strings everything is shown at once")
def _(answer, t):
    _check(answer, t, ["Once", " upon", "", " a time"], [], end=False)


@stop_strings.case("a text without any of them is shown whole")
def _(answer, t):
    _check(answer, t, ["Once", " upon", " a time"], ["###"], end=False)


@stop_strings.case("a stop string in one piece ends the text before it")
def _(answer, t):
    _check(answer, t, ["one two", " STOP three", " four"], ["STOP"], end=False)
    _check(answer, t, ["STOP"], ["STOP"], end=False)


@stop_strings.case("a stop string that comes in pieces")
def _(answer, t):
    _check(answer, t, ["S", "T", "AR S", "TOP"], ["STOP"])
    _check(answer, t, ["one ", "ST", "OP", " two"], ["STOP"])
    _check(answer, t, ["a", "b", "c", "d", "e"], ["bcd"])
    _check(answer, t, ["one\nUs", "er:", " two"], ["\nUser:"])


@stop_strings.case("what only looked like one is shown as soon as that is known")
def _(answer, t):
    _check(answer, t, ["one ST", "ART two"], ["STOP"])
    _check(answer, t, ["aab", "ab", "aac", "x"], ["aabaac"])
    _check(answer, t, ["xaa", "a", "b"], ["aab"])


@stop_strings.case("at the end, what was held back is shown")
def _(answer, t):
    _check(answer, t, ["one ST"], ["STOP"])
    _check(answer, t, ["a", "a"], ["aaa"])


@stop_strings.case("of several, the first in the text")
def _(answer, t):
    _check(answer, t, ["one two three"], ["three", "two"])
    _check(answer, t, ["one tw", "o three"], ["three", "two", "one t!"])


@stop_strings.case("300 random texts of few letters, in random pieces")
def _(answer, t):
    for _ in range(300):
        text = "".join(t.rng.choice(list("ab"), int(t.rng.integers(1, 14))))
        cuts = sorted(t.rng.integers(0, len(text) + 1, int(t.rng.integers(0, 5))).tolist())
        pieces = [text[i:j] for i, j in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        stop = {"".join(t.rng.choice(list("ab"), int(t.rng.integers(1, 5)))) for _ in range(int(t.rng.integers(1, 3)))}
        _check(answer, t, pieces, sorted(stop))
