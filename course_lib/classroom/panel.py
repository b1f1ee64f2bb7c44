"""The panel under a check cell: HTML in JupyterLab, plain text elsewhere."""

import html

from .verdict import CaseResult, State, Verdict

MARKS = {"pass": "✓", "fail": "✗", "left": "○"}
HEADS = {
    State.UNTOUCHED: ("○", "not started"),
    State.PART_DONE: ("◐", "part-done"),
    State.WRONG: ("✗", "not right yet"),
    State.RIGHT: ("✓", "right"),
}
# Border colours that read on JupyterLab's light and dark themes, and apart for colour-blind readers.
COLOURS = {
    State.UNTOUCHED: "#E69F00",
    State.PART_DONE: "#E69F00",
    State.WRONG: "#D55E00",
    State.RIGHT: "#009E73",
}


def show(verdict: Verdict) -> None:
    """Display the panel below the cell, or print it where there is no notebook."""
    from IPython import get_ipython
    from IPython.display import display

    if get_ipython() is None:
        print(text(verdict))
    else:
        display(bundle(verdict), raw=True)


def bundle(verdict: Verdict) -> dict[str, str]:
    """The panel as a MIME bundle."""
    return {"text/plain": text(verdict), "text/html": as_html(verdict)}


def summary(verdict: Verdict) -> str:
    """The panel's head and the first failure: one short text for an exception."""
    parts = [_head(verdict), _advice(verdict)]
    if failure := verdict.failure:
        parts.append(f"Case: {failure.title}\n{_indent(failure.message)}")
    if verdict.hint:
        parts.append(f"Hint: {verdict.hint}")
    return "\n".join(p for p in parts if p)


def text(verdict: Verdict) -> str:
    """The panel as plain text."""
    lines = [_head(verdict)]
    if verdict.state in (State.WRONG, State.PART_DONE):
        lines += [f"  {MARKS[r.state]} {r.title}" for r in verdict.results]
    if failure := verdict.failure:
        lines += [f"Case: {failure.title}", _indent(failure.message)]
    if verdict.hint:
        lines.append(f"Hint: {verdict.hint}")
    lines += [line for line in (_advice(verdict), verdict.note) if line]
    return "\n".join(lines)


def as_html(verdict: Verdict) -> str:
    """The panel as HTML, styled inline: notebooks on GitHub and in nbconvert keep no style sheet."""
    colour = COLOURS[verdict.state]
    parts = [f'<div style="font-weight:600">{html.escape(_head(verdict))}</div>']
    if verdict.state in (State.WRONG, State.PART_DONE):
        parts += [_case_html(r) for r in verdict.results]
    if failure := verdict.failure:
        parts.append(
            f'<div style="margin-top:.5em">Case: {html.escape(failure.title)}</div>'
            f'<pre style="margin:.3em 0;white-space:pre-wrap;font-family:monospace">{html.escape(failure.message)}</pre>'
        )
    if verdict.hint:
        parts.append(f'<div style="margin-top:.5em"><b>Hint</b> {_code_spans(verdict.hint)}</div>')
    for line in (_advice(verdict), verdict.note):
        if line:
            parts.append(f'<div style="margin-top:.3em">{_code_spans(line)}</div>')
    style = f"border-left:5px solid {colour};padding:.5em 1em;margin:.3em 0;line-height:1.45"
    return f'<div style="{style}">{"".join(parts)}</div>'


def _head(verdict: Verdict) -> str:
    mark, words = HEADS[verdict.state]
    count = f", {verdict.passed} of {verdict.total} cases pass" if verdict.state is not State.UNTOUCHED else ""
    return f"{mark} {verdict.exercise.id}: {words}{count}"


def _advice(verdict: Verdict) -> str:
    name = verdict.exercise.name
    if verdict.state is State.UNTOUCHED:
        return (
            f"The notebook goes on with the reference `{name}`. Write yours {verdict.exercise.place}, then "
            "run this cell again."
        )
    if verdict.state is State.PART_DONE:
        return f"What passes is right. The notebook goes on with the reference `{name}` until the rest (○) is written."
    if verdict.state is State.RIGHT and not verdict.note:
        return f"Your `{name}` is kept, and is what the rest of the course runs on."
    return ""


def _case_html(result: CaseResult) -> str:
    return f"<div>{MARKS[result.state]} {html.escape(result.title)}</div>"


def _code_spans(line: str) -> str:
    """`x` as <code>x</code>."""
    pieces = html.escape(line).split("`")
    return "".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(pieces))


def _indent(message: str) -> str:
    return "\n".join(f"  {line}" for line in message.splitlines())
