"""Word that a spot machine is called back, asked of the metadata services of AWS and Google."""

import http.server
import threading
import time
from datetime import UTC, datetime

import pytest

from neft_ray.launch import spot
from tests.cluster.metadata import NOTICE, Service

ADVICE = {"/latest/meta-data/events/recommendations/rebalance": '{"noticeTime": "x"}'}
AT = "2026-11-27T08:22:00Z"


@pytest.fixture
def service(monkeypatch):
    """A metadata service; yields what it knows, by path."""
    known = {}

    monkeypatch.setattr(Service, "known", staticmethod(known.get), raising=False)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(spot, "POLL_SECONDS", 0.01)
    for name in ("AWS_SERVICE", "GOOGLE_SERVICE"):
        path = getattr(spot, name).removeprefix("http://169.254.169.254")
        monkeypatch.setattr(spot, name, f"http://127.0.0.1:{server.server_port}{path}")
    yield known
    server.shutdown()
    server.server_close()


def test_without_word_a_machine_stays(service):
    assert spot.aws_notice(True) is None
    assert spot.google_notice(True) is None


def test_a_notice_says_when_the_machine_is_taken_away(service):
    service[NOTICE] = f'{{"action": "stop", "time": "{AT}"}}'
    found = spot.aws_notice(False)
    assert found == spot.Notice(f"spot stop at {AT}", found.at)
    assert datetime.fromtimestamp(found.at, UTC) == datetime(2026, 11, 27, 8, 22, tzinfo=UTC)


def test_advice_is_followed_where_that_is_wanted(service):
    service |= ADVICE
    assert spot.aws_notice(False) is None
    assert spot.aws_notice(True) == spot.Notice("spot rebalance recommendation", None)


def test_google_gives_half_a_minute(service):
    service["/computeMetadata/v1/instance/preempted"] = "FALSE"
    assert spot.google_notice(False) is None
    service["/computeMetadata/v1/instance/preempted"] = "TRUE"
    assert spot.google_notice(False).at == pytest.approx(time.time() + 30, abs=5)


def test_the_watch_goes_on_until_ray_has_been_told(service, monkeypatch, caplog):
    asked, told = [], []

    def ask(with_advice):
        asked.append(with_advice)
        if len(asked) == 1:
            raise spot.requests.ConnectionError("down")
        return spot.Notice("now", 7.0) if len(asked) == 3 else None

    def drain(head, notice):
        told.append((head, notice.at))
        return len(told) == 2

    monkeypatch.setitem(spot.MARKETS, "aws", ask)
    monkeypatch.setattr(spot, "_drain", drain)
    spot.watch("aws", "10.0.0.1:6379", True)
    assert asked == [True] * 3
    assert told == [("10.0.0.1:6379", 7.0)] * 2
    assert "the metadata service does not answer: down" in caplog.text


def test_a_head_that_is_away_is_asked_again(caplog):
    assert spot._drain("127.0.0.1:1", spot.Notice("now", None)) is False
    assert "Ray cannot be told" in caplog.text
