"""JupyterLab opens on the first lesson, and nothing of the learner's own is read or written."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import websocket

from course_lib import jupyter
from course_lib.jupyter import keep_inside, lab_command
from course_lib.paths import CHECKOUT, cache_dir


def test_every_folder_lies_in_the_checkout_or_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    environ = {}
    keep_inside(environ)
    assert set(environ) >= {"JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"}
    inside = (CHECKOUT, cache_dir())
    for name, folder in environ.items():
        assert any(Path(folder).is_relative_to(root) for root in inside), name


def test_a_learners_own_jupyter_folders_are_left_out():
    environ = {
        "JUPYTER_PATH": "/mine",
        "JUPYTER_CONFIG_PATH": "/mine",
        "JUPYTERLAB_DIR": "/mine",
        "HOME": "/home",
    }
    keep_inside(environ)
    assert "/mine" not in environ.values()
    assert environ["HOME"] == "/home"


def test_root_is_let_in_and_others_are_not_asked_to_be_root():
    assert "--allow-root" in lab_command([], root=True)
    assert "--allow-root" not in lab_command([], root=False)


def test_what_the_learner_adds_comes_last_and_so_wins():
    added = ["--no-browser", "--port", "8899"]
    assert lab_command(added, root=True)[-3:] == added


def test_it_opens_on_the_first_lesson_or_on_the_launcher_before_there_is_one(monkeypatch, tmp_path):
    monkeypatch.setattr(jupyter, "FIRST_NOTEBOOK", CHECKOUT / "pyproject.toml")
    assert "--LabApp.default_url=/lab/tree/pyproject.toml" in lab_command([], root=False)
    monkeypatch.setattr(jupyter, "FIRST_NOTEBOOK", tmp_path / "missing.ipynb")
    assert "--LabApp.default_url=/lab" in lab_command([], root=False)


def test_a_missing_jupyterlab_is_said_with_what_mends_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jupyterlab", None)
    assert jupyter.main([]) == 1
    assert "make setup" in capsys.readouterr().err


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def get(url, **request):
    # Not through a proxy that the environment may name.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, **request), timeout=20) as answer:
        return answer.geturl(), answer.read().decode()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A JupyterLab started as `make lab` starts it, in a home folder of its own."""
    home = tmp_path_factory.mktemp("home")
    port = free_port()
    command = [
        sys.executable,
        "-c",
        "import sys; from course_lib.jupyter import main; sys.exit(main(sys.argv[1:]))",
    ]
    command += ["--no-browser", f"--port={port}", "--IdentityProvider.token=secret"]
    # As a learner has it: without what pytest set for kernels, and without an earlier start's settings.
    ours: dict[str, str] = {}
    keep_inside(ours)
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment |= {"HOME": str(home), "COURSE_CACHE": str(home / ".cache" / "course")}
    # npm writes a log into the home folder whatever it is asked, and not every machine has one to show it.
    npm = home.with_name("bin") / "npm"
    npm.parent.mkdir()
    npm.write_text('#!/bin/sh\necho asked > "$HOME/npm.log"; echo /nowhere\n')
    npm.chmod(0o755)
    environment["PATH"] = f"{npm.parent}:{environment['PATH']}"
    shutil.rmtree(Path(ours["JUPYTER_CONFIG_DIR"]) / "labconfig", ignore_errors=True)
    log = home.with_name("log")
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        patience = time.monotonic() + 90
        while not listens(port):
            assert process.poll() is None and time.monotonic() < patience, log.read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}", home, log
    finally:
        # The server alone, or all that it started: its process group is its own.
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def test_the_page_opens_on_the_lesson_with_the_news_switched_off(server):
    url, _, log = server
    address, page = get(f"{url}/?token=secret")
    assert "/lab" in address
    if jupyter.FIRST_NOTEBOOK.exists():
        assert address.split("?")[0].endswith("/lab/tree/notebooks/00_start_here.ipynb")
    settings = json.loads(
        re.search(r'id="jupyter-config-data"[^>]*>(.*?)</script>', page, re.DOTALL).group(1)
    )
    assert settings["news"] == {"disabled": True}
    assert "running as root is not recommended" not in log.read_text().lower()


def test_learners_see_extensions_beside_the_notebooks(server):
    url, _, _ = server
    names = {entry["name"] for entry in json.loads(get(f"{url}/api/contents?token=secret")[1])["content"]}
    assert {"notebooks", "course_lib"} <= names


def test_our_quiet_defaults_reach_the_browser(server):
    url, _, _ = server
    plugin = "@jupyterlab/apputils-extension:notification"
    schema = json.loads(get(f"{url}/lab/api/settings/{plugin}?token=secret")[1])["schema"]
    assert schema["properties"]["fetchNews"]["default"] == "false"
    assert schema["properties"]["checkForUpdates"]["default"] is False


def test_a_kernel_starts_without_a_warning(server):
    url, _, log = server
    kernel = json.loads(get(f"{url}/api/kernels?token=secret", method="POST", data=b"{}")[1])["id"]
    # The server asks a kernel for its state only once someone listens.
    address = f"{url.replace('http', 'ws')}/api/kernels/{kernel}/channels?token=secret"
    socket_to_kernel = websocket.create_connection(address, timeout=60, http_no_proxy=["127.0.0.1"])
    while json.loads(socket_to_kernel.recv())["content"].get("execution_state") != "idle":
        pass
    socket_to_kernel.close()
    assert "warn" not in log.read_text().lower()
    get(f"{url}/api/kernels/{kernel}?token=secret", method="DELETE")


def test_nothing_is_written_to_the_home_folder_outside_its_cache(server):
    url, home, _ = server
    get(f"{url}/lab?token=secret")
    get(f"{url}/lsp/status?token=secret")
    written = [path for path in home.rglob("*") if path.is_file() and ".cache" not in path.parts]
    assert written == []
