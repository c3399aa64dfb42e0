"""What a machine of AWS finds at 169.254.169.254, version 2: python -m tests.cluster.metadata FILE.

There is a notice as soon as the file exists. Who asks without a session token is refused, and by
Google's paths who does not name Google.
"""

import http.server
import sys
from collections.abc import Callable
from pathlib import Path

ADDRESS = "169.254.169.254"
TOKEN = "a-session-token"
NOTICE = "/latest/meta-data/spot/instance-action"


class Service(http.server.BaseHTTPRequestHandler):
    """Answers as the services do."""

    known: Callable[[str], str | None]
    """What there is to know, by path."""

    def do_PUT(self):
        """Begin a session."""
        is_asked_well = (
            self.path == "/latest/api/token"
            and "X-aws-ec2-metadata-token-ttl-seconds" in self.headers
        )
        self._answer(200 if is_asked_well else 400, TOKEN)

    def do_GET(self):
        """Tell what is known."""
        of_google = self.headers.get("Metadata-Flavor") == "Google"
        if not of_google and self.headers.get("X-aws-ec2-metadata-token") != TOKEN:
            self._answer(401)
        elif (text := type(self).known(self.path)) is not None:
            self._answer(200, text)
        else:
            self._answer(404)

    def log_message(self, *args):
        """Say nothing."""

    def _answer(self, status, text=""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


if __name__ == "__main__":
    file = Path(sys.argv[1])
    Service.known = staticmethod(
        lambda path: file.read_text() if path == NOTICE and file.exists() else None
    )
    http.server.ThreadingHTTPServer((ADDRESS, 80), Service).serve_forever()
