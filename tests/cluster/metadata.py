"""What a machine of AWS finds at 169.254.169.254, version 2: python -m tests.cluster.metadata FILE.

There is a notice as soon as the file exists. Who asks without a session token is refused.
"""

import http.server
import sys
from pathlib import Path

ADDRESS = "169.254.169.254"
TOKEN = "a-session-token"


class Service(http.server.BaseHTTPRequestHandler):
    """Answers as the service does."""

    notice: Path

    def do_PUT(self):
        """Begin a session."""
        is_asked_well = (
            self.path == "/latest/api/token"
            and "X-aws-ec2-metadata-token-ttl-seconds" in self.headers
        )
        self._answer(200 if is_asked_well else 400, TOKEN)

    def do_GET(self):
        """Tell of the notice, if there is one."""
        if self.headers.get("X-aws-ec2-metadata-token") != TOKEN:
            self._answer(401)
        elif self.path == "/latest/meta-data/spot/instance-action" and self.notice.exists():
            self._answer(200, self.notice.read_text())
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
    Service.notice = Path(sys.argv[1])
    http.server.ThreadingHTTPServer((ADDRESS, 80), Service).serve_forever()
