"""Numbers as a reader wants them: three digits and a unit that fits."""

from math import isfinite


def bytes_text(count: float) -> str:
    """A number of bytes in binary units: `bytes_text(1536)` is `"1.50 KiB"`."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if abs(count) >= 1024**power:
            return f"{_digits(count / 1024**power)} {unit}"
    return f"{count:.0f} B"


def seconds_text(seconds: float) -> str:
    """A time: `seconds_text(0.00123)` is `"1.23 ms"`."""
    if seconds >= 120:
        return f"{seconds / 60:.1f} min"
    for scale, unit in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= scale:
            return f"{_digits(seconds / scale)} {unit}"
    return f"{_digits(seconds / 1e-9)} ns"


def value_text(value: float, unit: str) -> str:
    """A value with its unit: `"s"` and `"bytes"` in the multiple that fits, any other unit as it is."""
    if unit == "s":
        return seconds_text(value)
    if unit == "bytes":
        return bytes_text(value)
    return f"{number_text(value)} {unit}".rstrip()


def axis_scale(largest: float, unit: str) -> tuple[float, str]:
    """What to divide an axis's values by, and the unit they then have.

    Args:
        largest: the largest value on the axis.
        unit: `"s"` or `"bytes"`; any other is kept.
    """
    steps = {
        "s": ((1, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")),
        "bytes": ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "bytes")),
    }.get(unit)
    if steps is None:
        return 1, unit
    return next((step for step in steps if largest >= step[0]), steps[-1])


def number_text(value: float) -> str:
    """A bare number with three significant digits, without an exponent where it can be read without."""
    size = abs(value)
    if not isfinite(value) or (size and (size >= 1e7 or size < 1e-3)):
        return f"{value:.2e}"
    return f"{value:,.0f}" if size >= 99.95 else f"{value:#.3g}"


def tick_text(value: float) -> str:
    """A number on an axis: as short as it can be."""
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e7 else f"{value:g}"


def _digits(value: float) -> str:
    size = abs(value)
    return f"{value:.0f}" if size >= 99.95 else f"{value:.1f}" if size >= 9.995 else f"{value:.2f}"
