"""Exercises of notebook 01, in the notebook's order."""

# isort: off
from .attending import causal_mask, attention
from .growing import concat
from .layer import cached_attention
from .reserving import preallocated
from .phases import generate
from .rewinding import rewind
from .window import sliding_window

__all__ = [
    "causal_mask", "attention", "concat", "cached_attention", "preallocated", "generate", "rewind",
    "sliding_window",
]  # fmt: skip
