"""Metal to C++, token by token: the lines stay, so that every message names the line of the .metal file.

What a C++ compiler does not know is rewritten: address spaces, attributes, threadgroup variables, swizzles,
literals. The types and functions are in extensions/emulator/msl. Macros must be expanded before.
"""

import re
from dataclasses import dataclass

from course_lib.kernels.metal.errors import UnsupportedMetal
from course_lib.kernels.metal.overloads import SPACES, drop_duplicates
from course_lib.kernels.metal.tokens import Code

_COMPONENTS = "xyzw"
_KEPT_ATTRIBUTES = {"maybe_unused", "nodiscard", "likely", "unlikely", "fallthrough", "noreturn"}
# The same on every system, where C's own differ in whether they are long or long long.
_RENAMED = {"int64_t": "long", "uint64_t": "ulong"}

_MATRIX = re.compile(r"(float|half)[234]x[234]$")
_TEXTURE = re.compile(r"(texture|depth)(1d|2d|3d|cube|_buffer)\w*$")
_UNSUPPORTED = {
    "double": "`double`: Metal has no 64-bit floating point",
    "sampler": "samplers", "imageblock": "imageblocks", "vertex": "vertex functions",
    "fragment": "fragment functions", "visible_function_table": "function tables",
    "intersection_function_table": "function tables", "raytracing": "ray tracing",
    "function_constant": "function constants", "simdgroup_async_copy": "asynchronous copies",
    "simdgroup_event": "asynchronous copies", "atomic_thread_fence": "fences between threadgroups",
    "os_log": "logging", "cooperative_tensor": "tensor operations", "tensor_ops": "tensor operations",
    "mpp": "Metal performance primitives", "command_buffer": "indirect command buffers",
    "mesh": "mesh shaders", "object_data": "mesh shaders", "ray_data": "ray tracing",
    "asm": "inline assembly", "goto": "`goto`, which Metal forbids", "throw": "exceptions, which Metal forbids",
    "try": "exceptions, which Metal forbids", "new": "`new`, which Metal forbids",
    "virtual": "virtual functions, which Metal forbids", "dynamic_cast": "`dynamic_cast`, which Metal forbids",
}  # fmt: skip
_UNSUPPORTED_CALLS = {"mesh", "vertex", "fragment", "sampler", "mpp", "os_log"}  # may be a variable's name


@dataclass(frozen=True)
class Translation:
    """C++ and the way back.

    Attributes:
        cpp: the translation, with `#line` markers.
        places: (file, line) -> [(column in cpp, length in cpp, column in the source, token)], in order.
    """

    cpp: str
    places: dict[tuple[str, int], list[tuple[int, int, int, str]]]

    def column(self, file: str, line: int, column: int) -> int | None:
        """The source's column for a column of the translation; None if there is no such line."""
        entry = self._entry(file, line, column)
        return entry and entry[2]

    def token(self, file: str, line: int, column: int) -> tuple[str, int] | None:
        """The token there, and how many of the same stand before it in its line."""
        entry = self._entry(file, line, column)
        if entry is None:
            return None
        before = [other for other in self.places[file, line] if other[0] < entry[0] and other[3] == entry[3]]
        return entry[3], len(before)

    def _entry(self, file: str, line: int, column: int) -> tuple[int, int, int, str] | None:
        entries = self.places.get((file, line))
        if not entries:
            return None
        return max((e for e in entries if e[0] <= column), default=entries[0])


def translate(source: str, file: str, kernel: str) -> Translation:
    """Translate preprocessed Metal.

    Args:
        source: Metal, without directives other than `#line`.
        file: the name of the lines before the first marker.
        kernel: the name of the kernel function: a `return` in it is told to the emulator.

    Raises:
        UnsupportedMetal: it uses what the emulator does not have.
        MetalSyntaxError: its brackets do not match.
    """
    code = Code(source, file)
    refuse(code)
    drop_duplicates(code)
    _strip_attributes(code)
    _mark_returns(code, kernel)
    threadgroup_variables = 0
    for i, token in enumerate(code.tokens):
        if not token.out:
            continue
        if token.kind == "number":
            token.out = number(token.text)
        elif token.kind != "name":
            continue
        elif token.text == "threadgroup" and declares_variable(code, i):
            threadgroup_variables = _share(code, i, threadgroup_variables)
        elif token.text == "constant":
            token.out = _constant(code, i)
        elif token.text in SPACES:
            token.out = ""
        elif token.text in _RENAMED:
            token.out = _RENAMED[token.text]
        elif i and code.text[i - 1] == "." and re.fullmatch(r"[xyzw]{2,4}|[rgba]{2,4}", token.text):
            token.out = _swizzle(code, i)
    return written(code)


def refuse(code: Code) -> None:
    """Name what is not supported, or not Metal.

    Raises:
        UnsupportedMetal: there is some of it.
    """
    for i, token in enumerate(code.tokens):
        if token.kind != "name":
            continue
        what = _UNSUPPORTED.get(token.text)
        if what and token.text in _UNSUPPORTED_CALLS and code.text[i - 1] not in (";", "}", "{", "::", "<"):
            what = None
        if what and i and code.text[i - 1] in (".", "->"):
            what = None
        if _MATRIX.match(token.text):
            what = f"`{token.text}`: matrices other than simdgroup_matrix"
        elif _TEXTURE.match(token.text):
            what = f"`{token.text}`: textures"
        if what:
            raise code.error(i, f"{what}: not supported here", UnsupportedMetal)


def _strip_attributes(code: Code) -> None:
    for i, text in enumerate(code.text):
        if text == "[[" and code.text[i + 1] not in _KEPT_ATTRIBUTES:
            code.erase(i, code.attribute_end(i))


def _mark_returns(code: Code, kernel: str) -> None:
    """A thread that leaves a kernel early takes no part in what follows; one that reaches the end has missed it."""
    text = code.text
    name = next(i for i, t in enumerate(text) if t == kernel and text[i - 1] == "void")
    brace = code.match[name + 1] + 1
    assert text[brace] == "{", text[brace]
    for i in range(brace, code.match[brace]):
        # Inside a lambda of the kernel it would be that lambda's; lambdas are told by the `]` before them.
        if text[i] == "return" and text[i + 1] == ";" and not _in_lambda(code, i, brace):
            code.tokens[i].out = "return ::emulator_returned()"


def _in_lambda(code: Code, i: int, outermost: int) -> bool:
    while i > outermost:
        i -= 1
        if code.text[i] == "}":
            i = code.match[i]
        elif code.text[i] == "{":
            before = i - 1
            if code.text[before] == ")":
                before = code.match[before] - 1
            if code.text[before] == "]":
                return True
    return False


def number(text: str) -> str:
    """A floating-point literal without suffix is a float in Metal."""
    plain = text.lower().replace("'", "")
    hexadecimal = plain.startswith("0x")
    floating = "p" in plain if hexadecimal else "." in plain or "e" in plain
    if plain.endswith("bf") and not hexadecimal:
        return f"bfloat({text[:-2]}f)"
    if plain.endswith("h") and not hexadecimal:
        return f"half({text[:-1]}f)"
    return text + "f" if floating and plain[-1] != "f" else text


def _constant(code: Code, i: int) -> str:
    """`constant` makes a const, unless the declaration says so already or it qualifies a member function."""
    text = code.text
    if text[i - 1] == ")" or (text[i - 1] == "const" and text[i - 2] == ")"):
        return ""
    for step in (-1, 1):
        at = i + step
        while 0 <= at < len(text) and (code.tokens[at].kind == "name" or text[at] == "::"):
            if text[at] in ("const", "constexpr"):
                return ""
            at += step
    return "const"


def declares_variable(code: Code, i: int) -> bool:
    """Whether the `threadgroup` at i declares storage, and not a pointer or reference to some."""
    return bool(code.depth[i]) and not code.inner[i] and code.text[i - 1] in ("{", "}", ";", ":", ")")


def _share(code: Code, i: int, count: int) -> int:
    """`threadgroup T a[4], b;` becomes references to memory that the emulator hands out."""
    text = code.text
    end = i
    while text[end] != ";":
        end = code.match[end] + 1 if text[end] in ("(", "[", "{") else end + 1
    parts = code.split(i + 1, end - 1)
    first, last = parts[0]
    stop = next((k for k in range(first, last + 1) if text[k] in ("[", "=", "{")), last + 1)
    name = stop - 1
    pointer = any(t in ("*", "&", "(") for t in text[first:name])
    if pointer:
        code.tokens[i].out = ""
        return count
    for from_, to in parts:
        if any(t in ("=", "{") for t in text[from_:to + 1]):
            at = name if from_ == first else from_
            raise code.error(at, f"threadgroup memory cannot be initialised where `{text[at]}` is declared")
    kind, made = code.between(first, name - 1), []
    for from_, to in parts:
        at = name if from_ == first else from_
        count += 1
        spelling = f"{kind} {code.between(at + 1, to)}".strip()
        made.append(f'auto& {text[at]} = ::emulator::threadgroup_variable<{count}, {spelling}>("{text[at]}")')
    code.erase(i, end - 1)
    code.tokens[i].out = "; ".join(made)
    return count


def _swizzle(code: Code, i: int) -> str:
    letters = code.tokens[i].text.translate(str.maketrans("rgba", _COMPONENTS))
    assigned = code.text[i + 1] in ("=", "+=", "-=", "*=", "/=")
    indices = ", ".join(str(_COMPONENTS.index(letter)) for letter in letters)
    return f"template {'set' if assigned else 'get'}<{indices}>()"


def written(code: Code) -> Translation:
    """The tokens as they are now."""
    parts, places, column = [], {}, 1
    for token in code.all:
        out = token.out
        if token.kind == "marker":
            number, name = re.search(r'(\d+)[ ]+"([^"]*)"', token.text).groups()
            out = f'#line {number} "{name}"'
        elif token.kind == "directive":
            out = ""
        elif out and token.kind not in ("space", "newline"):
            places.setdefault((token.file, token.line), []).append((column, len(out), token.column, token.text))
        parts.append(out)
        column = len(out) - out.rindex("\n") if "\n" in out else column + len(out)
    return Translation("".join(parts), places)
