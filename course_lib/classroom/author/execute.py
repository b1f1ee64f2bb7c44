"""Run a solved notebook and store outputs that are worth storing."""

import os
import re
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from ...jupyter import keep_inside
from ...paths import CHECKOUT

# What a stored output must not show: paths of the author's machine.
PRIVATE_PATH = re.compile(r"/(home|root|tmp|work|Users|private|var)/[^\s'\"]*")
WIDGET = "application/vnd.jupyter.widget-view+json"
CELL_TIMEOUT = 300
IGNORE = "nbval-ignore-output"


class ExecutionError(Exception):
    """A notebook did not run to its end, or one of its outputs may not be stored."""


def execute(notebook: NotebookNode, name: str, store: Path, strict: bool = True) -> float:
    """Run all cells in place, in a fresh kernel, with a progress store of its own.

    Args:
        notebook: changed in place: outputs and execution counts.
        name: for messages.
        store: $COURSE_STORE for the run.
        strict: COURSE_STRICT=1: an unsolved exercise is an error.

    Returns:
        Seconds for all cells, without the kernel's start.

    Raises:
        ExecutionError: a cell raised; the message has the cell and its traceback.
    """
    keep_inside()  # else IPython, here and in the kernel, and matplotlib write into the author's home folder
    environment = {
        **os.environ,
        "COURSE_STORE": str(store),
        "COURSE_STRICT": "1" if strict else "0",
        "COURSE_PROGRESS": "off",  # a stored notebook shows no half-finished bar
    }
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        coalesce_streams=True,  # text that streams in is one output, not one a word
        kernel_name="python3",
        resources={"metadata": {"path": str(CHECKOUT / "notebooks")}},
    )
    with client.setup_kernel(env=environment):
        begin = time.perf_counter()
        for index, cell in enumerate(notebook.cells):
            try:
                client.execute_cell(cell, index)
            except CellExecutionError as error:
                raise ExecutionError(f"{name}, cell {index}:\n{error}") from None
        seconds = time.perf_counter() - begin
        notebook.metadata.language_info = NotebookNode(name="python")
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            cell.metadata.pop("execution", None)
            cell.outputs = _worth_storing(cell, f"{name}, cell {index}")
    # Widgets' state would be megabytes, and is stale as soon as it is stored.
    notebook.metadata.pop("widgets", None)
    nbformat.validate(notebook)
    return seconds


def _worth_storing(cell: NotebookNode, where: str) -> list[NotebookNode]:
    stored = []
    for output in cell.outputs:
        if WIDGET in output.get("data", {}):
            # Without its kernel a stored widget is an error message in JupyterLab and nothing on GitHub.
            if IGNORE not in cell.metadata.get("tags", []):
                raise ExecutionError(f"{where} shows a widget: tag it {IGNORE}, and show a static figure too.")
            continue
        text = output.get("text", "") + str(output.get("data", {}).get("text/plain", ""))
        if output.output_type == "stream" and output.name == "stderr":
            raise ExecutionError(f"{where} writes to stderr:\n{text}")
        if found := PRIVATE_PATH.search(text):
            raise ExecutionError(f"{where} shows a path of this machine: {found.group()}")
        stored.append(output)
    return stored
