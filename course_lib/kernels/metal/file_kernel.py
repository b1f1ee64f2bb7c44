"""What a .metal file has in it: kernels with their parameters, and instantiations of their templates."""

import re
from dataclasses import dataclass

from course_lib.kernels.metal.errors import UnsupportedMetal
from course_lib.kernels.metal.signature import ATTRIBUTES
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
        says_const: whether the file writes `const`: helpers may want a `constant T&`, which a const one does not bind to.
        index: of the buffer; None for an attribute.
        attribute: its attribute, or None.
    """

    name: str
    type: str
    space: str | None = None
    sign: str = ""
    const: bool = False
    says_const: bool = False
    index: int | None = None
    attribute: str | None = None

    @property
    def generated(self) -> str:
        """The name that MLX's signature has for it."""
        return f"{self.name}_{'in' if self.const else 'out'}"

    def binding(self, number: bool) -> str:
        """The statement that gives the file's name to MLX's parameter; `number`: MLX's is a reference to one."""
        if self.attribute is None:
            kind = f"{'const ' if self.says_const else ''}{self.space} {self.type}"
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


def find_kernels(code: Code) -> list[FileKernel]:
    """The kernel functions of a file."""
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
    says_const = "const" in words
    index = int(argument) if argument else next_index
    return FileParameter(name, kind, space, signs[0], space == "constant" or says_const, says_const, index)


def find_instances(code: Code) -> list[Instance]:
    """Its explicit instantiations that have a host_name."""
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
        named = (k for k in range(i, last) if text[k + 1] == "<" and text[k] != "vec" and text[k - 1] != "::")
        at = next(named, None)
        if at is None:
            continue
        end = code.end_of_angle(at + 1)
        arguments = tuple(code.between(a, b) for a, b in code.split(at + 2, end - 1))
        found.append(Instance(host, text[at], arguments, first, last))
    return found


def check_parameters(code: Code, kernel: FileKernel) -> None:
    """Refuse what only the whole of a kernel shows.

    Raises:
        MetalSyntaxError: two buffers have one index; UnsupportedMetal: there are function constants.
    """
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
