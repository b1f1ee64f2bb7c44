"""Which line of the .metal file an address in a kernel's program belongs to."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterable
from pathlib import Path


def look_up(program: Path, addresses: Iterable[int], files: Collection[str]) -> dict[int, tuple[str, int]]:
    """Lines of addresses that follow an instruction, as return addresses do.

    What was found is kept beside the program, so that only new addresses are looked up.

    Args:
        program: with line numbers in it.
        addresses: of the program.
        files: the kernel's own. Of functions inlined into each other, the innermost line in one of these counts.

    Returns:
        address -> (file, line), for those that have a line in one of `files`.
    """
    kept = program.with_name("lines.json")
    known = {int(k): v for k, v in json.loads(kept.read_text()).items()} if kept.exists() else {}
    missing = sorted(set(addresses) - set(known))
    if missing:
        known |= _resolve(program, missing, files)
        fresh = kept.with_suffix(".new")
        fresh.write_text(json.dumps(known))
        fresh.replace(kept)
    return {address: tuple(known[address]) for address in addresses if known.get(address)}


def _resolve(program: Path, addresses: list[int], files: Collection[str]) -> dict[int, tuple[str, int] | None]:
    by_name = {Path(file).name: file for file in files}
    found = dict.fromkeys(addresses)
    for address, frames in _frames(program, addresses):
        for file, line in frames:
            # A name that is no path is shown below the folder that the program was compiled in.
            own = file if file in files else by_name.get(Path(file).name)
            if own and line:
                found[address] = (own, line)
                break
    return found


def _frames(program: Path, addresses: list[int]):
    """(address, its lines from the innermost function outwards), in the order of the addresses."""
    spelled = [hex(address - 1) for address in addresses]
    if sys.platform == "darwin":
        command = ["/usr/bin/atos", "-i", "-fullPath", "-o", str(program), *spelled]
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        for address, block in zip(addresses, said.split("\n\n"), strict=False):
            yield address, [(f, int(n)) for f, n in re.findall(r"\(([^()]+):(\d+)\)", block)]
        return
    tool = shutil.which("addr2line") or shutil.which("llvm-addr2line")
    if tool is None:
        return
    command = [tool, "-a", "-i", "-e", str(program)]
    said = subprocess.run(command, input="\n".join(spelled), capture_output=True, text=True, check=False).stdout
    blocks = re.split(r"^0x[0-9a-f]+\n", said, flags=re.MULTILINE)[1:]
    for address, block in zip(addresses, blocks, strict=False):
        matches = (re.match(r"(.*):(\d+|\?)", line) for line in block.splitlines())
        yield address, [(m[1], int(m[2]) if m[2] != "?" else 0) for m in matches if m]
