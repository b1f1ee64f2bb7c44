"""Exercises of notebook 05, in the notebook's order."""

# isort: off
from .reasoning import moved_bytes
from .ladder import attention
from .reasoning import largest_block

__all__ = ["moved_bytes", "attention", "largest_block"]
