"""Exercises of notebook 02, in the notebook's order."""

# isort: off
from .packing import pack, unpack
from .rounding import quantize, dequantize
from .multiplying import matmul
from .ladder import quantized_matmul
from .rounding import clipped

__all__ = ["pack", "unpack", "quantize", "dequantize", "matmul", "quantized_matmul", "clipped"]
