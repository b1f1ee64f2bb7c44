"""What is said about this machine agrees with what the system says."""

import os
import platform
import subprocess
import sys

import mlx.core as mx
import pytest

from course_lib.lab import bandwidth, machine
from course_lib.lab.bandwidth import Bandwidth


def test_one_line_names_processor_cores_memory_and_device():
    line = machine.describe()
    assert "\n" not in line
    assert machine.cpu_name() in line
    assert f"{machine.cores()} core" in line
    assert "GiB memory" in line
    assert f"MLX on {mx.default_device().type.name}" in line


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_memory_is_what_the_kernel_reports():
    with open("/proc/meminfo") as file:
        total = next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemTotal"))
    assert machine.memory_bytes() == pytest.approx(total, rel=0.02)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_only_cores_that_may_be_used_count():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
    code += "from course_lib.lab.machine import cores; print(cores())"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "1\n"


def test_a_processor_without_a_name_is_called_by_its_architecture(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "platform", "linux")
    arm = tmp_path / "cpuinfo"
    arm.write_text("processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd\n")
    monkeypatch.setattr(machine, "Path", lambda _: arm)
    assert machine.cpu_name.__wrapped__() == platform.machine()


def test_the_machine_can_be_described_without_mlx_or_matplotlib():
    code = "import sys; from course_lib.lab.machine import cpu_name, cores, memory_bytes; cpu_name();"
    code += "print(any(m.split('.')[0] in ('mlx', 'matplotlib', 'numpy') for m in sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(bandwidth, "ARRAY_BYTES", 2**22)
    bandwidth.read_bandwidth.cache_clear()
    yield
    bandwidth.read_bandwidth.cache_clear()


def test_bandwidth_is_measured_from_one_thread_to_one_a_core(small):
    measured = bandwidth.read_bandwidth()
    assert min(measured.by_threads) == 1
    assert max(measured.by_threads) == machine.cores()
    assert all(rate > 0 for rate in measured.by_threads.values())


def test_bandwidth_is_measured_once(small):
    assert bandwidth.read_bandwidth() is bandwidth.read_bandwidth()


def test_every_byte_is_read_by_exactly_one_thread(monkeypatch):
    import numpy as np

    read = []
    monkeypatch.setattr(bandwidth.np, "max", lambda part: read.append(part))
    monkeypatch.setattr(bandwidth, "ROUNDS", 0)
    monkeypatch.setattr(bandwidth.np, "median", lambda _: 1.0)
    array = np.arange(1001, dtype=np.float32)
    bandwidth._cpu(array, 3)
    assert len(read) == 3
    assert sorted(np.concatenate(read).tolist()) == array.tolist()


def test_rate_is_bytes_a_second_in_units_of_10_to_the_9(monkeypatch):
    now = iter(range(100))
    monkeypatch.setattr(bandwidth.time, "perf_counter", lambda: next(now))
    monkeypatch.setattr(bandwidth, "ARRAY_BYTES", 32 * 10**9)
    assert bandwidth._median_rate(lambda: None) == 32.0


@pytest.mark.parametrize(
    ("most", "counts"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8]), (12, [1, 2, 4, 8, 12])]
)
def test_threads_double_up_to_the_number_of_cores(most, counts):
    assert bandwidth._thread_counts(most) == counts


def test_the_devices_bandwidth_is_the_gpus_where_there_is_one():
    assert Bandwidth({1: 10.0, 2: 26.0}, None).device == 26.0
    with_gpu = Bandwidth({1: 10.0, 2: 26.0}, 200.0)
    assert (with_gpu.cpu, with_gpu.device) == (26.0, 200.0)
    assert repr(with_gpu) == "reads 10.0 GB/s with 1 thread, 26.0 GB/s with 2 threads, 200.0 GB/s on the GPU"


def test_the_gpu_measurement_reads_the_array_that_it_is_given(monkeypatch):
    # Runs on whatever device MLX has: what is measured there is the GPU's only on a machine with one.
    monkeypatch.setattr(bandwidth, "ARRAY_BYTES", 2**20)
    assert bandwidth._gpu(mx.ones(2**18)) > 0
