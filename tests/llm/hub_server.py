"""A stand-in for the Hugging Face hub on this machine: the few answers a download needs."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

COMMIT = "1" * 40


@contextmanager
def hub_server(models: dict[str, Path]) -> Iterator[SimpleNamespace]:
    """Serves folders under hub names.

    Yields:
        url, and files: the names of the files that were downloaded so far.
    """
    downloaded: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            path = self.path.split("?")[0].strip("/")
            for name, folder in models.items():
                if path in (f"api/models/{name}", f"api/models/{name}/revision/main"):
                    return self.send(self.info(name, folder), {}, body)
                if path.startswith(f"api/models/{name}/tree/"):
                    return self.send(self.tree(folder), {}, body)
                if path.startswith(f"{name}/resolve/"):
                    file = folder / path.split("/")[-1]
                    if file.is_file():
                        if body:
                            downloaded.append(file.name)
                        headers = {"ETag": f'"{_etag(file)}"', "X-Repo-Commit": COMMIT}
                        return self.send(file.read_bytes(), headers, body)
                    return self.send(b"{}", {"X-Error-Code": "EntryNotFound"}, body, status=404)
            self.send(b"{}", {"X-Error-Code": "RepoNotFound"}, body, status=404)

        def info(self, name: str, folder: Path) -> bytes:
            siblings = [{"rfilename": file.name} for file in sorted(folder.iterdir())]
            about = {"_id": "1", "id": name, "modelId": name, "sha": COMMIT, "siblings": siblings}
            return json.dumps(about | {"tags": [], "private": False, "downloads": 0}).encode()

        def tree(self, folder: Path) -> bytes:
            files = [
                {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": _etag(file)}
                for file in sorted(folder.iterdir())
            ]
            return json.dumps(files).encode()

        def send(self, content: bytes, headers: dict[str, str], body: bool, status: int = 200) -> None:
            self.send_response(status)
            for key, value in (headers | {"Content-Length": str(len(content))}).items():
                self.send_header(key, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *_) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}", files=downloaded)
    finally:
        server.shutdown()
        server.server_close()


def _etag(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()
