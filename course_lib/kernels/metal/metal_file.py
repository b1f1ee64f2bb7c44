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
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np

from course_lib.kernels.metal.diagnostics import explain
from course_lib.kernels.metal.dtypes import DTYPES, NAMES
from course_lib.kernels.metal.errors import MetalSyntaxError, UnsupportedMetal
from course_lib.kernels.metal.includes import inline
from course_lib.kernels.metal.kernel import MetalKernel
from course_lib.kernels.metal.signature import ATTRIBUTES, CONSTANT_ELEMENTS, Body
from course_lib.kernels.metal.tokens import Code

_SPACES = ("device", "constant", "threadgroup", "thread")


@dataclass(frozen=True)
class FileParameter:
    """A parameter of a kernel in a file.

    Attributes:
        name: in the file.
        type: its type in Metal, without address space, const, * and &.
        space: "device" or "constant"; None for an attribute.
        sign: "*" or "&"; "" for an attribute.
        const: whether it is an input.
        index: of the buffer; None for an attribute.
        attribute: its attribute, or None.
    """

    name: str
    type: str
    space: str | None = None
    sign: str = ""
    const: bool = False
    index: int | None = None
    attribute: str | None = None

    @property
    def generated(self) -> str:
        """The name that MLX's signature has for it."""
        return f"{self.name}_{'in' if self.const else 'out'}"

    def binding(self, number: bool) -> str:
        """The statement that gives the file's name to MLX's parameter; `number`: MLX's is a reference to one."""
        if self.attribute is None:
            kind = f"{'const ' if self.const else ''}{self.space} {self.type}"
            if self.sign == "*":
                return f"{kind}* {self.name} = ({kind}*){self.generated};"
            return f"{kind}& {self.name} = *({kind}*){'&' if number else ''}{self.generated};"
        vector = re.fullmatch(r"(\w+?)([23])", self.type)
        value = self.attribute
        if ATTRIBUTES[self.attribute] == "uint3":
            value += {"2": ".xy", "3": ""}[vector[2]] if vector else ".x"
        return f"{self.type} {self.name} = {self.type}({value});"


@dataclass(frozen=True)
class FileKernel:
    """A kernel of a file: its name, template parameters [(kind, name, default or "")], parameters, and where it lies.

    `first` and `last` are token indices of the whole function, `open` and `close` those of its body's braces.
    """

    name: str
    template: tuple[tuple[str, str, str], ...]
    parameters: tuple[FileParameter, ...]
    first: int
    open: int
    close: int
    host_name: str | None = None


@dataclass(frozen=True)
class Instance:
    """`template [[host_name("f_half")]] [[kernel]] ... f<half, 64>...;`: what it is called, and of what."""

    host_name: str
    kernel: str
    arguments: tuple[str, ...]
    first: int
    last: int


def load_metal(path: str | Path, name: str, *, compile_options: dict | None = None, device: str | None = None) -> MetalKernel:
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
    kernels = _kernels(code)
    return [k.host_name or k.name for k in kernels if not k.template] + [i.host_name for i in _instances(code)] + [
        k.name for k in kernels if k.template
    ]  # fmt: skip


def _load(text: str, texts: dict[str, str], file: str, name: str, compile_options, device) -> MetalKernel:
    code = Code(text, file)
    kernels, instances = _kernels(code), _instances(code)
    instance = next((i for i in instances if i.host_name == name), None)
    wanted = instance.kernel if instance else name
    kernel = next((k for k in kernels if wanted in (k.name, k.host_name)), None)
    if kernel is None:
        known = [*(k.host_name or k.name for k in kernels), *(i.host_name for i in instances)]
        raise ValueError(f"{Path(file).name} has no kernel {name!r}; it has: {', '.join(known) or 'none'}.")
    _check_parameters(code, kernel)
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


# --- reading -------------------------------------------------------------------------------------------------


def _kernels(code: Code) -> list[FileKernel]:
    found, text = [], code.text
    for i, word in enumerate(text):
        if word != "kernel" or code.depth[i]:
            continue
        first = code.statement_start(i)
        if text[first] == "template" and text[first + 1] != "<":
            continue  # an instantiation
        j = i
        while j < len(text) and not (text[j] == "(" and not _in_attribute(code, j)):
            if text[j] in (";", "{"):
                break
            j += 1
        if j == len(text) or text[j] != "(" or text[code.match[j] + 1] != "{":
            continue
        open_ = code.match[j] + 1
        host = next((text[k + 2].strip('"') for k in range(first, j) if text[k] == "host_name"), None)
        found.append(
            FileKernel(
                text[j - 1], _template_parameters(code, first), _parameters(code, j, text[j - 1]), first, open_,
                code.match[open_], host,
            )
        )  # fmt: skip
    return found


def _in_attribute(code: Code, i: int) -> bool:
    return any(code.text[k] == "[[" and k < i < code.match[k] for k in range(max(0, i - 12), i) if code.text[k] == "[[")


def _template_parameters(code: Code, first: int) -> tuple[tuple[str, str, str], ...]:
    if code.text[first] != "template":
        return ()
    end = code.end_of_angle(first + 1)
    made = []
    for a, b in code.split(first + 2, end - 1):
        stop = next((k for k in range(a, b + 1) if code.text[k] == "="), b + 1)
        made.append((code.between(a, stop - 2), code.text[stop - 1], code.between(stop + 1, b)))
    return tuple(made)


def _parameters(code: Code, open_: int, kernel: str) -> tuple[FileParameter, ...]:
    made, next_index = [], 0
    for first, last in code.split(open_ + 1, code.match[open_] - 1):
        parameter = _parameter(code, first, last, kernel, next_index)
        if parameter.index is not None:
            next_index = parameter.index + 1
        made.append(parameter)
    return tuple(made)


def _parameter(code: Code, first: int, last: int, kernel: str, next_index: int) -> FileParameter:
    text = code.text
    attribute, argument, end = None, None, last
    for i in range(first, last + 1):
        if text[i] == "[[":
            end = min(end, i - 1)
            for k in range(i + 1, code.match[i]):
                if text[k - 1] in ("[[", ",") and text[k] != "maybe_unused":
                    attribute = text[k]
                    argument = text[k + 2] if text[k + 1] == "(" else None
    name = text[end]
    words = text[first:end]
    signs = [w for w in words if w in ("*", "&")]
    space = next((w for w in words if w in _SPACES), None)
    if attribute == "threadgroup" or (signs and space == "threadgroup"):
        raise code.error(end, f"kernel `{kernel}` takes threadgroup memory as an argument, `{name}`, which "
                              "mx.fast.metal_kernel cannot pass: declare it in the body", UnsupportedMetal)  # fmt: skip
    if attribute not in (None, "buffer") and attribute not in ATTRIBUTES:
        raise code.error(end, f"kernel `{kernel}`: [[{attribute}]] is an attribute that mx.fast.metal_kernel cannot "
                              "pass", UnsupportedMetal)  # fmt: skip
    kind_words = [w for w in words if w not in (*_SPACES, "const", "volatile", "*", "&", "restrict")]
    kind = "".join(kind_words) if "<" in kind_words else " ".join(kind_words)
    if attribute in ATTRIBUTES:
        if not re.fullmatch(r"(uint|ushort|int|short|ulong|long|size_t|uint32_t|uint16_t|int32_t)[23]?", kind):
            raise code.error(first, f"`{name}` is a {kind}: [[{attribute}]] is an integer, or a vector of some")
        if kind[-1] in "23" and not kind.endswith("32") and ATTRIBUTES[attribute] != "uint3":
            raise code.error(first, f"`{name}` is a {kind}: [[{attribute}]] is a single integer")
        return FileParameter(name, kind, attribute=attribute)
    if not signs:
        raise code.error(end, f"`{name}` has no attribute: a kernel's parameter is a buffer (device T*, constant T&) or "
                              "has one like [[thread_position_in_grid]]")  # fmt: skip
    if len(signs) > 1 or "[" in words:
        raise code.error(end, f"`{name}` is no plain pointer or reference: mx.fast.metal_kernel passes arrays and "
                              "numbers", UnsupportedMetal)  # fmt: skip
    if space not in ("device", "constant"):
        raise code.error(end, f"`{name}` is a pointer without an address space: write device or constant before its type")
    if argument is not None and not argument.isdigit():
        raise code.error(end, f"`{name}`: the index of its buffer is to be a number, not {argument}")
    const = space == "constant" or "const" in words
    return FileParameter(name, kind, space, signs[0], const, int(argument) if argument else next_index)


def _instances(code: Code) -> list[Instance]:
    found, text = [], code.text
    for i, word in enumerate(text):
        if word != "host_name" or text[i - 1] != "[[":
            continue
        first = code.statement_start(i - 1)
        if text[first] != "template" or text[first + 1] == "<":
            continue
        last = i
        while text[last] != ";":
            last += 1
        host = "".join(part.strip('"') for part in text[i + 2 : code.match[i + 1]])
        at = next((k for k in range(i, last) if text[k + 1] == "<" and text[k] not in ("vec",) and text[k - 1] != "::"), None)
        if at is None:
            continue
        end = code.end_of_angle(at + 1)
        arguments = tuple(code.between(a, b) for a, b in code.split(at + 2, end - 1))
        found.append(Instance(host, text[at], arguments, first, last))
    return found


def _check_parameters(code: Code, kernel: FileKernel) -> None:
    for i, word in enumerate(code.text):
        if word == "function_constant":
            raise code.error(i, "function constants are not passed by mx.fast.metal_kernel: use a template parameter",
                             UnsupportedMetal)  # fmt: skip
    seen: dict[int, str] = {}
    for parameter in kernel.parameters:
        if parameter.index is not None:
            if parameter.index in seen:
                raise code.error(kernel.first, f"`{seen[parameter.index]}` and `{parameter.name}` are both buffer "
                                               f"{parameter.index}")  # fmt: skip
            seen[parameter.index] = parameter.name


# --- writing -------------------------------------------------------------------------------------------------


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
        words.append(f"using {name} = {value};" if kind in ("typename", "class") else f"constexpr {kind} {name} = {value};")
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
