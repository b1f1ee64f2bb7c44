"""Which checks a notebook's cells call."""

import re

from nbformat import NotebookNode

CHECK_CALL = re.compile(r"^(?:\w+ = )?check\(\s*\"([\w.]+)\"", re.MULTILINE)
KERNEL_CALL = re.compile(r"^(?:\w+ = )?check_kernel\(\s*\"([\w.]+)\",\s*rung=\"(\w+)\"", re.MULTILINE)


def checked_ids(notebook: NotebookNode) -> list[str]:
    """Ids of the exercises that the notebook checks, in order."""
    return [i for c in notebook.cells if c.cell_type == "code" for i in CHECK_CALL.findall(c.source)]


def checked_rungs(notebook: NotebookNode) -> list[str]:
    """Ids of the rungs of native ladders that the notebook checks, in order."""
    code = [c.source for c in notebook.cells if c.cell_type == "code"]
    return [f"{ladder}.{rung}" for text in code for ladder, rung in KERNEL_CALL.findall(text)]
