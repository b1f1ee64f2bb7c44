"""Metal source as tokens that know their line, and which bracket belongs to which."""

import re
from dataclasses import dataclass, field

from course_lib.kernels.metal.errors import MetalSyntaxError

_TOKEN = re.compile(
    r"""
    (?P<marker> ^[ \t]*\#[ ]*(?:line[ ]+)?\d+[ ]+"[^"\n]*"[^\n]* )   # where the lines that follow come from
  | (?P<directive> ^[ \t]*\#(?:[^\n\\]|\\.|\\\n)* )
  | (?P<newline> \n )
  | (?P<space> [ \t\r\f\v]+ | \\\n | //[^\n]* | /\*.*?\*/ )
  | (?P<string> "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' )
  | (?P<number> \.?\d(?:[eEpP][+-]|[\w.'])* )
  | (?P<name> [A-Za-z_]\w* )
  | (?P<sign> ::|->|<<=|>>=|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|\+\+|--|\[\[|. )
    """,
    re.MULTILINE | re.VERBOSE | re.DOTALL,
)
_OPENING = {"(": ")", "[": "]", "{": "}", "[[": "]]"}


@dataclass(slots=True)
class Token:
    """A token; `out` is what a translation makes of it."""

    kind: str
    text: str
    file: str
    line: int
    column: int  # from 1
    start: int  # index in the source
    out: str = field(default="")


def lex(source: str, file: str) -> list[Token]:
    """All tokens, spaces and comments included. Lines follow the source's #line markers."""
    tokens, line, line_start = [], 1, 0
    for match in _TOKEN.finditer(source):
        kind, text = match.lastgroup, match.group()
        token = Token(kind, text, file, line, match.start() - line_start + 1, match.start(), text)
        if kind == "marker":
            number, name = re.search(r'(\d+)[ ]+"([^"]*)"', text).groups()
            file, line = name, int(number) - 1  # the line break that follows makes it the number
        tokens.append(token)
        if kind == "newline" or "\n" in text:
            line += text.count("\n")
            line_start = match.start() + text.rindex("\n") + 1
            if kind == "space" and text.startswith("/*"):
                token.out = "\n" * text.count("\n")
        if kind == "space" and text.startswith("//"):
            token.out = ""
    return tokens


class Code:
    """The tokens that mean something, by index, with their brackets.

    Attributes:
        all: every token, in order: joining their `out` gives the translation.
        tokens: those that are neither space nor marker.
        text: the text of each of `tokens`.
        match: index of an opening bracket -> of its closing one, and back. `[[` matches `]` `]`: its partner
            is the first of the two.
        depth: braces around each token.
        inner: parentheses and brackets around each token, inside its innermost brace.
    """

    def __init__(self, source: str, file: str):
        self.all = lex(source, file)
        self.tokens = [t for t in self.all if t.kind in ("string", "number", "name", "sign")]
        self.text = [t.text for t in self.tokens]
        self.match, self.depth, self.inner = {}, [], []
        self._pair()

    def _pair(self) -> None:
        # `a[b[0]]` ends like an attribute, so `]]` is no token; and `a[[...` can only be an attribute.
        stack, inner = [], [0]
        skip = False
        for i, text in enumerate(self.text):
            if text == "}":
                inner = inner[:-1] or [0]
            if text in (")", "]") and not (text == "]" and skip):
                inner[-1] -= 1
            self.depth.append(len(inner) - 1)
            self.inner.append(inner[-1])
            if text in _OPENING:
                stack.append(i)
                if text == "{":
                    inner.append(0)
                else:
                    inner[-1] += 1
            elif text in (")", "]", "}"):
                if skip:  # the second half of `]]`
                    skip = False
                    continue
                opened = stack.pop() if stack else None
                if opened is None:
                    raise self.error(i, f"this `{text}` closes nothing")
                if _OPENING[self.text[opened]][0] != text:
                    here = f"the `{text}` of line {self.tokens[i].line} comes first"
                    raise self.error(opened, f"this `{self.text[opened]}` is not closed: {here}")
                self.match[i], self.match[opened] = opened, i
                skip = self.text[opened] == "[["
        if stack:
            raise self.error(stack[-1], f"this `{self.text[stack[-1]]}` is never closed")

    def error(self, i: int, message: str, kind=MetalSyntaxError) -> MetalSyntaxError:
        """An error at a token. The caller adds the source's line: see diagnostics.py."""
        error = kind(message)
        token = self.tokens[i]
        error.place = (token.file, token.line, token.column)
        return error

    def end_of_angle(self, i: int) -> int | None:
        """The index of the `>` that closes the `<` at i; None if it is a comparison."""
        open_angles = 0
        while i < len(self.text):
            text = self.text[i]
            if text == "<":
                open_angles += 1
            elif text in (">", ">>"):
                open_angles -= len(text)
                if open_angles <= 0:
                    return i
            elif text in _OPENING:
                i = self.match[i]
            elif text in (";", "{", "}", "&&", "||"):
                return None
            i += 1
        return None

    def statement_start(self, i: int) -> int:
        """The index of the first token of the declaration or statement that token i is in."""
        while i > 0:
            before = i - 1
            if self.text[before] in (";", "{", "}") and self.inner[before] <= self.inner[i]:
                return i
            if self.text[before] == ":" and self.text[before - 1] in ("public", "private", "protected"):
                return i
            i = before
        return i

    def erase(self, first: int, last: int) -> None:
        for token in self.tokens[first : last + 1]:
            token.out = ""

    def attribute_end(self, i: int) -> int:
        """The last index of the attribute that begins with the `[[` at i."""
        return self.match[i] + 1

    def between(self, first: int, last: int) -> str:
        """Tokens first to last, one space between each two."""
        return " ".join(self.text[first : last + 1])

    def split(self, first: int, last: int, separator: str = ",") -> list[tuple[int, int]]:
        """The ranges that separators outside of any bracket divide first..last into; none if it is empty."""
        parts, start, angles, i = [], first, 0, first
        while i <= last:
            text = self.text[i]
            if text in _OPENING:
                i = self.match[i] + (text == "[[")
            elif text == "<" and self.end_of_angle(i) is not None:
                angles += 1
            elif text == ">" and angles:
                angles -= 1
            elif text == separator and not angles:
                parts.append((start, i - 1))
                start = i + 1
            i += 1
        if start <= last:
            parts.append((start, last))
        return parts
