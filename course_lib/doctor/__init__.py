"""`course doctor`: does everything that the course needs work here, and what mends what does not?

Each check tries the real thing: the compiler compiles, the kernel answers, MLX computes. That something is
installed proves little: an extension built with the wrong nanobind imports fine, and then every call fails.
"""

from .report import main

__all__ = ["main"]
