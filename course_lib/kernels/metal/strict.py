"""Strict mode: reject what Metal's compiler would and a C++ compiler does not.

The source as MLX would emit it is written as C++ for OpenCL, whose address spaces are Metal's under other names, and
clang checks its types (from the Python package ziglang, which is on every platform, or one of version 16 or later). What OpenCL allows and Metal does
not is found by passes of our own: a pointer without an address space, a threadgroup variable outside a kernel,
recursion. What both allow here and Metal may not is not found: this is not Metal's compiler.
"""

import re
import shutil
import subprocess
import sys
from functools import cache
from importlib.util import find_spec

from course_lib.kernels.metal.compile import check_cpp, compiler_here
from course_lib.kernels.metal.diagnostics import explain
from course_lib.kernels.metal.errors import MetalError, MetalSyntaxError
from course_lib.kernels.metal.overloads import SPACES
from course_lib.kernels.metal.preprocess import preprocess
from course_lib.kernels.metal.signature import Body, Signature
from course_lib.kernels.metal.tokens import Code
from course_lib.kernels.metal.translate import Translation, declares_variable, number, refuse, written
from course_lib.paths import EXTENSIONS

_DECLARATIONS = EXTENSIONS / "emulator" / "strict" / "declarations.h"
_OPENCL_SPACES = {"device": "__global", "constant": "__constant", "threadgroup": "__local", "thread": "__private"}
_OPENCL_KEYWORDS = {"local", "global", "private", "generic", "pipe", "read_only", "write_only", "read_write"}
_VECTOR = re.compile(r"(float|half|bfloat|u?int|u?short|u?char|u?long|bool)[234]$")
_CONTROL = {"if", "for", "while", "switch", "return", "sizeof", "decltype", "alignas", "static_assert", "catch"}
_NO_VARIABLE = {"using", "typedef", "struct", "class", "enum", "union", "template", "static_assert", "extern", "}"}
_FLAGS = [
    "-x", "clcpp", "-cl-std=clc++2021", "-target", "x86_64-linux-gnu", "-cl-no-stdinc", "-nogpulib", "-fsyntax-only",
    "-Wno-everything", "-ferror-limit=20", "-fno-caret-diagnostics", "-fno-color-diagnostics",
]  # fmt: skip


def check_types(source: str, body: Body, signature: Signature) -> None:
    """Check a kernel's source.

    Args:
        source: as metal_source makes it.
        body: the kernel.
        signature: of the call.

    Raises:
        MetalSyntaxError: Metal's compiler would reject it; the message shows the line.
        MetalError: there is no clang that can.
    """
    try:
        check_cpp(source, signature)  # unknown names, float to bfloat, ...
        code = Code(preprocess(source, compiler_here(), utilities=False), "kernel")
        refuse(code)
        _want_address_spaces(code)
        _want_constant_globals(code)
        _refuse_threadgroup_in_helpers(code, signature.function)
        _refuse_recursion(code)
        _run_clang(_as_opencl(code, signature))
    except MetalSyntaxError as error:
        raise explain(error, body.texts) from None


@cache
def _clang() -> list[str]:
    if find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "clang"]
    clang = shutil.which("clang")
    if clang is None or not _knows_all(clang):
        raise MetalError(
            "strict mode needs clang 16 or later, or the one in the package ziglang: "
            f"{sys.executable} -m pip install ziglang"
        )
    return [clang]


def _knows_all(clang: str) -> bool:
    """Whether a clang takes the flags and Metal's declarations: older ones have no bfloat."""
    command = [clang, *_FLAGS, "-include", str(_DECLARATIONS), "-"]
    return subprocess.run(command, input="", capture_output=True, text=True, check=False).returncode == 0


def _run_clang(translation: Translation) -> None:
    command = [*_clang(), *_FLAGS, "-include", str(_DECLARATIONS), "-"]
    ran = subprocess.run(command, input=translation.cpp, capture_output=True, text=True, check=False)
    if ran.returncode == 0:
        return
    context = None
    for line in ran.stderr.splitlines():
        match = re.match(r"(.+?):(\d+):(\d+): (error|note): (.*)", line)
        if not match:
            continue
        file, at, column, kind, words = match[1], int(match[2]), int(match[3]), match[4], match[5]
        place = translation.column(file, at, column)
        if kind == "error" and context is None:
            context = _in_metal(words)
            if place is not None:
                error = MetalSyntaxError(context)
                error.place = (file, at, place)
                raise error
        elif context is not None and place is not None:  # the error is in a declaration; this is who used it
            error = MetalSyntaxError(context)
            error.place = (file, at, place)
            raise error
    raise MetalSyntaxError(context or ran.stderr.strip()[:2000])


def _in_metal(words: str) -> str:
    for metal, opencl in _OPENCL_SPACES.items():
        words = words.replace(opencl, metal)
    return words.replace("msl_make", "the constructor of a vector")


# --- what OpenCL allows and Metal does not ---


def _functions(code: Code):
    """(name's index, opening parenthesis, opening brace) of every function defined."""
    text = code.text
    for i, word in enumerate(text):
        if word != "(" or code.tokens[i - 1].kind != "name" or text[i - 1] in _CONTROL or i == 0:
            continue
        after = code.match[i] + 1
        while after < len(text) and text[after] in (*SPACES, "const", "noexcept"):
            after += 1
        if after < len(text) and text[after] == ":" and text[i - 2] not in ("?", ":"):  # constructor's initialisers
            while after < len(text) and text[after] not in ("{", ";"):
                after = code.match[after] + 1 if text[after] == "(" else after + 1
        expression = text[i - 2] in ("=", "return", "?", ",", ".", "->", "(", "new")
        if after < len(text) and text[after] == "{" and not expression:
            yield i - 1, i, after


def _want_address_spaces(code: Code) -> None:
    text = code.text
    for _, open_, brace in _functions(code):
        for first, last in code.split(open_ + 1, code.match[open_] - 1):
            stop = next((k for k in range(first, last + 1) if text[k] in ("=", "[[")), last + 1)
            at = _bare(code, first, stop)
            if at is not None:
                what = "reference" if text[at] == "&" else "pointer"
                raise code.error(first, f"the {what} `{code.between(first, stop - 1)}` has no address space: write device, "
                                        "threadgroup, constant or thread before its type")  # fmt: skip
    for i, word in enumerate(text):
        if word not in ("*", "&") or not code.depth[i] or code.inner[i]:
            continue
        first = code.statement_start(i)
        words = text[first:i]
        declares = words and all(code.tokens[k].kind == "name" or text[k] in ("::", "<", ">", ",") for k in range(first, i))
        named = code.tokens[i + 1].kind == "name" and text[i + 2] in ("=", ";", "{")
        if declares and named and "return" not in words and _bare(code, first, i + 1) is not None:
            if word == "*" and text[i + 2] == ";" and len(words) == 1 and not _is_type(words[0]):
                continue  # a product that nobody uses
            what = "pointer" if word == "*" else "reference"
            raise code.error(first, f"the {what} `{code.between(first, i + 1)}` has no address space: write device, "
                                    "threadgroup, constant or thread before its type")  # fmt: skip


def _want_constant_globals(code: Code) -> None:
    text, i = code.text, 0
    while i < len(text):
        end = i  # of one declaration outside of any braces
        while end < len(text) and text[end] not in (";", "=", "{"):
            end = code.match[end] + 1 if text[end] in ("(", "[", "[[") else end + 1
        head = text[i:end]
        if head and head[0] == "namespace":
            i = end + 1
            continue
        names = [k for k in range(i, end) if code.tokens[k].kind == "name"]
        declares = len(names) > 1 and "(" not in head and head[0] not in _NO_VARIABLE and "operator" not in head
        if declares and "constant" not in head:
            raise code.error(i, f"`{code.between(i, end - 1)}` is a variable outside of any function: Metal has such in constant "
                                "memory only, so write constant before its type")  # fmt: skip
        while end < len(text) and text[end] not in (";", "{"):
            end = code.match[end] + 1 if text[end] in ("(", "[") else end + 1
        if end < len(text) and text[end] == "{":
            end = code.match[end]
            if end + 1 < len(text) and text[end + 1] == ";":
                end += 1
        i = end + 1


def _is_type(word: str) -> bool:
    return bool(_VECTOR.match(word)) or word in (
        "float", "half", "bfloat", "int", "uint", "short", "ushort", "char", "uchar", "long", "ulong", "bool", "size_t",
        "uint8_t", "uint16_t", "uint32_t", "uint64_t", "int8_t", "int16_t", "int32_t", "int64_t", "T", "U",
    )  # fmt: skip


def _bare(code: Code, first: int, end: int) -> int | None:
    """The index of the * or & of a declaration in first..end that names no address space; None if all is well."""
    words, angles = code.text[first:end], 0
    if set(words) & {*SPACES, "auto"}:
        return None
    for k in range(first, end):
        angles += {"<": 1, ">": -1}.get(code.text[k], 0)
        if code.text[k] in ("*", "&") and not angles:
            return k
    return None


def _refuse_threadgroup_in_helpers(code: Code, kernel: str) -> None:
    spans = [(brace, code.match[brace], code.text[name]) for name, _, brace in _functions(code)]
    for i, word in enumerate(code.text):
        if word == "threadgroup" and declares_variable(code, i) and not _is_pointer(code, i):
            around = [name for start, end, name in spans if start < i < end]
            if around and kernel not in around:
                raise code.error(i, f"a threadgroup variable can be declared in a kernel only, not in `{around[-1]}`: declare "
                                    "it in the kernel and pass a pointer")  # fmt: skip


def _is_pointer(code: Code, i: int) -> bool:
    while code.text[i] not in (";", "=", "[", "{"):
        if code.text[i] in ("*", "&"):
            return True
        i += 1
    return False


def _refuse_recursion(code: Code) -> None:
    calls: dict[str, dict[str, int]] = {}
    defined: dict[str, int] = {}
    for name, _, brace in _functions(code):
        own = code.text[name]
        defined[own] = defined.get(own, 0) + 1
        called = calls.setdefault(own, {})
        for k in range(brace, code.match[brace]):
            # f<N - 1>(...) may be a template's recursion, which ends at compile time; metal::f is the library's.
            if code.tokens[k].kind == "name" and code.text[k + 1] == "(" and code.text[k - 1] not in ("::", ".", "->"):
                called.setdefault(code.text[k], k)
    for start in calls:
        # Overloads call each other by one name.
        if defined[start] == 1 and (at := _calls_itself(start, calls, defined)) is not None:
            raise code.error(at, f"`{start}` calls itself, directly or through others: Metal has no recursion")


def _calls_itself(start: str, calls, defined) -> int | None:
    seen, stack = set(), [(name, at) for name, at in calls[start].items()]
    while stack:
        name, at = stack.pop()
        if name == start:
            return at
        if name in calls and name not in seen and defined[name] == 1:
            seen.add(name)
            stack += [(callee, at) for callee in calls[name]]
    return None


# --- as OpenCL ---


def _as_opencl(code: Code, signature: Signature) -> Translation:
    text = code.text
    classes = _qualify_members(code)
    for i, word in enumerate(text):
        if word == "[[":
            code.erase(i, code.attribute_end(i))
    for i, token in enumerate(code.tokens):
        word = token.text
        if not token.out:
            continue
        if token.kind == "number":
            token.out = number(word).replace("bfloat(", "(bfloat)(").replace("half(", "(half)(")
        elif token.kind != "name":
            continue
        elif word == "threadgroup" and declares_variable(code, i) and not _is_pointer(code, i):
            _share(code, i)
        elif word == "thread" and _qualifies_constructor(code, i, classes):
            token.out = ""  # clang wants them unqualified
        elif word in _OPENCL_SPACES:
            if token.out == word:
                token.out = _OPENCL_SPACES[word]
        elif word in _OPENCL_KEYWORDS:
            token.out = f"{word}_"
        elif re.match(r"bool[234]$", word) and code.tokens[i + 1].kind == "name" and text[i + 2] == "=":
            token.out = "auto"  # a comparison of vectors has another type in OpenCL
        elif _VECTOR.match(word) and text[i + 1] == "(":
            token.out = f"msl_make<{word}>"
        elif _VECTOR.match(word) and code.tokens[i + 1].kind == "name" and text[i + 2] == "(" and code.depth[i] \
                and text[code.match[i + 2] + 1] == ";":  # fmt: skip
            code.tokens[i + 1].out = f"{text[i + 1]} = msl_make<{word}>"
        elif word == "vec" and text[i + 1] == "<" and (end := code.end_of_angle(i + 1)) and text[end + 1] == "(":
            token.out, code.tokens[end].out = "msl_make<vec", ">>"
            if text[i - 1] == "::":
                code.tokens[i - 1].out = code.tokens[i - 2].out = ""
    made = written(code)
    named = f"{signature.function}{signature.template_arguments}"
    instance = f"\ntemplate decltype({named}) {named};\n" if signature.template else ""
    return Translation(made.cpp + instance, made.places)


def _qualifies_constructor(code: Code, i: int, classes: set[str]) -> bool:
    text = code.text
    ends = text[i - 1] == ")" and text[i + 1] in ("{", ":", ";")
    return ends and text[code.match[i - 1] - 1] in classes


def _share(code: Code, i: int) -> None:
    text = code.text
    end = i
    while text[end] != ";":
        end = code.match[end] + 1 if text[end] in ("(", "[", "{") else end + 1
    parts = code.split(i + 1, end - 1)
    first, last = parts[0]
    stop = next((k for k in range(first, last + 1) if text[k] == "["), last + 1)
    kind = code.between(first, stop - 2)
    made = []
    for from_, to in parts:
        at = stop - 1 if from_ == first else from_
        spelled = f"{kind} {code.between(at + 1, to)}"
        made.append(f"auto& {text[at]} = *msl_threadgroup<{spelled}>()")
    code.erase(i, end - 1)
    code.tokens[i].out = "; ".join(made)


def _qualify_members(code: Code) -> set[str]:
    """Members work on a `thread` object unless they say otherwise: OpenCL's would work on any."""
    text, classes = code.text, {}
    for i, word in enumerate(text):
        if word in ("struct", "class") and text[i - 1] not in ("<", ",") and code.tokens[i + 1].kind == "name":
            brace = i + 2
            while brace < len(text) and text[brace] not in ("{", ";", "(", "="):
                brace += 1
            if brace < len(text) and text[brace] == "{":
                classes[brace] = text[i + 1]
    for name, open_, brace in _functions(code):
        around = (c for b, c in classes.items() if b < name < code.match[b] and code.depth[name] == code.depth[b] + 1)
        inside = next(around, None)
        first, close = code.statement_start(name), code.match[open_]
        between = text[close + 1 : brace]
        if inside is None or text[name] == inside or {"static", "friend"} & set(text[first:name]):
            continue
        if set(between) & SPACES:
            continue
        if "const" in between:
            code.tokens[close + 1 + between.index("const")].out = "const __private"
        else:
            code.tokens[close].out = ") __private"
    return set(classes.values())
