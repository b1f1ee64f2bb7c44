"""Drop overloads and specialisations that differ in nothing but an address space.

A CPU has one address space, so of `f(device T*)` and `f(threadgroup T*)` one is left. They must do the same, as
they do in every Metal library: the language makes authors write them twice.
"""

from course_lib.kernels.metal.tokens import Code

SPACES = {"device", "constant", "threadgroup", "thread"}
_OTHER_SPACES = SPACES - {"thread"}


def drop_duplicates(code: Code) -> None:
    _drop_specialisations(code)
    _drop_qualified_members(code)
    _drop_functions(code)


def _drop_specialisations(code: Code) -> None:
    """`template <class T> struct X<device T*> {...};` repeats the primary template."""
    text = code.text
    for i in range(len(text) - 3):
        if text[i] not in ("struct", "class") or text[i + 2] != "<":
            continue
        end = code.end_of_angle(i + 2)
        if end is None or not _OTHER_SPACES & set(text[i + 2 : end]):
            continue
        brace = end + 1
        while text[brace] not in ("{", ";"):
            brace += 1
        if text[brace] == "{":
            code.erase(code.statement_start(i), code.match[brace] + 1)


def _drop_qualified_members(code: Code) -> None:
    """`T f() device {...}` beside `T f() thread {...}` or `T f() {...}`."""
    text = code.text
    seen = set()
    for i in range(1, len(text) - 1):
        after_call = text[i - 1] == ")" or (text[i - 1] in ("const", "volatile") and text[i - 2] == ")")
        if text[i] not in SPACES or not after_call or text[i + 1] not in ("{", ":", "const", "noexcept"):
            continue
        if not code.tokens[i].out:
            continue
        brace = _body(code, i)
        if brace is None:
            continue
        first, last = code.statement_start(i), code.match[brace]
        # Which class it is in, by where that begins; what it is called and takes.
        key = (_enclosing(code, first), " ".join(t for t in text[first:i] if t not in SPACES))
        if key in seen:
            code.erase(first, last + (text[last + 1] == ";"))
        seen.add(key)


def _drop_functions(code: Code) -> None:
    text = code.text
    seen = set()
    for brace, opening in enumerate(text):
        if opening != "{" or text[brace - 1] != ")" or not code.tokens[brace].out or code.inner[brace]:
            continue
        first = code.statement_start(brace)
        head = text[first:brace]
        if head[0] in ("if", "for", "while", "else", "switch", "do") or not SPACES & set(head):
            continue
        key = (_enclosing(code, first), " ".join(t for t in head if t not in SPACES))
        if key in seen:
            code.erase(first, code.match[brace])
        seen.add(key)


def _body(code: Code, i: int) -> int | None:
    """The opening brace of the body of the member function whose qualifier is at i, past its initialisers."""
    text = code.text
    while text[i] not in ("{", ";"):
        i += 1
    while text[i] == "{" and text[code.match[i] + 1] in (",", "{"):
        i = code.match[i] + 1
        while text[i] != "{":
            i += 1
    return i if text[i] == "{" else None


def _enclosing(code: Code, i: int) -> int:
    depth = code.depth[i]
    while i >= 0 and not (code.text[i] == "{" and code.depth[i] == depth - 1):
        i -= 1
    return i
