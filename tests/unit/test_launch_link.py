"""A link to a cluster that breaks or never was is told in one line."""

import socket
from contextlib import nullcontext

import pytest
import requests
from ray.job_submission import JobStatus

from neft_ray.errors import LostContactError, UserError
from neft_ray.launch.job import jobs, output
from neft_ray.launch.ssh import Head


def test_a_head_that_is_not_there_is_told_in_one_line():
    with pytest.raises(UserError, match=r"nobody@127\.0\.0\.1: cannot be reached.*ray up"):
        Head("127.0.0.1", "nobody", proxy="false").run("true")
    with (
        pytest.raises(UserError, match="cannot be reached"),
        Head("127.0.0.1", "nobody", proxy="false").tunnel(1),
    ):
        pass


def test_a_port_here_that_somebody_has_is_refused():
    head = Head("127.0.0.1", "nobody", proxy="false")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(UserError, match=f"port {port}: is taken .*name another one with --port"),
            head.tunnel(1, here=port),
        ):
            pass


class Job:
    """A job's server behind a link that breaks now and then."""

    def __init__(self, *told):
        self._told = iter(told)

    def get_job_status(self, name):
        self._now = next(self._told)
        if self._now is None:
            raise requests.ConnectionError("refused")
        return JobStatus.SUCCEEDED if self._now.endswith("end") else JobStatus.RUNNING

    def get_job_logs(self, name):
        return self._now


def test_what_a_job_prints_is_told_once_over_a_link_that_breaks(monkeypatch):
    monkeypatch.setattr("neft_ray.launch.job.POLL_SECONDS", 0)
    told = ["one\n", None, None, "one\ntwo\n", None, "one\ntwo\nend"]
    assert list(output(Job(*told), "a job")) == ["one\n", "two\n", "end"]
    monkeypatch.setattr("neft_ray.launch.job.PATIENCE_SECONDS", -1)
    with pytest.raises(requests.ConnectionError):
        list(output(Job(*told), "a job"))


def test_a_link_that_stays_broken_is_told_in_one_line(monkeypatch):
    monkeypatch.setattr("ray.job_submission.JobSubmissionClient", lambda address: "client")
    monkeypatch.setattr(Head, "tunnel", lambda head, port: nullcontext(1))
    with (
        pytest.raises(
            LostContactError, match=r"me@h: the connection .* broke; what was submitted goes"
        ),
        jobs(Head("h", "me")) as client,
    ):
        assert client == "client"
        raise requests.ConnectionError("Connection aborted.")
