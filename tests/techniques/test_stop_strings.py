"""What is shown of a stream, against the whole text."""

from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.techniques.stop_strings import StopStrings

pieces = st.lists(st.text("ab", max_size=5), max_size=6)
stops = st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=2)


@settings(max_examples=600)
@given(pieces, stops)
def test_what_is_shown_is_right_at_each_moment(pieces, stop):
    stream, shown, text = StopStrings(stop), "", ""
    for piece in pieces:
        text += piece
        shown += stream.add(piece)
        assert text.startswith(shown) and not any(s in shown for s in stop)
        assert stream.stopped == any(s in text for s in stop)
        if not stream.stopped:
            held = text[len(shown) :]
            # What is held back begins a stop string, and nothing more is held back.
            assert not held or any(s.startswith(held) and len(held) < len(s) for s in stop)
        else:
            break
    if not stream.stopped:
        assert shown + stream.finish() == text
    assert stream.finish() == "" and (stream.add("x") == "" or not stream.stopped)
