"""Exercises of notebook 03, in the notebook's order."""

from .ladder import quantized_matmul

__all__ = ["quantized_matmul"]
