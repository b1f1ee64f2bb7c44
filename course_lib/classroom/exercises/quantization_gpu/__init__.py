"""Exercises of notebook 03, in the notebook's order."""

# isort: off
from .reasoning import cache_lines
from .ladder import quantized_matmul
from .reasoning import resident_threads

__all__ = ["cache_lines", "quantized_matmul", "resident_threads"]
