"""How the rungs of quantized matmul in Metal are launched: which threads there are, and what they are handed.

A rung's .metal file has one kernel. All take x in float32, float16 or bfloat16, scales and biases in the same dtype,
and compute in float32.
"""

from dataclasses import dataclass, field
from pathlib import Path

import mlx.core as mx

from course_lib.kernels.metal import Inspection, MetalKernel, load_metal
from course_lib.paths import EXTENSIONS

LANES = 32
SIMDGROUPS = {"simd_sum": 4, "rows": 2, "few_tokens": 2}  # of a threadgroup; they share nothing
ROWS = 4  # that a SIMD-group of "rows" and "few_tokens" computes
TOKENS = 4  # of "few_tokens"
TILE, TILE_THREADS = 32, 128  # of "tiles": rows and tokens of a threadgroup, and its threads
KERNELS = {
    "one_thread": "qmv_one_thread", "simd_sum": "qmv_simd_sum", "rows": "qmv_rows", "tiles": "qmm_tiles",
    "few_tokens": "qmv_few_tokens",
}  # fmt: skip
RUNGS = tuple(KERNELS)
DTYPES = (mx.float32, mx.float16, mx.bfloat16)
GROUP_SIZES, BITS = (32, 64, 128), (4, 8)


@dataclass(frozen=True)
class MetalQuantizedMatmul:
    """x times the transpose of a quantized matrix by one .metal file: `mx.quantized_matmul` with transpose=True.

    On an Apple GPU it runs there, elsewhere in the emulator (course_lib/kernels/metal/README.md).

    Attributes:
        rung: "one_thread", "simd_sum", "rows", "tiles" or "few_tokens": how it is launched.
        path: the .metal file; None for the reference's.
        device: "emulator" for the CPU on every machine; None to go by the stream.
    """

    rung: str
    path: Path | None = None
    device: str | None = None
    _kernel: MetalKernel = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        if self.rung not in KERNELS:
            raise ValueError(f"There is no rung {self.rung!r}; give one of {', '.join(RUNGS)}.")
        path = self.path or EXTENSIONS / "reference" / f"quantized_matmul_{self.rung}.metal"
        # Loaded now: what happens to the file later does not matter.
        object.__setattr__(self, "_kernel", load_metal(path, KERNELS[self.rung], device=self.device))

    def __call__(self, x, w, scales, biases, group_size: int = 64, bits: int = 4, **options) -> mx.array:
        """x times the transpose of the matrix.

        Args:
            x: [..., K], float32, float16 or bfloat16. What is not row-contiguous is copied.
            w: uint32 [N, K * bits / 32], as mx.quantize packs it.
            scales: [N, K / group_size], in the dtype of x; biases likewise.
            group_size: 32, 64 or 128.
            bits: 4 or 8.
            options: of a MetalKernel's call: check, strict, order, stream, ...

        Returns:
            [..., N], in the dtype of x.

        Raises:
            ValueError: a shape, dtype, group_size or bits that the kernels do not take.
            MetalError: of the kernel.
        """
        shape = (*x.shape[:-1], w.shape[0])
        call = self.launch(x, w, scales, biases, group_size, bits)
        if 0 in shape:
            return mx.zeros(shape, x.dtype)
        return self._kernel(**call, **options)[0].reshape(shape)

    def inspect(self, x, w, scales, biases, group_size: int = 64, bits: int = 4, **options) -> list[Inspection]:
        """What the emulator's sanitizer and profiler see of the one launch; its output is [M, N], the rows of x in order.

        Arguments as in a call; options of MetalKernel.inspect.
        """
        return [self._kernel.inspect(**self.launch(x, w, scales, biases, group_size, bits), **options)]

    def check_types(self, x, w, scales, biases, group_size: int = 64, bits: int = 4) -> None:
        """Compile what a call would run, and reject what Metal's compiler would; nothing runs.

        Raises:
            MetalSyntaxError: it does not compile.
            MetalError: strict mode is not there.
        """
        self._kernel.check_types(**self.launch(x, w, scales, biases, group_size, bits))

    def launch(self, x, w, scales, biases, group_size: int, bits: int) -> dict:
        """The arguments of the MetalKernel's call: threads, template, shapes.

        Raises:
            ValueError: as a call.
        """
        _validate(x, w, scales, biases, group_size, bits)
        K, N = x.shape[-1], w.shape[0]
        x = x.reshape(-1, K)
        M = x.shape[0]
        if self.rung == "one_thread":
            grid, threadgroup = (N, M, 1), (LANES, 1, 1)
        elif self.rung == "tiles":
            grid, threadgroup = (TILE_THREADS * -(-N // TILE), -(-M // TILE), 1), (TILE_THREADS, 1, 1)
        else:
            rows = 1 if self.rung == "simd_sum" else ROWS
            tokens = TOKENS if self.rung == "few_tokens" else 1
            grid, threadgroup = (LANES, -(-N // rows), -(-M // tokens)), (LANES, SIMDGROUPS[self.rung], 1)
        sizes = [M, N, K] if self.rung in ("tiles", "few_tokens") else [N, K]
        return {
            "inputs": [x, w, scales, biases, *sizes], "grid": tuple(max(1, n) for n in grid), "threadgroup": threadgroup,
            "template": [("T", x.dtype), ("GROUP", group_size), ("BITS", bits)],
            "output_shapes": [(M, N)], "output_dtypes": [x.dtype],
        }  # fmt: skip


def _validate(x: mx.array, w: mx.array, scales: mx.array, biases: mx.array, group_size: int, bits: int) -> None:
    if x.dtype not in DTYPES or scales.dtype != x.dtype or biases.dtype != x.dtype:
        raise ValueError(
            f"x is {x.dtype}, scales {scales.dtype} and biases {biases.dtype}; give all in one of float32, float16, bfloat16."
        )
    if w.dtype != mx.uint32 or w.ndim != 2 or x.ndim < 1:
        raise ValueError(f"w is {w.dtype} {list(w.shape)} and x {list(x.shape)}; give uint32 [N, K * bits / 32] and [..., K].")
    if group_size not in GROUP_SIZES or bits not in BITS:
        raise ValueError(f"group_size is {group_size} and bits {bits}; the kernels take 32, 64 or 128, and 4 or 8.")
    K, N = x.shape[-1], w.shape[0]
    wanted = (N, K // group_size)
    if K == 0 or K % group_size or w.shape[1] * 32 != K * bits or scales.shape != wanted or biases.shape != wanted:
        raise ValueError(
            f"x {list(x.shape)}, w {list(w.shape)}, scales {list(scales.shape)} and biases {list(biases.shape)} do not "
            f"fit: with K = {K}, a multiple of {group_size}, give w [N, {K * bits // 32}] and twice [N, {K // group_size}]."
        )
