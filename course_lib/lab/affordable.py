"""Which sizes can this machine measure in the time a notebook has? A fast one gets a longer plot."""

from collections.abc import Callable, Sequence
from typing import Any

from .timing import timed

# A line needs a few points, however slow the machine is.
FEWEST = 3


def affordable(sizes: Sequence[int], run: Callable[[int], Any], *, calls: int, seconds: float) -> list[int]:
    """The first of `sizes` that can be measured within `seconds` in all.

    The smallest size is run three times, once to warm up; the faster of the other two says what one costs, so
    that a busy moment does not shorten the plot. The cost is taken to grow in proportion to the size.

    Args:
        sizes: ascending.
        run: `run(size)` does the work once; what it returns is evaluated.
        calls: how often each size will be run.
        seconds: for all calls of all sizes together.

    Returns:
        At least three sizes, or all if there are fewer.

    Raises:
        ValueError: no sizes.
    """
    if not sizes:
        raise ValueError("affordable was given no sizes.")
    run(sizes[0])
    for_one = min(timed(lambda: run(sizes[0])).seconds for _ in range(2)) / sizes[0]
    chosen, spent = [], 0.0
    for size in sizes:
        spent += for_one * size * calls
        if len(chosen) >= FEWEST and spent > seconds:
            break
        chosen.append(size)
    return chosen
