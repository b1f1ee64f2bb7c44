"""Wrong and right answers of notebook 05."""

from . import ladder, reasoning  # noqa: F401
