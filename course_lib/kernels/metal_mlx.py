"""MLX's own quantized matmul on a GPU, from the headers that its wheel comes with, in the emulator: what does it move?

On a GPU MLX runs them itself, as `mx.quantized_matmul`; this is for machines without one, and for counting.
"""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import mlx.core as mx

from course_lib.kernels.metal import Inspection, MetalKernel, load_metal
from course_lib.paths import cache_dir

# What quantized.h includes, in order.
_HEADERS = (
    "quantized_utils.h", "steel/utils/type_traits.h", "steel/utils/integral_constant.h", "steel/defines.h", "steel/utils.h",
    "steel/gemm/transforms.h", "steel/gemm/params.h", "steel/gemm/mma.h", "steel/gemm/loader.h", "steel/gemm/gemm.h",
    "quantized.h",
)  # fmt: skip
_CONSTANT = re.compile(r"constant bool (\w+) \[\[function_constant\(\d+\)\]\];")


class MlxQuantizedMatmul:
    """`affine_qmv`, a matrix times a vector, or `affine_qmm_t`, times many, as MLX launches them.

    Args:
        kernel: "affine_qmv" or "affine_qmm_t".

    Raises:
        FileNotFoundError: this MLX comes without these headers.
    """

    def __init__(self, kernel: str):
        self.name = kernel
        self._kernel = _load(kernel)

    def inspect(self, x, w, scales, biases, group_size: int = 64, bits: int = 4, **options) -> list[Inspection]:
        """What the emulator's sanitizer and profiler see.

        Args:
            x: [M, K]; scales and biases in its dtype; all as for `mx.quantized_matmul` with transpose=True.
            options: of MetalKernel.inspect.
        """
        (M, K), N = x.shape, w.shape[0]
        known = {"w": w, "scales": scales, "biases": biases, "x": x, "in_vec_size": K, "out_vec_size": N, "K": K, "N": N, "M": M}
        # The others are for batches, which are not used here.
        unused = {name: mx.zeros(1, mx.int64 if name.endswith("strides") else mx.int32) for name in self._kernel.input_names}
        template = [("T", x.dtype), ("group_size", group_size), ("bits", bits), ("batched", False)]
        if self.name == "affine_qmv":
            grid, threadgroup = (32 * M, 2 * -(-N // 8), 1), (32, 2, 1)
        else:
            grid, threadgroup = (32 * -(-N // 32), 2 * -(-M // 32), 2), (32, 2, 2)
            template.insert(3, ("aligned_N", N % 32 == 0))
        return [
            self._kernel.inspect(
                inputs=[known.get(name, unused[name]) for name in self._kernel.input_names], template=template,
                output_shapes=[(M, N)], output_dtypes=[x.dtype], grid=grid, threadgroup=threadgroup, **options,
            )
        ]  # fmt: skip


@cache
def _load(kernel: str) -> MetalKernel:
    folder = Path(find_spec("mlx").submodule_search_locations[0]) / "include/mlx/backend/metal/kernels"
    text = "".join((folder / name).read_text() for name in _HEADERS)
    # Function constants are set when a pipeline is made, which mx.fast.metal_kernel does not do.
    text = _CONSTANT.sub(r"constant constexpr bool \1 = true;", re.sub(r'#include "mlx[^\n]*', "", text))
    path = cache_dir() / "metal" / f"mlx-{mx.__version__}-quantized.metal"
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = f"#include <metal_stdlib>\nusing namespace metal;\n{text}"
    if not path.exists() or path.read_text() != whole:
        path.write_text(whole)
    return load_metal(path, kernel, device="emulator")
