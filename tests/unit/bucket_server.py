"""An S3 server on loopback for tests, whose answers can be made to fail."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import boto3
from moto.server import ThreadedMotoServer

NAME = "neft-test"


@contextmanager
def s3_server() -> Iterator[str]:
    """Yield the URI of an empty bucket, with the environment set up to reach it."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    before = dict(os.environ)
    os.environ.update(
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="test",
        AWS_REGION="us-east-1",
        AWS_ENDPOINT_URL=f"http://{host}:{port}",
    )
    try:
        boto3.client("s3").create_bucket(Bucket=NAME)
        yield f"s3://{NAME}"
    finally:
        os.environ.clear()
        os.environ.update(before)
        server.stop()
