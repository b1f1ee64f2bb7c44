"""Where does the time go inside a model? Watch the parts it calls.

Each watched function is evaluated inside its own clock. That takes away what MLX gains by running
neighbouring operations together, so the sum is a little more than the unwatched whole: read shares, not totals.
"""

import time
from collections import defaultdict
from collections.abc import Callable

import mlx.core as mx


class Stopwatches:
    """Seconds and calls, by name.

    Attributes:
        seconds: name -> seconds so far.
        calls: name -> calls so far.
    """

    def __init__(self):
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)

    def watch(self, name: str | Callable[..., str], fn: Callable) -> Callable:
        """`fn`, with its time added under `name`.

        Args:
            name: a name, or a function of the call's arguments that gives one.
            fn: takes and returns MLX arrays.
        """

        def watched(*args, **kwargs):
            # What the arguments still lack is not this function's time.
            mx.eval([a for a in (*args, *kwargs.values()) if isinstance(a, mx.array)])
            begin = time.perf_counter()
            result = fn(*args, **kwargs)
            mx.eval(result)
            label = name(*args, **kwargs) if callable(name) else name
            self.seconds[label] += time.perf_counter() - begin
            self.calls[label] += 1
            return result

        return watched

    def clear(self) -> None:
        """Forget everything: after a warm-up."""
        self.seconds.clear()
        self.calls.clear()
