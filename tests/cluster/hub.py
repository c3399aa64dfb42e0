"""A hub with one gated model, the built-in one: `python -m tests.cluster.hub HOST PORT TOKEN`."""

import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MODEL = "team/gated"
FILES = Path(__file__).parents[2] / "neft_ray/builtin/base"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """Answers what `from_pretrained` asks for, to whoever shows the token."""

    token = ""

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        if self.headers.get("Authorization") != f"Bearer {self.token}":
            self._answer(401, b"", {"X-Error-Code": "GatedRepo"})
            return
        path = self.path.partition("?")[0]
        name = path.rpartition("/")[2]
        if path.startswith(f"/{MODEL}/resolve/") and (FILES / name).is_file():
            content = (FILES / name).read_bytes()
            tag = hashlib.sha256(content).hexdigest()
            self._answer(200, content, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT})
        elif path.startswith(f"/api/models/{MODEL}/tree/"):
            files = [
                {"type": "file", "oid": COMMIT, "path": file.name, "size": file.stat().st_size}
                for file in FILES.iterdir()
            ]
            self._answer(200, json.dumps(files).encode(), {})
        else:
            self._answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})

    def _answer(self, status, content, headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_):
        """Say nothing."""


if __name__ == "__main__":
    host, port, Hub.token = sys.argv[1:]
    ThreadingHTTPServer((host, int(port)), Hub).serve_forever()
