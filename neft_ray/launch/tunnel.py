"""A port of this machine that leads elsewhere by ssh, for as long as it is needed."""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""How often a tunnel is looked after."""


class TunnelError(Exception):
    """A tunnel that did not open: ssh's exit status, None where there was none, and its words."""

    def __init__(self, status: int | None, told: str) -> None:
        super().__init__(told)
        self.status, self.told = status, told


@contextlib.contextmanager
def kept_open(argv: Sequence[str], port: int, name: str, seconds: float) -> Iterator[None]:
    """Keep a tunnel open for the duration of a `with` block.

    Where it breaks, as it does when a laptop sleeps, it is opened again; both are told on stderr.

    Args:
        argv: The command that forwards `port` and stays until it is ended.
        port: On this machine's loopback.
        name: Of the other end, to tell of.
        seconds: To wait for the first opening.

    Raises:
        TunnelError: If it does not open at first.
    """
    process = _start(argv)
    try:
        _wait_for(process, port, seconds)
    except BaseException:
        _end(process)
        raise
    is_left = threading.Event()
    keeper = threading.Thread(target=_keep, args=(argv, port, name, process, is_left))
    keeper.start()
    try:
        yield
    finally:
        is_left.set()
        keeper.join()


def free_port() -> int:
    """Return a port of loopback that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def answers(port: int) -> bool:
    """Tell whether somebody listens at a port of loopback."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _keep(
    argv: Sequence[str],
    port: int,
    name: str,
    process: subprocess.Popen[bytes],
    is_left: threading.Event,
) -> None:
    is_broken = False
    while not is_left.wait(POLL_SECONDS):
        if process.poll() is not None:
            if not is_broken:
                logger.warning("the connection to %s broke; it is made anew", name)
            is_broken = True
            _end(process)
            process = _start(argv)
        elif is_broken and answers(port):
            logger.warning("connected to %s again", name)
            is_broken = False
    _end(process)


def _start(argv: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.communicate()


def _wait_for(process: subprocess.Popen[bytes], port: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not answers(port):
        if (status := process.poll()) is not None:
            assert process.stderr is not None
            raise TunnelError(status, process.stderr.read().decode())
        if time.monotonic() > deadline:
            raise TunnelError(None, "no answer in time")
        time.sleep(0.05)
