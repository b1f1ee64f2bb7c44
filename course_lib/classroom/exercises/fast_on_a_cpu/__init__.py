"""Exercises of notebook 10, in the notebook's order."""

# isort: off
from .panels import lay_out, multiply_panel
from .integers import to_integers, to_digits
from .products import multiply_by_bytes
from .steps import predict_step
from .integers import to_pairs

__all__ = ["lay_out", "multiply_panel", "to_integers", "to_digits", "multiply_by_bytes", "predict_step", "to_pairs"]
