"""A judge's server that fails: what is asked again, how long is waited, what a person must mend."""

from dataclasses import replace
from email.utils import formatdate
from time import time
from types import SimpleNamespace

import pytest

from neft_ray.errors import UserError
from neft_ray.judge.endpoint import MAX_TRIES
from tests.unit.judge_server import KEY, answers, cut, hang_up
from tests.unit.judges import QUESTION


@pytest.fixture
def waits(monkeypatch):
    """The seconds that were waited, which takes no time."""
    seconds = []
    monkeypatch.setattr("neft_ray.judge.endpoint.time", SimpleNamespace(sleep=seconds.append))
    return seconds


def test_faults_of_server_and_network_are_retried(server, judge):
    faults = [answers(500), answers(429), cut, hang_up, answers(200, "<html>"), answers(200, "{}")]
    assert len(faults) == MAX_TRIES - 1
    server.faults.extend(faults)
    assert judge.ask(*QUESTION).preference == 1.0
    assert len(server.requests) == MAX_TRIES


def test_a_slow_answer_is_a_fault(server, judge):
    server.faults.append(lambda handler: handler.rfile.read(1))  # waits for what never comes
    assert replace(judge, timeout_seconds=0.3).ask(*QUESTION).preference == 1.0
    assert len(server.requests) == 2


def test_waits_double_and_the_servers_own_are_kept(server, judge, waits):
    in_a_minute = formatdate(time() + 60, usegmt=True)
    server.faults.extend([answers(500)] * 3)
    server.faults.append(answers(429, Retry_After="7"))
    server.faults.append(answers(503, Retry_After=in_a_minute))
    server.faults.append(answers(503, Retry_After="nonsense"))
    replace(judge, first_wait_seconds=1).ask(*QUESTION)
    own = [0.75 * 2**n <= waits[n + 1] <= 1.25 * 2**n for n in range(3)]
    assert own == [True] * 3
    assert 7 <= waits[4] <= 10
    assert 50 <= waits[5] <= 60
    assert 24 <= waits[6] <= 40


def test_a_very_long_wait_is_left_to_the_user(server, judge, waits):
    server.faults.append(answers(429, {"error": {"message": "try tomorrow"}}, Retry_After="86400"))
    with pytest.raises(UserError, match=r"asks to wait 86400 s: 429 try tomorrow; run the same"):
        judge.ask(*QUESTION)
    assert len(server.requests) == 1


def test_a_server_that_stays_ill_is_a_clear_error(server, judge):
    server.faults.extend([answers(503, "down")] * 20)
    with pytest.raises(UserError, match=f"gave no answer in {MAX_TRIES} tries: 503 down"):
        judge.ask(*QUESTION)
    assert len(server.requests) == MAX_TRIES


@pytest.mark.parametrize(
    ("status", "error", "says"),
    [
        (401, {"message": f"bad key {KEY}"}, r"401 bad key \[key\]; see that \$OUR_KEY holds"),
        (403, {"message": "no"}, "may use judge-1"),
        (404, {"message": "no such model"}, "404 no such model; see that the address"),
        (400, {"message": "bad field"}, "400 bad field; see the judge's model"),
        (302, {}, "302"),
        (429, {"code": "insufficient_quota", "message": "pay"}, "429 pay; see the account's quota"),
    ],
)
def test_what_a_person_must_mend_is_not_retried(server, judge, status, error, says):
    server.faults.append(answers(status, {"error": error}, Location="http://127.0.0.1:1/"))
    with pytest.raises(UserError, match=says) as raised:
        judge.ask(*QUESTION)
    assert KEY not in str(raised.value)
    assert len(server.requests) == 1
