"""Kernels that are loaded by name: the rungs of a ladder, from the extension or from a library built later."""

from pathlib import Path
from typing import Literal

import mlx.core as mx

from course_lib.kernels.extension import extension


class LoadedQuantizedMatmul:
    """x times the transpose of a quantized matrix, by one kernel: `mx.quantized_matmul` with transpose=True.

    Args:
        library: a shared library with the kernel, which stays loaded; None for the extension's own.
        rung: the kernel's name: "scalar", "vectors", "threads" or "tiles".

    Raises:
        NotBuilt: the extension is not built.
        RuntimeError: the library cannot be loaded.
        ValueError: it has no such kernel.
    """

    def __init__(self, library: Path | None, rung: str):
        self.rung = rung
        self.library = library
        self._ext = extension()
        self._kernel = self._ext.LoadedQuantizedMatmul(str(library or ""), rung)

    def __call__(
        self,
        x: mx.array,
        w: mx.array,
        scales: mx.array,
        biases: mx.array,
        group_size: int = 64,
        bits: int = 4,
        *,
        stream: mx.Stream | mx.Device | None = None,
    ) -> mx.array:
        """As `course_lib.kernels.quantized_matmul`: x float32 [..., K] -> float32 [..., N].

        Raises:
            ValueError: a shape, dtype, group_size or bits that the kernels do not take.
        """
        return self._ext.quantized_matmul_by(self._kernel, x, (w, scales, biases, group_size, bits), stream)

    def __repr__(self) -> str:
        return f"quantized_matmul by {self.rung}, {'from ' + self.library.name if self.library else 'as it came'}"


class LoadedAttention:
    """Attention by one kernel, in the convention of `mx.fast.scaled_dot_product_attention`.

    Args:
        library: a shared library with the kernel, which stays loaded; None for the extension's own.
        rung: the kernel's name: "naive", "tiled", "vectors" or "threads".

    Raises:
        NotBuilt: the extension is not built.
        RuntimeError: the library cannot be loaded.
        ValueError: it has no such kernel.
    """

    def __init__(self, library: Path | None, rung: str):
        self.rung = rung
        self.library = library
        self._ext = extension()
        self._kernel = self._ext.LoadedAttention(str(library or ""), rung)

    def __call__(
        self,
        queries: mx.array,
        keys: mx.array,
        values: mx.array,
        *,
        scale: float,
        mask: mx.array | Literal["causal"] | None = None,
        stream: mx.Stream | mx.Device | None = None,
    ) -> mx.array:
        """As `course_lib.kernels.scaled_dot_product_attention`: float32 [B, H, L, D] -> float32 [B, H, L, D].

        Raises:
            ValueError: a shape, dtype or mask that the kernels do not take.
        """
        if isinstance(mask, str) and mask != "causal":
            raise ValueError(f"scaled_dot_product_attention: mask is {mask!r}; wanted an array, 'causal' or None")
        causal, array = (True, None) if isinstance(mask, str) else (False, mask)
        return self._ext.attention_by(self._kernel, queries, keys, values, scale, causal, array, stream)

    def __repr__(self) -> str:
        return f"attention by {self.rung}, {'from ' + self.library.name if self.library else 'as it came'}"
