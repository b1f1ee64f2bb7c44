"""The translator's hard parts, on text alone."""

import re
import subprocess
import sys
from importlib.util import find_spec

import pytest
from kernels.tools import minutes_long, without

from course_lib.kernels.metal.errors import MetalSyntaxError
from course_lib.kernels.metal.tokens import Code
from course_lib.kernels.metal.translate import translate
from course_lib.paths import EXTENSIONS


def body(text, header=""):
    """The C++ of a kernel's body, spaces made one."""
    cpp = translate(f"{header}\n[[kernel]] void k(device float* y [[buffer(0)]]) {{\n{text}\n}}\n", "k.metal", "k").cpp
    return " ".join(cpp[cpp.index("{", cpp.index("void k(")) + 1 : cpp.rindex("}")].split())


@pytest.mark.parametrize("metal, cpp", [
    # Literals without a suffix are floats.
    ("x = 1.0 + 1. + .5 + 1e-3 + 2.0f + 3 + 0x1F + 0x1.8p3;", "x = 1.0f + 1.f + .5f + 1e-3f + 2.0f + 3 + 0x1F + 0x1.8p3f;"),
    ("x = 1.5h; z = 2.0bf; n = 1e5h;", "x = half(1.5f); z = bfloat(2.0f); n = half(1e5f);"),
    # Address spaces go, constant becomes const once.
    ("threadgroup float* p = t; thread float& r = *p; device const float* q = y;", "float* p = t; float& r = *p; const float* q = y;"),
    ("constant float* a; const constant float* b; constant const int& c = d; constexpr constant int e = 1;",
     "const float* a; const float* b; const int& c = d; constexpr int e = 1;"),
    # Brackets inside brackets are no attribute.
    ("a[b[0]] = 1; c[d[e[2]]] = a[b[1]];", "a[b[0]] = 1; c[d[e[2]]] = a[b[1]];"),
    ("[[maybe_unused]] int a; [[unroll]] for (;;) {}", "[[maybe_unused]] int a; for (;;) {}"),
    # Swizzles: a value, and what is assigned to. A comparison is no assignment.
    ("v.xy = w.yx; f(v.zw); v.wx += 1; if (v.xyz == w.xyz) {} u.rgb;",
     "v.template set<0, 1>() = w.template get<1, 0>(); f(v.template get<2, 3>()); v.template set<3, 0>() += 1; "
     "if (v.template get<0, 1, 2>() == w.template get<0, 1, 2>()) {} u.template get<0, 1, 2>();"),
    ("p->xy(); s.x = 1; s.zzzzz = 2;", "p->xy(); s.x = 1; s.zzzzz = 2;"),
    ("int64_t a; uint64_t b;", "long a; ulong b;"),
])  # fmt: skip
def test_tokens(metal, cpp):
    assert body(metal) == cpp


def test_threadgroup_variables_become_references():
    given = body("threadgroup T a[4][8], b; threadgroup vec<T, 4> c[N > 2 ? 1 : 2];")
    names = re.findall(r"auto& (\w+) = ::emulator::threadgroup_variable<(\d+), (.*?)>\(\"(\w+)\"\)", given)
    assert names == [("a", "1", "T [ 4 ] [ 8 ]", "a"), ("b", "2", "T", "b"), ("c", "3", "vec < T , 4 > [ N > 2 ? 1 : 2 ]", "c")]


def test_a_return_of_the_kernel_is_told_and_one_of_a_lambda_is_not():
    text = "if (i > 3) return; auto f = [&](int a) { if (a) return; }; { return; } auto g = [&] { return; };"
    assert body(text).count("emulator_returned()") == 2
    helper = "void h() { return; }"
    assert "emulator_returned" not in translate(helper + "[[kernel]] void k() { h(); }", "k", "k").cpp


def test_overloads_by_address_space_are_one():
    header = """
    float f(device const float* p) { return p[0]; }
    float f(threadgroup const float* p) { return p[0]; }
    float f(device const half* p) { return p[0]; }
    template <typename T> struct A { T f() thread { return 1; } T f() device { return 1; } T f() const { return 2; } };
    template <typename T> struct B { T x; };
    template <typename T> struct B<device T*> { T x; };
    struct C { float f(device const float* p) { return 3; } };
    """
    cpp = translate(header + "[[kernel]] void k() {}", "k", "k").cpp
    assert len(re.findall(r"float f\( *const float\* p\)", cpp)) == 2  # the free one and C's
    assert len(re.findall(r"float f\( *const half\* p\)", cpp)) == 1
    assert cpp.count("return 1") == 1 and cpp.count("return 2") == 1
    assert cpp.count("struct B") == 1


def test_lines_and_columns_lead_back():
    source = '#line 7 "a.metal"\n[[kernel]] void k(device float* y) {\n  constant float* p = y; float z = 1.0 + q;\n}\n'
    made = translate(source, "x", "k")
    out = next(line for line in made.cpp.splitlines() if "+ q" in line)
    assert made.column("a.metal", 8, out.index("q;") + 1) == source.splitlines()[2].index("q;") + 1
    assert made.column("a.metal", 8, out.index("1.0f") + 1) == source.splitlines()[2].index("1.0") + 1
    assert made.column("b.metal", 8, 1) is None
    assert made.cpp.count("\n") == source.count("\n")


def test_comments_keep_their_lines():
    source = "/* one\ntwo */ [[kernel]] void k(device float* y) { // three\n  float a = 1.0; /* four\n five */ }\n"
    made = translate(source, "k.metal", "k")
    assert made.cpp.count("\n") == source.count("\n") and "one" not in made.cpp and "three" not in made.cpp
    assert made.places["k.metal", 2][0][2] == 19  # of `void`: the attribute is gone


@pytest.mark.parametrize("text, says, at", [
    ("f(a;", "this `(` is not closed", 2), ("a]", "closes nothing", 2), ("{ a", "never closed", 1), ("(]", "is not closed", 1),
])  # fmt: skip
def test_brackets_that_do_not_match_are_named(text, says, at):
    with pytest.raises(MetalSyntaxError, match=re.escape(says)) as error:
        Code(text + ("}" if text.startswith("f(") else ""), "k.metal")
    assert error.value.place == ("k.metal", 1, at)


def test_template_angles_are_told_from_comparisons():
    code = Code("vec<T, N> a = b < c; f<g<int>>(x); i < 3 && j > 2;", "k")
    text = code.text
    assert code.end_of_angle(1) == text.index(">")
    assert code.end_of_angle(text.index("b") + 1) is None
    assert code.end_of_angle(text.index("f") + 1) is not None
    assert code.end_of_angle(text.index("i") + 1) is None


def test_the_emulator_compiles_for_macs(tmp_path):
    """On Linux, by ziglang's clang, with macOS's headers. What it makes is not run."""
    minutes_long()
    if find_spec("ziglang") is None:
        without("ziglang is not installed; pip install ziglang")
    whole = tmp_path / "emulator.cpp"
    sources = sorted((EXTENSIONS / "emulator/runtime").glob("*.cpp"))
    whole.write_text("".join(f'#include "{path}"\n' for path in sources))
    kernel = tmp_path / "kernel.cpp"
    translated = translate("[[kernel]] void k(device float* y) { y[0] = simd_sum(half4(1).xy.x); }", "k", "k").cpp
    kernel.write_text(f'#include "{EXTENSIONS}/emulator/msl/msl.h"\n{translated}')
    for checked in (0, 1):
        for path in (whole, kernel):
            command = [sys.executable, "-m", "ziglang", "c++", "-target", "aarch64-macos", "-std=c++20", "-Wall", "-Wextra",
                       f"-DEMULATOR_CHECKED={checked}", "-c", str(path), "-o", str(tmp_path / "out.o")]  # fmt: skip
            ran = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
            assert ran.returncode == 0, ran.stderr[-3000:]
            assert "warning" not in ran.stderr, ran.stderr[-3000:]
