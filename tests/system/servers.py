"""A real MLflow server on loopback that tests may kill and start again."""

import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

from neft_ray.launch.tunnel import free_port
from neft_ray.tracking.address import Address, ui_command


class Server:
    """An `mlflow server` in a process group of its own, started as `neft-ray ui` starts it."""

    def __init__(
        self,
        storage: Path,
        artifacts: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Start it on a sqlite file in `storage`; artifacts lie beside it, or at a given place."""
        storage.mkdir()
        self.database = storage / "mlflow.db"
        self.uri = f"http://127.0.0.1:{free_port()}"
        self.log = storage / "server.log"
        port = int(self.uri.rpartition(":")[2])
        self.command = ui_command(Address.of(None, storage), port)
        self.command.environment.update(settings or {})
        if artifacts is not None:
            place = self.command.argv.index("--artifacts-destination") + 1
            self.command.argv[place] = artifacts
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command.argv,
                env=self.command.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                    return
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.2)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    def signal(self, number: int) -> None:
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def busy(server: Server, num_refusals: int) -> Iterator[str]:
    """Yield an address that refuses some requests as a busy server does, then passes them on."""
    left = [num_refusals]

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or None
            if left[0]:
                left[0] -= 1
                self.send_error(500)
                return
            headers = {"Content-Type": self.headers.get("Content-Type", "application/json")}
            url = f"{server.uri}{self.path}"
            request = urllib.request.Request(url, body, headers, method=self.command)
            try:
                with urllib.request.urlopen(request) as answered:
                    status, text = answered.status, answered.read()
            except urllib.error.HTTPError as error:
                status, text = error.code, error.read()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = answer

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}"
    finally:
        proxy.shutdown()
        proxy.server_close()
