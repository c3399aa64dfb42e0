"""The address and the key of a judge: what cannot work is refused, and the key is shown nowhere."""

from dataclasses import replace

import pytest

from neft_ray.errors import UserError
from neft_ray.judge import EndpointJudge
from tests.unit.judge_server import KEY
from tests.unit.judges import QUESTION


def test_a_netrc_file_does_not_replace_the_key(server, judge, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    judge.ask(*QUESTION)
    replace(judge, key_variable=None).ask(*QUESTION)
    assert server.headers[0][1]["Authorization"] == f"Bearer {KEY}"
    assert "Authorization" not in server.headers[1][1]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("api.openai.com/v1", "is none; give one such as"),
        ("https://me:secret@host.com/v1", "holds a user"),
        ("https://host.com/v1?key=secret", "holds a user"),
        ("http://host.com/v1", "would get the key unencrypted"),
        ("http://8.8.8.8/v1", "would get the key unencrypted"),
    ],
)
def test_an_address_that_cannot_work_is_refused(monkeypatch, url, says):
    monkeypatch.setenv("OUR_KEY", KEY)
    with pytest.raises(UserError, match=says) as raised:
        EndpointJudge(url, "judge-1", "OUR_KEY")
    assert "secret" not in str(raised.value)


def test_a_missing_key_is_told_before_anything_is_asked(monkeypatch):
    monkeypatch.delenv("OUR_KEY", raising=False)
    with pytest.raises(UserError, match=r"\$OUR_KEY: is not set"):
        EndpointJudge("https://host.com", "judge-1", "OUR_KEY")


@pytest.mark.parametrize("end", ["\r", "\n", " ", "ä"])
def test_a_key_that_no_request_can_carry_is_told_and_not_shown(monkeypatch, end):
    monkeypatch.setenv("OUR_KEY", f"{KEY}{end}")
    with pytest.raises(UserError, match=r"\$OUR_KEY: holds a blank, a line's end") as raised:
        EndpointJudge("https://host.com", "judge-1", "OUR_KEY")
    assert KEY not in str(raised.value)


def test_the_key_is_in_nothing_that_is_shown_or_stored(judge):
    assert KEY not in f"{judge!r} {judge.name} {judge.identity} {vars(judge)}"


def test_an_address_without_a_path_gets_v1(monkeypatch):
    monkeypatch.setenv("OUR_KEY", KEY)
    for url in ("https://h.com", "https://h.com/", "https://h.com/v1", "https://h.com/v1/"):
        assert EndpointJudge(url, "m", "OUR_KEY").url == "https://h.com/v1/chat/completions"
    near = EndpointJudge("http://10.0.0.2:8000/api", "m", "OUR_KEY")
    assert near.url == "http://10.0.0.2:8000/api/chat/completions"
