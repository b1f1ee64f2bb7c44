"""Run the checks, print a line for each, and say what mends what is broken."""

from collections.abc import Callable, Sequence

from . import installation, machine
from .finding import Finding, Status, broken, reinstall

BEFORE_SETUP = (
    machine.check_python,
    machine.check_system,
    machine.check_compiler,
    machine.check_headers,
    machine.check_disk,
)
ALL = (
    machine.check_machine,
    machine.check_python,
    machine.check_system,
    machine.check_disk,
    machine.check_compiler,
    machine.check_headers,
    installation.check_build_tools,
    installation.check_packages,
    installation.check_device,
    installation.check_extension,
    installation.check_jupyter,
    installation.check_model,
)


def main(args: Sequence[str] = ()) -> int:
    """Run the checks and print what they find.

    Args:
        args: `--before-setup` runs only the checks that need nothing installed, and prints only what is not
            well.

    Returns:
        1 where something needed is broken, else 0.
    """
    early = "--before-setup" in args
    count = 0
    for check in BEFORE_SETUP if early else ALL:
        finding = examine(check)
        count += finding.status is Status.BROKEN
        if not early or finding.status is not Status.OK:
            # At once: some checks take seconds.
            print(finding, flush=True)
    if not early:
        print(f"\nBroken: {count}. Mend from the top." if count else "\nAll that is needed works.")
    return 1 if count else 0


def examine(check: Callable[[], Finding]) -> Finding:
    """Run a check; one that fails itself is a finding too."""
    try:
        return check()
    except Exception as error:
        subject = check.__name__.removeprefix("check_").replace("_", " ")
        return broken(subject, f"{type(error).__name__}: {error}", reinstall())
