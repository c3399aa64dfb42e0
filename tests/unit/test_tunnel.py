"""Tunnels stay open: whatever forwards a port is started again when it ends."""

import logging
import sys
import time
from urllib.error import URLError
from urllib.request import urlopen

import psutil
import pytest

from neft_ray.launch.tunnel import TunnelError, free_port, kept_open


def server(port):
    return [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]


def servers(port):
    return [p for p in psutil.Process().children() if str(port) in p.cmdline()]


def until_it_answers(port):
    for _ in range(600):
        try:
            return urlopen(f"http://127.0.0.1:{port}").status
        except URLError:
            time.sleep(0.1)
    return None


def test_what_ends_is_started_again_on_the_same_port_and_told_once(caplog):
    port = free_port()
    with caplog.at_level(logging.WARNING), kept_open(server(port), port, "me@head", 60):
        assert until_it_answers(port) == 200
        (first,) = servers(port)
        first.kill()
        first.wait(60)
        assert until_it_answers(port) == 200
        (second,) = servers(port)
        assert second.pid != first.pid
        while len(caplog.messages) < 2:
            time.sleep(0.1)
    broke, again = caplog.messages
    assert broke == "the connection to me@head broke; it is made anew"
    assert again == "connected to me@head again"
    assert not servers(port)


def test_what_never_opens_is_an_error_with_its_last_words():
    port = free_port()
    words = [sys.executable, "-c", "import sys; sys.exit('no such host')"]
    with (
        pytest.raises(TunnelError, match="no such host") as caught,
        kept_open(words, port, "h", 60),
    ):
        pass
    assert caught.value.status == 1
    silent = [sys.executable, "-c", "import time; time.sleep(600)", str(port)]
    with pytest.raises(TunnelError, match="no answer"), kept_open(silent, port, "h", 0.5):
        pass
    assert not servers(port)
