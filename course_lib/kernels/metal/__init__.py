"""Metal kernels that run anywhere: on an Apple GPU, and on any CPU, where they are also checked and measured.

    kernel = load_metal("quantized_matmul.metal", "qmv")        a kernel of a .metal file
    kernel = metal_kernel("scale", ["x"], ["y"], "...")         or of the body of one, as mx.fast.metal_kernel
    y, = kernel(inputs=[...], grid=(...), threadgroup=(...), output_shapes=[...], output_dtypes=[...])
    kernel(..., check=True)                                     under the sanitizer: raises what it finds
    seen = kernel.inspect(...)                                  the same, and returns it: seen.findings, seen.traffic

README.md beside this file says what of Metal is supported, how each finding is found and what cannot be found.
"""

from course_lib.kernels.metal.errors import MetalError, MetalFault, MetalSyntaxError, UnsupportedMetal
from course_lib.kernels.metal.finding import Finding
from course_lib.kernels.metal.kernel import Inspection, MetalKernel, metal_kernel
from course_lib.kernels.metal.metal_file import kernels_in, load_metal
from course_lib.kernels.metal.traffic import BufferTraffic, Moved, Touch, Traffic

__all__ = [
    "BufferTraffic",
    "Finding",
    "Inspection",
    "MetalError",
    "MetalFault",
    "MetalKernel",
    "MetalSyntaxError",
    "Moved",
    "Touch",
    "Traffic",
    "UnsupportedMetal",
    "kernels_in",
    "load_metal",
    "metal_kernel",
]
