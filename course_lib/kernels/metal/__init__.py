from course_lib.kernels.metal.errors import MetalError, MetalFault, MetalSyntaxError, UnsupportedMetal
from course_lib.kernels.metal.finding import Finding
from course_lib.kernels.metal.kernel import Inspection, MetalKernel, metal_kernel
from course_lib.kernels.metal.traffic import Traffic
from course_lib.kernels.metal.metal_file import kernels_in, load_metal
