"""The generated signature is MLX's own: compared with what mx.fast.metal_kernel prints of the same call.

Without a GPU it prints it while a function is exported.
"""

import re

import mlx.core as mx
import pytest

from course_lib.kernels.metal import metal_kernel


def parameters(printed):
    text = re.sub(r"^#line[^\n]*\n", "", printed, flags=re.MULTILINE)
    declared = re.search(r"\[\[kernel\]\] void \w+\((.*?)\) \{", text, re.DOTALL)[1]
    template = re.search(r"template <(?!\s*\[)[^>]*>", text)
    return [" ".join(p.split()) for p in declared.split(",\n")], template and template[0]


CALLS = {
    "plain": dict(names=["a"], inputs=[mx.zeros(64)], source="uint i = thread_position_in_grid.x; out0[i] = a[i];"),
    "small and scalar": dict(names=["a", "b", "c"], inputs=[mx.zeros(7), mx.zeros(8), mx.array(3)],
                             source="uint i = thread_index_in_simdgroup; out0[i] = a[0] + b[0] + c;"),
    "numbers": dict(names=["a", "b", "c"], inputs=[2.5, 3, True], source="out0[thread_position_in_grid.x] = a + b + c;"),
    "shapes": dict(names=["a", "b"], inputs=[mx.zeros((4, 4)), mx.array(1.0)],
                   source="out0[0] = a_shape[0] + a_strides[1] + a_ndim + b; // b_shape"),
    "template": dict(names=["a"], inputs=[mx.zeros(64)], template=[("T", mx.bfloat16), ("N", -3), ("F", True), ("G", False)],
                     source="out0[threads_per_grid.x] = T(a[N]); uint g = threadgroup_position_in_grid.y;"),
    "atomic": dict(names=["a"], inputs=[mx.zeros(64)], source="out1[0]; simdgroups_per_threadgroup;", outputs=2, atomic=True),
    "dtypes": dict(names=list("abcdefgh"), source="thread_position_in_threadgroup; threads_per_threadgroup;", outputs=3,
                   inputs=[mx.zeros(64, t) for t in (mx.bool_, mx.uint8, mx.int16, mx.uint32, mx.int64, mx.float16, mx.bfloat16,
                                                     mx.complex64)]),
    "every attribute": dict(names=[], inputs=[], source="dispatch_quadgroups_per_threadgroup dispatch_threads_per_threadgroup "
                            "grid_origin grid_size quadgroup_index_in_threadgroup thread_execution_width "
                            "thread_index_in_quadgroup thread_index_in_threadgroup threads_per_simdgroup"),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_the_signature_is_mlx_own(name, capfd, tmp_path):
    case = CALLS[name]
    outputs = [f"out{k}" for k in range(case.get("outputs", 1))]
    described = ("f", case["names"], outputs, case["source"], "// a header\n")
    options = {"atomic_outputs": case.get("atomic", False)}
    call = {
        "grid": (64, 1, 1), "threadgroup": (32, 1, 1), "template": case.get("template"),
        "output_shapes": [(64,)] * len(outputs), "output_dtypes": [mx.float32, mx.float16, mx.uint32][: len(outputs)],
    }  # fmt: skip
    theirs = mx.fast.metal_kernel(*described, **options)
    mx.export_function(str(tmp_path / "f.mlxfn"), lambda _: theirs(inputs=case["inputs"], verbose=True, **call), mx.zeros(1))
    printed = capfd.readouterr().out
    ours = metal_kernel(*described, **options, device="emulator").source(inputs=case["inputs"], **call)
    assert "[[kernel]]" in printed
    assert parameters(ours) == parameters(printed)


@pytest.mark.parametrize("wrong, says", [
    (dict(inputs=[]), "0 inputs; it takes 1: a"), (dict(output_shapes=[]), "output_shapes"), (dict(grid=(0, 1, 1)), "at least 1"),
    (dict(grid=(4, 4)), "three numbers"), (dict(template=[("T", "float")]), "a dtype, an int or a bool"),
    (dict(inputs=[mx.zeros(4).astype(mx.float64)]), "float64"), (dict(order="backwards"), "shuffle"),
])  # fmt: skip
def test_arguments_are_validated(wrong, says):
    kernel = metal_kernel("f", ["a"], ["out"], "out[0] = a[0];", device="emulator")
    call = dict(inputs=[mx.zeros(4)], output_shapes=[(1,)], output_dtypes=[mx.float32], grid=(1, 1, 1), threadgroup=(1, 1, 1))
    with pytest.raises(ValueError, match=says):
        kernel(**(call | wrong))


def test_init_value_and_dtypes_come_back():
    source = "if (thread_position_in_grid.x == 0) { a[0] = bfloat(1); b[0] = true; c[0] = -1; }"
    kernel = metal_kernel("f", [], ["a", "b", "c"], source, device="emulator")
    a, b, c = kernel(inputs=[], output_shapes=[(2, 2), (3,), ()], output_dtypes=[mx.bfloat16, mx.bool_, mx.int64],
                     grid=(1, 1, 1), threadgroup=(1, 1, 1), init_value=0)  # fmt: skip
    assert (a.dtype, b.dtype, c.dtype) == (mx.bfloat16, mx.bool_, mx.int64)
    assert (a.tolist(), b.tolist(), c.item()) == ([[1, 0], [0, 0]], [True, False, False], -1)


def test_outputs_left_unwritten_are_loud():
    kernel = metal_kernel("f", [], ["a"], "if (thread_position_in_grid.x == 0) a[0] = 1;", device="emulator")
    (a,) = kernel(inputs=[], output_shapes=[(2,)], output_dtypes=[mx.float32], grid=(2, 1, 1), threadgroup=(2, 1, 1))
    assert a[0].item() == 1 and mx.isnan(a[1]).item()
