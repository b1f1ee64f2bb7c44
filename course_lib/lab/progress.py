"""What is happening, how far it is, how long it will still take: for cells that run longer than a breath.

A bar is gone when its work is done, so that a stored notebook holds no half-finished bar. Where a notebook is
executed to be stored or compared, `COURSE_PROGRESS=off` keeps bars from being shown at all.
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from html import escape
from typing import TypeVar

from IPython import get_ipython
from IPython.display import display
from tqdm import tqdm

from .units import seconds_text

T = TypeVar("T")

# Often enough to look alive, seldom enough to cost the work nothing.
REDRAW_SECONDS = 0.2


def track(items: Iterable[T], label: str, *, total: int | None = None, unit: str = "steps") -> Iterator[T]:
    """Pass `items` on, showing how many are done.

    Args:
        items: anything to loop over.
        label: what is happening: `"prompt lengths"`.
        total: how many items there are, where `len(items)` cannot say.
        unit: what is counted.
    """
    if total is None and hasattr(items, "__len__"):
        total = len(items)
    with progress(label, total=total, unit=unit) as bar:
        for item in items:
            yield item
            bar.advance()


class progress:  # noqa: N801 - used as `with progress(...)`, like a function
    """A progress display for a block of work.

        with progress("converting", total=30, unit="layers") as bar:
            for layer in layers:
                ...
                bar.advance()

    In a notebook it is one line with a bar, in a terminal one that is redrawn on stderr, elsewhere nothing.

    Args:
        label: what is happening. None shows nothing.
        total: how much there is to do; None if it is not known.
        unit: what is counted.
    """

    def __init__(self, label: str | None, *, total: int | None = None, unit: str = "steps"):
        self._bar = _bar(label, total, unit)

    def advance(self, count: int = 1) -> None:
        """Another `count` units are done."""
        self._bar.update(count)

    def __enter__(self) -> "progress":
        return self

    def __exit__(self, *_) -> None:
        self._bar.close()


def _bar(label: str | None, total: int | None, unit: str) -> "tqdm | _NotebookBar":
    off = label is None or os.environ.get("COURSE_PROGRESS") == "off"
    if not off and getattr(get_ipython(), "kernel", None) is not None:
        return _NotebookBar(label, total, unit)
    off = off or not sys.stderr.isatty()
    return tqdm(desc=label, total=total, unit=" " + unit, leave=False, dynamic_ncols=True, disable=off)


class _NotebookBar:
    # tqdm's own notebook bar is a widget, which stays in the stored notebook and is dead there. This one is
    # an output that is updated, and emptied at the end. It has those methods of tqdm's that are used here.

    def __init__(self, label: str, total: int | None, unit: str):
        self.label, self.total, self.unit = label, total, unit
        self.done = 0
        self.begin = self.drawn = time.monotonic()
        self.handle = display(self._bundle(), raw=True, display_id=True)

    def update(self, count: int) -> None:
        self.done += count
        if time.monotonic() - self.drawn > REDRAW_SECONDS:
            self.drawn = time.monotonic()
            self.handle.update(self._bundle(), raw=True)

    def close(self) -> None:
        self.handle.update({"text/html": "", "text/plain": ""}, raw=True)

    def _bundle(self) -> dict[str, str]:
        text, amount = f"{self.label}: {self.done:,} {self.unit}", ""
        if self.total:
            text = f"{self.label}: {self.done:,} of {self.total:,} {self.unit}"
            amount = f' max="{self.total}" value="{self.done}"'
            if self.done:
                left = (self.total - self.done) * (time.monotonic() - self.begin) / self.done
                text += f", about {seconds_text(left)} left"
        return {"text/html": f"<progress{amount}></progress> {escape(text)}", "text/plain": text}
