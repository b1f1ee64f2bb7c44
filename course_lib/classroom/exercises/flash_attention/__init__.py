"""Exercises of notebook 04, in the notebook's order."""

# isort: off
from .softmax import stable_softmax
from .online import take_up
from .tiled import tiled_attention
from .skipping import causal_tiles
from .heads import flash_attention
from .ladder import attention
from .window import window_attention

__all__ = ["stable_softmax", "take_up", "tiled_attention", "causal_tiles", "flash_attention", "attention", "window_attention"]
