"""What is this machine? One line, so that a number never stands without the machine it was measured on."""

import os
import platform
import re
import subprocess
import sys
from functools import cache
from pathlib import Path


def cores() -> int:
    """Cores that this process may use, which in a container can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_bytes() -> int:
    """Main memory of the machine, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@cache
def cpu_name() -> str:
    """The processor's name as its maker gives it, or the architecture where it gives none."""
    if sys.platform == "darwin":
        answer = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"],
            capture_output=True,
            text=True,
            check=False,
        )
        return answer.stdout.strip() or platform.machine()
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    # Arm Linux lists no model name.
    return " ".join(found.group(1).split()) if found else platform.machine()


def mlx_device() -> str:
    """What MLX computes on by default: `"cpu"`, or `"gpu"` with its name."""
    import mlx.core as mx

    device = mx.default_device()
    if device.type == mx.cpu:
        return "cpu"
    return f"gpu ({mx.device_info(device).get('device_name', 'unnamed')})"


def describe() -> str:
    """One line: processor, cores, memory, system and MLX's device."""
    from .units import bytes_text

    system = "macOS " + platform.mac_ver()[0] if sys.platform == "darwin" else platform.system()
    count = cores()
    return (
        f"{cpu_name()}, {count} core{'s' * (count != 1)}, {bytes_text(memory_bytes())} memory, "
        f"{system} {platform.machine()}, MLX on {mlx_device()}"
    )
