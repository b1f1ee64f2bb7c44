"""Exercises of notebook 06, in the notebook's order."""

# isort: off
from .padding import left_pad
from .padded_cache import padded_cache
from .waste import waste
from .rows import batched_cache
from .schedule import schedule
from .loop import loop
from .order import order

__all__ = ["left_pad", "padded_cache", "waste", "batched_cache", "schedule", "loop", "order"]
