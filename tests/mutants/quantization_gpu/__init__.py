"""Wrong and right answers to the exercises of notebook 03."""

from . import ladder, reasoning  # noqa: F401
