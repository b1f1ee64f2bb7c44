"""Wrong and right answers to the exercises of notebook 10."""

from . import integers, panels, products, steps  # noqa: F401
