"""The kernel that mx.fast.metal_kernel generates around a body: parameters from the arrays, attributes by name.

The rules are MLX's (`write_signature` in mlx/backend/common/metal_kernel.cpp): an input of fewer than 8 elements
lies in `constant` memory, a 0-d one is a reference; `x_shape`, `x_strides`, `x_ndim` and the attributes come if the
body mentions them; a template is instantiated with the arguments of the call.
"""

from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx

from course_lib.kernels.metal.dtypes import type_name

CONSTANT_ELEMENTS = 8  # an input of fewer lies in constant memory

ATTRIBUTES = {
    "dispatch_quadgroups_per_threadgroup": "uint", "dispatch_simdgroups_per_threadgroup": "uint",
    "dispatch_threads_per_threadgroup": "uint3", "grid_origin": "uint3", "grid_size": "uint3",
    "quadgroup_index_in_threadgroup": "uint", "quadgroups_per_threadgroup": "uint",
    "simdgroup_index_in_threadgroup": "uint", "simdgroups_per_threadgroup": "uint",
    "thread_execution_width": "uint", "thread_index_in_quadgroup": "uint", "thread_index_in_simdgroup": "uint",
    "thread_index_in_threadgroup": "uint", "thread_position_in_grid": "uint3",
    "thread_position_in_threadgroup": "uint3", "threadgroup_position_in_grid": "uint3",
    "threadgroups_per_grid": "uint3", "threads_per_grid": "uint3", "threads_per_simdgroup": "uint",
    "threads_per_threadgroup": "uint3",
}  # fmt: skip


@dataclass(frozen=True)
class Body:
    """What a kernel is made of, before it is called.

    Attributes:
        name: the kernel's.
        input_names: of the parameters; output_names likewise.
        source: the body of the function.
        header: what stands before the function.
        atomic_outputs: whether outputs are `device atomic<T>*`.
        first_lines: how the markers call header and source: two (file, line).
        texts: file -> its text, for messages.
        labels: parameter -> what to call it in findings and traffic, where that is not its own name.
    """

    name: str
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    source: str
    header: str
    atomic_outputs: bool
    first_lines: tuple[tuple[str, int], tuple[str, int]]
    texts: dict[str, str]
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Parameter:
    """One buffer of the generated function.

    Attributes:
        name: in the source.
        type: its element type in Metal.
        role: "input", "shape", "strides", "ndim" or "output".
        array: the index of the input or output that it belongs to.
        constant: whether it lies in constant memory.
        reference: whether it is `T&` and not `T*`.
    """

    name: str
    type: str
    role: str
    array: int
    constant: bool
    reference: bool
    atomic: bool = False

    def declaration(self, index: int) -> str:
        element = f"atomic<{self.type}>" if self.atomic else self.type
        sign = "&" if self.reference else "*"
        if self.role == "output":
            return f"  device {element}{sign} {self.name} [[buffer({index})]]"
        # MLX writes the two words in this order for inputs, and in the same for what describes them.
        space = "constant" if self.constant else "device"
        return f"  const {space} {element}{sign} {self.name} [[buffer({index})]]"


@dataclass(frozen=True)
class Signature:
    """The generated function.

    Attributes:
        function: its name.
        parameters: its buffers, in order.
        attributes: names of the attributes it takes, in order.
        template: [(name, value)]; a value is an mx.Dtype, an int or a bool.
    """

    function: str
    parameters: tuple[Parameter, ...]
    attributes: tuple[str, ...]
    template: tuple[tuple[str, Any], ...]

    @property
    def template_arguments(self) -> str:
        """`<half, 64, true>`, or nothing."""
        return f"<{', '.join(_spelled(value) for _, value in self.template)}>" if self.template else ""


def sign(body: Body, inputs: list[tuple[int, int, mx.Dtype]], output_dtypes: list[mx.Dtype], template) -> Signature:
    """The signature for a call.

    Args:
        body: the kernel.
        inputs: (ndim, size, dtype) of each.
        output_dtypes: one an output.
        template: [(name, mx.Dtype or int or bool)].
    """
    parameters = []
    for i, (name, (ndim, size, dtype)) in enumerate(zip(body.input_names, inputs, strict=True)):
        constant = size < CONSTANT_ELEMENTS
        parameters.append(Parameter(name, type_name(dtype), "input", i, constant, ndim == 0))
        if ndim > 0:
            for role, kind in (("shape", "int"), ("strides", "int64_t"), ("ndim", "int")):
                if f"{name}_{role}" in body.source:
                    parameters.append(Parameter(f"{name}_{role}", kind, role, i, True, role == "ndim"))
    for i, (name, dtype) in enumerate(zip(body.output_names, output_dtypes, strict=True)):
        parameters.append(Parameter(name, type_name(dtype), "output", i, False, False, body.atomic_outputs))
    attributes = tuple(name for name in ATTRIBUTES if name in body.source)
    parts = [f"custom_kernel_{body.name}", *(_spelled(value) for _, value in template)]
    for ndim, size, dtype in inputs:
        parts.append(type_name(dtype) + ("s" if ndim == 0 else "c" if size < CONSTANT_ELEMENTS else ""))
    parts += [type_name(dtype) for dtype in output_dtypes]
    return Signature("_".join(parts).replace("-", "_"), tuple(parameters), attributes, tuple(template))


def metal_source(body: Body, signature: Signature) -> str:
    """The whole of it, with markers that name the lines of header and source."""
    lines = [_marker(*body.first_lines[0]), body.header, _marker(f"the signature of {body.name}", 1)]
    if signature.template:
        kinds = [f"{_kind(value)} {name}" for name, value in signature.template]
        lines.append(f"template <{', '.join(kinds)}>")
    declared = [p.declaration(i) for i, p in enumerate(signature.parameters)]
    declared += [f"  {ATTRIBUTES[name]} {name} [[{name}]]" for name in signature.attributes]
    lines.append(f"[[kernel]] void {signature.function}(")
    lines.append(",\n".join(declared) + ") {")
    lines += [_marker(*body.first_lines[1]), body.source, _marker(f"the end of {body.name}", 1), "}"]
    return "\n".join(lines) + "\n"


def _marker(file: str, line: int) -> str:
    return f'#line {line} "{file}"'


def _kind(value) -> str:
    return "bool" if isinstance(value, bool) else "int" if isinstance(value, int) else "typename"


def _spelled(value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else type_name(value)
