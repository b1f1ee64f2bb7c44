"""A Metal kernel that runs anywhere: on an Apple GPU, and on any CPU, where it can also be checked and measured."""

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

from course_lib.kernels.metal import apple
from course_lib.kernels.metal.dtypes import type_name
from course_lib.kernels.metal.emulator import Call, emulate
from course_lib.kernels.metal.errors import MetalFault
from course_lib.kernels.metal.finding import Finding
from course_lib.kernels.metal.launch import ORDERS, Schedule
from course_lib.kernels.metal.signature import Body, Signature, metal_source
from course_lib.kernels.metal.strict import check_types
from course_lib.kernels.metal.traffic import Traffic

_MATH_MODES = ("safe", "relaxed", "fast")


@dataclass(frozen=True)
class Inspection:
    """A checked run: the outputs, what was found, and what was moved."""

    outputs: list[mx.array]
    findings: list[Finding]
    traffic: Traffic


class MetalKernel:
    """A kernel, called as the result of mx.fast.metal_kernel is.

    Attributes:
        name: the kernel's.
        input_names: of its inputs, in the order in which a call takes them; output_names likewise.
        findings: of the last checked run, list[Finding].
        traffic: of the last checked run; None before it.
    """

    def __init__(self, body: Body, *, contiguous: bool = True, compile_options: dict | None = None,
                 device: str | None = None, adapt=None):  # fmt: skip
        if device not in (None, "emulator"):
            raise ValueError(f'device is {device!r}: give "emulator" for the CPU, or None to go by the stream.')
        _validate_options(compile_options)
        self.name = body.name
        self.input_names, self.output_names = body.input_names, body.output_names
        self.findings: list[Finding] = []
        self.traffic: Traffic | None = None
        self._body = body
        self._contiguous = contiguous
        self._compile_options = compile_options
        self._device = device
        self._adapt = adapt  # of a kernel from a file: inputs, template -> inputs, indices in device memory, template
        self._on_apple = None
        self._accepted: set[str] = set()  # sources that strict mode has accepted

    def __call__(
        self,
        *,
        inputs: Sequence,
        output_shapes: Sequence[Sequence[int]],
        output_dtypes: Sequence[mx.Dtype],
        grid: tuple[int, int, int],
        threadgroup: tuple[int, int, int],
        template: Sequence[tuple] | None = None,
        init_value: float | None = None,
        verbose: bool = False,
        stream=None,
        check: bool = False,
        strict: bool = False,
        order: str = "forward",
        seed: int = 0,
        time_limit: float = 60.0,
    ) -> list[mx.array]:
        """Run the kernel. The first nine are mx.fast.metal_kernel's.

        Args:
            inputs: arrays or numbers, one an input.
            output_shapes: one an output; output_dtypes likewise.
            grid: how many threads, not threadgroups, in x, y and z.
            threadgroup: how many threads make a threadgroup; at most 1,024 together.
            template: (name, value), where a value is a dtype, an int or a bool.
            init_value: what each element of the outputs begins with; None leaves them unwritten.
            verbose: print the generated source.
            stream: the emulator runs if it is the CPU's; the GPU if it is the GPU's. None takes the default device.
            check: run in the emulator, and raise if the sanitizer finds anything. `findings` and `traffic` keep what
                it saw.
            strict: reject, too, what Metal's compiler would and a C++ compiler does not.
            order: in which the emulator runs threads: "forward", "reverse" or "shuffle", which `seed` decides. A kernel
                whose result depends on it has a race.
            time_limit: seconds that the emulator runs at most.

        Returns:
            The outputs. From the emulator they are computed when the call returns.

        Raises:
            ValueError: an argument does not fit, with what would.
            MetalSyntaxError: the source does not compile; UnsupportedMetal: the emulator lacks a part of it.
            MetalFault: check is on and something was found, or the kernel crashed or did not end.
        """
        call, schedule = self._prepare(
            inputs, output_shapes, output_dtypes, grid, threadgroup, template, init_value, order, seed, time_limit
        )
        if verbose or strict:
            source = metal_source(self._body, call.signature(self._body))
            if verbose:
                print(f"Generated source code for `{self.name}`:\n```\n{source}\n```")
            if strict:
                check_types(source, self._body, call.signature(self._body))
        if not check and self._runs_on_apple(stream):
            return self._run_on_apple(call, grid, threadgroup, stream)
        outputs, findings, traffic = emulate(self._body, call, schedule, checked=check)
        if check:
            self.findings, self.traffic = findings, traffic
        if findings:
            raise MetalFault(findings)
        return outputs

    def inspect(
        self,
        *,
        inputs: Sequence,
        output_shapes: Sequence[Sequence[int]],
        output_dtypes: Sequence[mx.Dtype],
        grid: tuple[int, int, int],
        threadgroup: tuple[int, int, int],
        template: Sequence[tuple] | None = None,
        init_value: float | None = None,
        order: str = "forward",
        seed: int = 0,
        time_limit: float = 60.0,
        touches: int = 0,
    ) -> Inspection:
        """Run the kernel in the emulator, checked, and return what was seen, also if something is wrong.

        Args:
            touches: how many accesses to buffers to record one by one, for a picture of a small launch.

        The rest is as in a call.
        """
        call, schedule = self._prepare(
            inputs, output_shapes, output_dtypes, grid, threadgroup, template, init_value, order, seed, time_limit,
            touches,
        )  # fmt: skip
        try:
            outputs, self.findings, self.traffic = emulate(self._body, call, schedule, checked=True)
        except MetalFault as fault:  # it could not even begin
            outputs, self.findings, self.traffic = [], fault.findings, Traffic()
        return Inspection(outputs, self.findings, self.traffic)

    def source(self, **call) -> str:
        """The Metal that a call would compile; the arguments are the call's."""
        return metal_source(self._body, self._signature(call))

    def check_types(self, **call) -> None:
        """Strict mode without a run: compile what a call would, and reject what Metal's compiler would reject.

        Raises:
            MetalSyntaxError: the source does not compile.
            MetalError: what strict mode needs is not installed; that it compiles has been checked.
        """
        signature = self._signature(call)
        source = metal_source(self._body, signature)
        if source not in self._accepted:
            check_types(source, self._body, signature)
            self._accepted.add(source)

    def _signature(self, call: dict) -> Signature:
        defaults = {"template": None, "init_value": None, "order": "forward", "seed": 0, "time_limit": 60.0}
        prepared, _ = self._prepare(**(defaults | call))
        return prepared.signature(self._body)

    def _runs_on_apple(self, stream) -> bool:
        if self._device == "emulator":
            return False
        device = getattr(stream, "device", stream) if stream is not None else mx.default_device()
        on_gpu = getattr(device, "type", device) == mx.DeviceType.gpu
        if on_gpu and stream is not None and not apple.available():
            # NVIDIA's GPUs belong here, through mx.fast.cuda_kernel, once there is a header for them.
            raise ValueError(
                f"The stream is {stream}, but Metal kernels run on Apple's GPUs and in the emulator only: "
                "leave the stream out, or give mx.cpu."
            )
        return on_gpu and apple.available()

    def _run_on_apple(self, call: Call, grid, threadgroup, stream) -> list[mx.array]:
        if self._on_apple is None:
            self._on_apple = apple.make(self._body, self._contiguous, self._compile_options)
        inputs = [apple.padded(a) if i in call.in_device_memory else a for i, a in enumerate(call.inputs)]
        return self._on_apple(
            inputs=inputs, output_shapes=call.output_shapes, output_dtypes=call.output_dtypes, grid=tuple(grid),
            threadgroup=tuple(threadgroup), template=list(call.template) or None, init_value=call.init_value,
            stream=stream,
        )  # fmt: skip

    def _prepare(self, inputs, output_shapes, output_dtypes, grid, threadgroup, template, init_value, order, seed,
                 time_limit, touches=0) -> tuple[Call, Schedule]:  # fmt: skip
        given = {"inputs": inputs, "output_shapes": output_shapes, "output_dtypes": output_dtypes}
        wanted = {"inputs": self.input_names, "output_shapes": self.output_names, "output_dtypes": self.output_names}
        for what, values in given.items():
            if len(values) != len(wanted[what]):
                names = ", ".join(wanted[what]) or "none"
                message = f"`{self.name}` was given {len(values)} {what}; it takes {len(wanted[what])}: {names}."
                if what == "inputs" and len(values) > len(self.input_names) and self._adapt is not None:
                    written = ", ".join(f"`{name}` is written" for name in self.output_names)
                    message += f" {written}, and so an output: MLX's kernels do not update an array in place."
                raise ValueError(message)
        if order not in ORDERS:
            raise ValueError(f"order is {order!r}; give one of {', '.join(ORDERS)}.")
        template = tuple((name, value) for name, value in template or ())
        for name, value in template:
            if not isinstance(value, (mx.Dtype, int)):  # a bool is an int
                raise ValueError(f"The template argument {name} is {value!r}; give a dtype, an int or a bool.")
        grid, threadgroup = _three("grid", grid), _three("threadgroup", threadgroup)
        in_device_memory = frozenset()
        if self._adapt is not None:
            inputs, in_device_memory, template = self._adapt(inputs, dict(template))
        arrays = [value if isinstance(value, mx.array) else mx.array(value) for value in inputs]
        for dtype in [*(a.dtype for a in arrays), *output_dtypes]:
            type_name(dtype)
        shapes = [tuple(shape) for shape in output_shapes]
        call = Call(arrays, shapes, list(output_dtypes), template, init_value, in_device_memory, self._contiguous)
        return call, Schedule(grid, threadgroup, order, seed, time_limit, touches)


def _three(name: str, value) -> tuple[int, int, int]:
    value = tuple(value)
    if len(value) != 3 or any(n < 1 for n in value):
        raise ValueError(f"{name} is {value}; give three numbers of threads, each at least 1: (x, y, z).")
    return value


def _validate_options(options: dict | None) -> None:
    for key, value in (options or {}).items():
        if key != "math_mode" or value not in _MATH_MODES:
            raise ValueError(f"compile_options has {key}={value!r}; it takes math_mode: {', '.join(_MATH_MODES)}.")


def metal_kernel(
    name: str,
    input_names: Sequence[str],
    output_names: Sequence[str],
    source: str,
    header: str = "",
    ensure_row_contiguous: bool = True,
    atomic_outputs: bool = False,
    compile_options: dict | None = None,
    *,
    device: str | None = None,
) -> MetalKernel:
    """A kernel from the body of a function, as mx.fast.metal_kernel makes it.

    Args:
        name: the kernel's.
        input_names: the parameters that are its inputs; output_names likewise.
        source: the body; the signature is generated (see signature.py).
        header: what the body needs before it: functions, constants.
        ensure_row_contiguous: make inputs row-contiguous first.
        atomic_outputs: outputs are `device atomic<T>*`.
        compile_options: {"math_mode": "safe", "relaxed" or "fast"}. The emulator is always safe.
        device: "emulator" runs it on the CPU also where there is a GPU.

    Raises:
        ValueError: an argument does not fit.
    """
    if not output_names:
        raise ValueError(f"`{name}` has no outputs: a kernel needs at least one.")
    if not name.replace("_", "a").isalnum():
        raise ValueError(f"The name {name!r} cannot be part of a function's name: use letters, digits and _.")
    files = (f"{name}.header.metal", f"{name}.metal")
    body = Body(
        name, tuple(input_names), tuple(output_names), source, header, atomic_outputs,
        tuple((file, 1) for file in files), {files[0]: header, files[1]: source},
    )  # fmt: skip
    return MetalKernel(
        body, contiguous=ensure_row_contiguous, compile_options=compile_options, device=device
    )
