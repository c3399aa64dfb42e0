"""A real S3 server for tests, some of whose answers fail, are late or are cut off."""

import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import BaseWSGIServer, make_server

NAME = "neft-test"
LATE_SECONDS = 2.0


class Faulty:
    """A WSGI application that answers as S3 does, but for every so-many-th request."""

    def __init__(self, error_every: int = 0, late_every: int = 0, cut_every: int = 0) -> None:
        """Begin; 0 is never. Primes make faults fall on all kinds of requests."""
        self._app = DomainDispatcherApplication(create_backend_app)
        self._error_every, self._late_every = error_every, late_every
        self._cut_every = cut_every
        self._counting = threading.Lock()
        self.num_requests = self.num_faults = 0
        self.is_well = False
        """While true, nothing fails."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        """Answer one request."""
        if self.is_well:
            return self._app(environ, start_response)
        with self._counting:
            self.num_requests += 1
            number = self.num_requests
        if self._late_every and number % self._late_every == 0:
            self.num_faults += 1
            time.sleep(LATE_SECONDS)
        if self._error_every and number % self._error_every == 0:
            self.num_faults += 1
            start_response("503 Slow Down", [("Content-Type", "application/xml")])
            return [b"<Error><Code>SlowDown</Code></Error>"]
        answer = self._app(environ, start_response)
        if self._cut_every and number % self._cut_every == 0:
            self.num_faults += 1
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        return answer


def serve(app: Faulty, host: str = "127.0.0.1", port: int = 0) -> BaseWSGIServer:
    """Return a server that is not yet running."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    return make_server(host, port, app, threaded=True)


@contextmanager
def aws(app: Faulty | None = None) -> Iterator[None]:
    """Be an AWS for the duration of a `with` block, with the environment set up to reach it."""
    server = serve(app or Faulty())
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    before = dict(os.environ)
    os.environ.update(
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="test",
        AWS_DEFAULT_REGION="us-east-1",
        AWS_ENDPOINT_URL=f"http://127.0.0.1:{server.port}",
    )
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def s3_server(app: Faulty | None = None) -> Iterator[str]:
    """Yield the URI of an empty bucket; its server is well until then."""
    app = app or Faulty()
    with aws(app):
        app.is_well = True
        boto3.client("s3").create_bucket(Bucket=NAME)
        app.is_well = False
        yield f"s3://{NAME}"


if __name__ == "__main__":
    address, port, *faults = sys.argv[1:]
    serve(Faulty(*map(int, faults)), address, int(port)).serve_forever()
