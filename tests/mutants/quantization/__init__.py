"""Wrong and right answers to the exercises of notebook 02."""

from . import ladder, multiplying, packing, rounding  # noqa: F401
