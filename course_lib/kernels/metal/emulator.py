"""The CPU backend: MLX arrays into the emulator and out of it, and its report read."""

from dataclasses import dataclass, replace

import mlx.core as mx
import numpy as np

from course_lib.kernels.metal.compile import program
from course_lib.kernels.metal.errors import MetalFault
from course_lib.kernels.metal.finding import Finding, Teller
from course_lib.kernels.metal.launch import MOST_THREADS, Buffer, Schedule, launch
from course_lib.kernels.metal.lines import look_up
from course_lib.kernels.metal.signature import CONSTANT_ELEMENTS, Body, Signature, sign
from course_lib.kernels.metal.traffic import Traffic, read_traffic


@dataclass(frozen=True)
class Call:
    """One call of a kernel, validated.

    Attributes:
        inputs: the arrays.
        output_shapes: one an output; output_dtypes likewise.
        template: [(name, mx.Dtype or int or bool)].
        init_value: what outputs begin with; None leaves them unwritten.
        in_device_memory: indices of the inputs that lie in device memory even if they are small.
        contiguous: whether inputs are made row-contiguous first.
    """

    inputs: list[mx.array]
    output_shapes: list[tuple[int, ...]]
    output_dtypes: list[mx.Dtype]
    template: tuple
    init_value: float | None
    in_device_memory: frozenset[int]
    contiguous: bool

    def signature(self, body: Body) -> Signature:
        described = []
        for i, array in enumerate(self.inputs):
            # On a GPU such an input is padded; here the emulator sees the true size, and who reads past it.
            size = max(array.size, CONSTANT_ELEMENTS) if i in self.in_device_memory else array.size
            described.append((array.ndim, size, array.dtype))
        return sign(body, described, self.output_dtypes, self.template)


def emulate(body: Body, call: Call, schedule: Schedule, checked: bool) -> tuple[list[mx.array], list[Finding], Traffic]:
    """Run a kernel on the CPU.

    Args:
        body: the kernel.
        call: its arguments.
        schedule: grid, thread order, time limit.
        checked: with the sanitizer and the profiler; without, no more is found than what ended the run.

    Returns:
        The outputs, what was found, and what was moved (nothing if not checked).

    Raises:
        MetalFault: the threadgroup is too large to run at all.
    """
    _refuse_too_many_threads(schedule)
    signature = call.signature(body)
    executable = program(body, signature, checked)
    outputs, report = launch(executable, _buffers(body, signature, call), schedule)
    lines = {}
    if checked or report["findings"]:
        lines = look_up(executable, _addresses(report), body.texts.keys())
    teller = Teller(report, lines, body.texts, schedule.grid, schedule.threadgroup, schedule.time_limit)
    findings = _merged(map(teller.tell, sorted(report["findings"], key=_narrow)))
    arrays = [
        _array(data, shape, dtype)
        for data, shape, dtype in zip(outputs, call.output_shapes, call.output_dtypes, strict=True)
    ]
    return arrays, findings, read_traffic(report, lines)


def _narrow(raw: dict) -> bool:
    """Whether it is a race of two lanes of one SIMD-group: a race of the same lines among more threads is told instead,
    since what mends that one mends both."""
    return raw["kind"] == "race" and raw["detail"].startswith("simdgroup")


def _merged(findings) -> list[Finding]:
    """One finding for each mistake, told as it comes first.

    A compiler may make several instructions of one access. Two lines that race are met in either order. And a read
    that comes before the write that it races with is no second mistake for reading what is not there yet.
    """
    merged: dict[tuple, Finding] = {}
    for finding in findings:
        places = {(finding.file, finding.line), (finding.other_file, finding.other_line)}
        key = (finding.kind, finding.buffer, frozenset(places), finding.message if finding.file is None else "")
        first = merged.get(key)
        merged[key] = replace(first, times=first.times + finding.times) if first else finding
    racing = {
        (f.buffer, place)
        for f in merged.values() if f.kind == "race"
        for place in ((f.file, f.line), (f.other_file, f.other_line))
    }  # fmt: skip
    return [
        f for f in merged.values() if f.kind != "uninitialised" or (f.buffer, (f.file, f.line)) not in racing
    ]


def _refuse_too_many_threads(schedule: Schedule) -> None:
    size = [min(t, g) for t, g in zip(schedule.threadgroup, schedule.grid, strict=True)]
    count = size[0] * size[1] * size[2]
    if count > MOST_THREADS:
        message = f"The threadgroup has {' x '.join(map(str, size))} = {count:,} threads; a GPU runs at most 1,024."
        raise MetalFault([Finding("too_many_threads", message)])


def _addresses(report: dict) -> set[int]:
    found = {site["pc"] for site in report["sites"]}
    for finding in report["findings"]:
        found |= {place["pc"] for key in ("place", "other_place") if (place := finding[key]) and "pc" in place}
    return found


def _buffers(body: Body, signature: Signature, call: Call) -> list[Buffer]:
    mx.eval(call.inputs)
    memory = [_memory(array, call.contiguous) for array in call.inputs]
    buffers = []
    for parameter in signature.parameters:
        name = body.labels.get(parameter.name, parameter.name)
        if parameter.role == "output":
            shape, dtype = call.output_shapes[parameter.array], call.output_dtypes[parameter.array]
            nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.size
            data = None
            if call.init_value is not None:
                data = _numpy(mx.full(shape, call.init_value, dtype)).tobytes()
            buffers.append(Buffer(name, "output", nbytes, dtype.size, data))
            continue
        array, (data, strides) = call.inputs[parameter.array], memory[parameter.array]
        if parameter.role == "shape":
            data, size = np.array(array.shape, np.int32), 4
        elif parameter.role == "strides":
            data, size = np.array(strides, np.int64), 8
        elif parameter.role == "ndim":
            data, size = np.array([array.ndim], np.int32), 4
        else:
            size = array.dtype.size
        role = "constant" if parameter.constant else "input"
        buffers.append(Buffer(name, role, data.nbytes, size, np.ascontiguousarray(data)))
    return buffers


def _memory(array: mx.array, contiguous: bool) -> tuple[np.ndarray, list[int]]:
    """The bytes that an array spans, and its strides in elements.

    As in MLX, an array that is not to be made contiguous is passed as it lies in memory.
    """
    view = _numpy(array)
    if contiguous or view.size == 0 or any(stride < 0 for stride in view.strides):
        view = np.ascontiguousarray(view).reshape(array.shape)
        strides = [stride // view.itemsize for stride in view.strides]
        return view.reshape(-1), strides
    strides = [stride // view.itemsize for stride in view.strides]
    extent = 1 + sum((n - 1) * stride for n, stride in zip(view.shape, strides, strict=True))
    return np.lib.stride_tricks.as_strided(view, (extent,), (view.itemsize,)), strides


def _numpy(array: mx.array) -> np.ndarray:
    return np.asarray(array.view(mx.uint16) if array.dtype == mx.bfloat16 else array)


def _array(data: bytes, shape: tuple[int, ...], dtype: mx.Dtype) -> mx.array:
    kind = {mx.bfloat16: "uint16", mx.bool_: "bool"}.get(dtype) or str(dtype).removeprefix("mlx.core.")
    array = mx.array(np.frombuffer(data, kind).reshape(shape))
    return array.view(mx.bfloat16) if dtype == mx.bfloat16 else array
