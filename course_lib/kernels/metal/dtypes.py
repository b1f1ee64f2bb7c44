"""MLX's dtypes under the names that they have in Metal."""

import mlx.core as mx

# As mx.fast.metal_kernel writes them (get_type_string in mlx/backend/common/compiled).
NAMES = {
    mx.bool_: "bool",
    mx.uint8: "uint8_t", mx.uint16: "uint16_t", mx.uint32: "uint32_t", mx.uint64: "uint64_t",
    mx.int8: "int8_t", mx.int16: "int16_t", mx.int32: "int32_t", mx.int64: "int64_t",
    mx.float16: "float16_t", mx.bfloat16: "bfloat16_t", mx.float32: "float", mx.complex64: "complex64_t",
}  # fmt: skip

# What else a .metal file may call them.
DTYPES = {name: dtype for dtype, name in NAMES.items()} | {
    "char": mx.int8, "uchar": mx.uint8, "short": mx.int16, "ushort": mx.uint16, "int": mx.int32, "uint": mx.uint32,
    "long": mx.int64, "ulong": mx.uint64, "size_t": mx.uint64, "half": mx.float16, "bfloat": mx.bfloat16,
}  # fmt: skip


def type_name(dtype: mx.Dtype) -> str:
    """The name of a dtype in Metal.

    Raises:
        ValueError: Metal has none, as for float64.
    """
    if dtype not in NAMES:
        raise ValueError(f"Metal has no {dtype}: convert the array, for example with .astype(mx.float32).")
    return NAMES[dtype]
