"""JupyterLab for the course: one command, this environment's kernel, no file outside the checkout.

Jupyter, IPython and matplotlib each keep settings and history in the home folder. The course must not touch
what a learner already has there, and what lies there must not change how the course runs. So their folders
are moved into the checkout by environment variables, which the kernels inherit.
"""

import json
import os
import sys
from collections.abc import MutableMapping, Sequence
from pathlib import Path

from .paths import CHECKOUT, NOTEBOOKS, cache_dir

FIRST_NOTEBOOK = NOTEBOOKS / "00_start_here.ipynb"

# Whoever opens the first lesson wants the lesson: no question about news, no pop-up about updates.
QUIET = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
}


def keep_inside(environ: MutableMapping[str, str] = os.environ) -> None:
    """Point every folder that Jupyter, IPython and matplotlib write to into the checkout or the cache.

    Args:
        environ: changed in place. Processes started later inherit it.
    """
    home = CHECKOUT / ".course" / "jupyter"
    # IPython leaves for a folder of its own choice where this one is missing.
    home.mkdir(parents=True, exist_ok=True)
    environ["JUPYTER_CONFIG_DIR"] = str(home / "config")
    environ["JUPYTER_DATA_DIR"] = str(home / "data")
    environ["JUPYTER_RUNTIME_DIR"] = str(home / "runtime")
    environ["JUPYTERLAB_SETTINGS_DIR"] = str(home / "config" / "lab" / "user-settings")
    environ["JUPYTERLAB_WORKSPACES_DIR"] = str(home / "config" / "lab" / "workspaces")
    environ["IPYTHONDIR"] = str(home / "ipython")
    # matplotlib's list of fonts takes seconds to make and fits every checkout on this machine.
    environ["MPLCONFIGDIR"] = str(cache_dir() / "matplotlib")
    # A kernel named python3 in one of these would be started in place of this environment's.
    for name in ("JUPYTER_PATH", "JUPYTER_CONFIG_PATH", "JUPYTERLAB_DIR"):
        environ.pop(name, None)


def lab_command(args: Sequence[str], *, root: bool) -> list[str]:
    """The command line that starts JupyterLab.

    Args:
        args: appended, so that they win over ours.
        root: whether the user is root, whom Jupyter turns away unless told otherwise.
    """
    page = "/lab"
    if FIRST_NOTEBOOK.exists():
        page = f"/lab/tree/{FIRST_NOTEBOOK.relative_to(CHECKOUT).as_posix()}"
    return [
        sys.executable,
        "-m",
        "jupyterlab",
        # Not the notebooks' folder: learners edit extensions/ in the same window.
        f"--ServerApp.root_dir={CHECKOUT}",
        f"--LabApp.default_url={page}",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.handlers.announcements.NeverCheckForUpdate",
        # Looking for language servers runs npm, which writes a log into the home folder.
        "--LanguageServerManager.autodetect=False",
        # On a shared machine others can listen to its loopback; and the kernel warns where this is off.
        "--KernelManager.transport_encryption=auto",
        *(["--allow-root"] if root else []),
        *args,
    ]


def main(args: Sequence[str] = ()) -> int:
    """Replace this process by JupyterLab, opened on the first notebook.

    Args:
        args: passed on to `jupyter lab`, for example `--no-browser --port 8899`.

    Returns:
        1 where JupyterLab is not installed; does not return otherwise.
    """
    try:
        import jupyterlab  # noqa: F401
    except ImportError as error:
        print(f"course lab: JupyterLab does not start: {error}. Mend it with: make setup", file=sys.stderr)
        return 1
    keep_inside()
    _write_overrides(Path(os.environ["JUPYTER_CONFIG_DIR"]))
    # Terminals opened in JupyterLab then find `course` and this Python.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    command = lab_command(args, root=hasattr(os, "geteuid") and os.geteuid() == 0)
    sys.stdout.flush()
    os.execv(command[0], command)


def _write_overrides(config: Path) -> None:
    # Defaults, not settings: what a learner chooses in JupyterLab's settings editor still wins.
    folder = config / "labconfig"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "default_setting_overrides.json").write_text(json.dumps(QUIET, indent=1) + "\n")
