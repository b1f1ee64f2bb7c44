"""Kernels in a .metal file: full signatures, read and turned into what mx.fast.metal_kernel takes.

Everything in the file but its kernels becomes the header. The kernel's body becomes the source, with one line before
it that binds the names of the file's parameters to those that MLX generates:

    kernel void scale(device const float* x [[buffer(0)]],      const device float* x = (const device float*)x_in;
                      device float* y [[buffer(1)]],            device float* y = (device float*)y_out;
                      constant uint& n [[buffer(2)]],           const constant uint& n = n_in;
                      ushort i [[thread_position_in_grid]])     ushort i = ushort(thread_position_in_grid.x);
"""

import re
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np

from course_lib.kernels.metal.diagnostics import explain
from course_lib.kernels.metal.dtypes import DTYPES, NAMES
from course_lib.kernels.metal.errors import MetalSyntaxError
from course_lib.kernels.metal.file_kernel import (
    FileKernel,
    FileParameter,
    Instance,
    check_parameters,
    find_instances,
    find_kernels,
)
from course_lib.kernels.metal.includes import inline
from course_lib.kernels.metal.kernel import MetalKernel
from course_lib.kernels.metal.signature import ATTRIBUTES, CONSTANT_ELEMENTS, Body
from course_lib.kernels.metal.tokens import Code


def load_metal(
    path: str | Path, name: str, *, compile_options: dict | None = None, device: str | None = None
) -> MetalKernel:
    """A kernel of a .metal file.

    Buffers that are `const` or `constant` are inputs, the other `device` ones outputs, both in the order of their
    indices. A template's arguments come with the call; an explicit instantiation has them in the file.

    Args:
        path: of the file. What it includes in quotes is looked for beside it.
        name: of the kernel function, or the host_name of an instantiation.
        compile_options: as in metal_kernel; device likewise.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file has no kernel of this name; the message lists those that it has.
        MetalSyntaxError: it cannot be read; UnsupportedMetal: the kernel has parameters that mx.fast.metal_kernel
            cannot pass.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: load_metal takes the path of a .metal file.")
    texts: dict[str, str] = {}
    try:
        text, texts = inline(path)
        file = str(path.resolve())
        return _load(text, texts, file, name, compile_options, device)
    except MetalSyntaxError as error:
        raise explain(error, getattr(error, "texts", None) or texts or {str(path.resolve()): path.read_text()}) from None


def kernels_in(path: str | Path) -> list[str]:
    """The names of the kernels in a file, and the host names of its instantiations."""
    text, _ = inline(Path(path))
    code = Code(text, str(path))
    kernels = find_kernels(code)
    return [k.host_name or k.name for k in kernels if not k.template] + [i.host_name for i in find_instances(code)] + [
        k.name for k in kernels if k.template
    ]  # fmt: skip


def _load(text: str, texts: dict[str, str], file: str, name: str, compile_options, device) -> MetalKernel:
    code = Code(text, file)
    kernels, instances = find_kernels(code), find_instances(code)
    instance = next((i for i in instances if i.host_name == name), None)
    wanted = instance.kernel if instance else name
    kernel = next((k for k in kernels if wanted in (k.name, k.host_name)), None)
    if kernel is None:
        known = [*(k.host_name or k.name for k in kernels), *(i.host_name for i in instances)]
        raise ValueError(f"{Path(file).name} has no kernel {name!r}; it has: {', '.join(known) or 'none'}.")
    check_parameters(code, kernel)
    inputs = sorted((p for p in kernel.parameters if p.index is not None and p.const), key=lambda p: p.index)
    outputs = sorted((p for p in kernel.parameters if p.index is not None and not p.const), key=lambda p: p.index)
    if not outputs:
        raise code.error(kernel.first, f"kernel `{kernel.name}` writes nothing: it needs a `device T*` that is not const")
    header = _without(code, text, kernels, instances)
    opening = code.tokens[kernel.open]
    body_start, body_end = opening.start + 1, code.tokens[kernel.close].start
    fixed = _fixed_template(kernel, instance)
    bindings = _bindings(kernel, fixed)
    # MLX looks for the attributes' names in the source, and the binding line has them.
    column = " " * opening.column  # so that columns are the file's
    source = f'{bindings}\n#line {opening.line} "{opening.file}"\n{column}{text[body_start:body_end]}'
    source += "\n}" * bindings.count("{")
    body = Body(
        kernel.host_name or kernel.name if instance is None else instance.host_name,
        tuple(p.generated for p in inputs), tuple(p.generated for p in outputs), source, header, False,
        ((file, 1), (f"the parameters of {kernel.name}", 1)), texts, {p.generated: p.name for p in inputs + outputs},
    )  # fmt: skip
    adapt = _adapter(inputs, fixed, kernel.template if instance is None else ())
    made = MetalKernel(body, compile_options=compile_options, device=device, adapt=adapt)
    made.input_names, made.output_names = tuple(p.name for p in inputs), tuple(p.name for p in outputs)
    return made


def _without(code: Code, text: str, kernels: list[FileKernel], instances: list[Instance]) -> str:
    """The text without kernels and instantiations; the lines stay where they were."""
    spans = [(k.first, k.close) for k in kernels] + [(i.first, i.last) for i in instances]
    for first, last in sorted(spans, reverse=True):
        start, end = code.tokens[first].start, code.tokens[last].start + 1
        # What was included inside is kept as lines only: its markers count.
        gone = text[start:end]
        markers = "".join(f"{line}\n" for line in gone.split("\n") if line.startswith("#line"))
        kept = "\n" * gone.count("\n") if not markers else markers
        text = text[:start] + kept + text[end:]
    return text


def _fixed_template(kernel: FileKernel, instance: Instance | None) -> dict[str, tuple[str, str]]:
    """Template parameter -> (kind, argument), of an instantiation."""
    if instance is None:
        return {}
    return {name: (kind, value) for (kind, name, _), value in zip(kernel.template, instance.arguments, strict=False)}


def _bindings(kernel: FileKernel, fixed: dict[str, tuple[str, str]]) -> str:
    words = []
    for name, (kind, value) in fixed.items():
        is_type = kind in ("typename", "class")
        words.append(f"using {name} = {value};" if is_type else f"constexpr {kind} {name} = {value};")
    inner, numbers = [], {*DTYPES, *(name for _, name, _ in kernel.template)}
    for parameter in kernel.parameters:
        binding = parameter.binding(parameter.type in numbers)
        if parameter.attribute == parameter.name:
            if parameter.type == ATTRIBUTES[parameter.attribute]:
                continue  # MLX's own parameter is just that
            # An inner block may have a variable of the same name as the function's parameter.
            words.append(binding.replace(f" {parameter.name} =", f" {parameter.name}_as =", 1))
            inner.append(f"{parameter.type} {parameter.name} = {parameter.name}_as;")
        else:
            words.append(binding)
    if inner:
        words.append("{ " + " ".join(inner))
    # Attributes that keep their name must be in the source to be passed.
    kept = [p.attribute for p in kernel.parameters if p.attribute == p.name]
    return " ".join(words) + (f" // {' '.join(kept)}" if kept else "")


def _adapter(inputs: list[FileParameter], fixed, parameters: tuple[tuple[str, str, str], ...]) -> Callable:
    """What makes of a call's inputs and template those that the file wants: its types, address spaces, defaults."""

    def adapt(values, given: dict):
        template = _with_defaults(parameters, given)
        arrays, in_device_memory = [], set()
        for i, (parameter, value) in enumerate(zip(inputs, values, strict=True)):
            dtype = _dtype(parameter.type, template, fixed)
            array = value if isinstance(value, mx.array) else None
            if array is None:
                array = mx.array(value) if dtype is None else mx.array(np.asarray(value)).astype(dtype)
            if parameter.sign == "&" and dtype is not None:
                array = _scalar(parameter, array, dtype)
            elif array.ndim == 0:
                array = array.reshape(1)
            if parameter.space == "device":
                if parameter.sign == "*":
                    in_device_memory.add(i)
            elif array.size >= CONSTANT_ELEMENTS:
                raise ValueError(
                    f"`{parameter.name}` is in constant memory, where mx.fast.metal_kernel puts inputs of fewer than "
                    f"{CONSTANT_ELEMENTS} elements only, and it has {array.size}: declare it `device const`."
                )
            if dtype is not None and parameter.sign == "*" and array.dtype != dtype and array.dtype.size != dtype.size:
                _refuse_dtype(parameter, array, dtype)
            arrays.append(array)
        return arrays, frozenset(in_device_memory), tuple(template.items())

    return adapt


def _with_defaults(parameters, given: dict) -> dict:
    """The template's arguments in the file's order, those that the call leaves out by their defaults."""
    template, literals = {}, {"true": True, "false": False}
    for _, name, default in parameters:
        if name in given:
            template[name] = given[name]
        elif default in DTYPES:
            template[name] = DTYPES[default]
        elif default in literals:
            template[name] = literals[default]
        elif re.fullmatch(r"(- )?\d+", default):
            template[name] = int(default.replace(" ", ""))
        else:
            raise ValueError(f"The kernel's template needs {name}: give template=[({name!r}, ...), ...].")
    return template | {name: value for name, value in given.items() if name not in template}


def _scalar(parameter: FileParameter, array: mx.array, dtype: mx.Dtype) -> mx.array:
    if array.size != 1:
        raise ValueError(f"`{parameter.name}` is a single {parameter.type}, and was given {array.size} elements.")
    return array.reshape(()).astype(dtype)


def _dtype(kind: str, template: dict, fixed: dict) -> mx.Dtype | None:
    """The dtype of a type in the file; None if it is a vector, a struct or the like."""
    if kind in template and isinstance(template[kind], mx.Dtype):
        return template[kind]
    if kind in fixed:
        kind = fixed[kind][1]
    return DTYPES.get(kind)


def _refuse_dtype(parameter: FileParameter, array: mx.array, dtype: mx.Dtype) -> None:
    # Bytes may be looked at as anything on purpose: packed weights as uchar, say.
    if mx.issubdtype(array.dtype, mx.integer) and mx.issubdtype(dtype, mx.integer):
        return
    raise ValueError(
        f"`{parameter.name}` is {parameter.type}, and was given an array of {NAMES[array.dtype]}: "
        f"convert it with .astype({dtype})."
    )
