"""The file of verdicts: whole after a kill, read by its lines, one writer, no key in it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from neft_ray.errors import UserError
from neft_ray.judge import Comparison, Verdict
from neft_ray.judge.cache import VerdictCache
from tests.unit.judge_server import KEY, answers, pairing, prefers_longer
from tests.unit.judges import by_length, endpoint, local


@pytest.mark.parametrize("text", ['[{"instruction": "x"}]', "my notes\nand more"])
def test_a_file_of_something_else_stays_as_it_is(tmp_path, text):
    file = tmp_path / "verdicts.jsonl"
    file.write_text(text)
    comparison = Comparison(pairing(1), local(by_length), file)
    with pytest.raises(UserError, match=r"verdicts.jsonl:\d: is no verdict"):
        comparison.cost()
    with pytest.raises(UserError, match="is no verdict"):
        comparison.run()
    assert file.read_text() == text


def test_an_error_stops_all_and_keeps_what_was_answered(server, tmp_path):
    file = tmp_path / "verdicts.jsonl"

    def answer(body):
        if len(server.requests) == 5:
            server.faults.append(answers(401, {"error": {"message": "revoked"}}))
        return prefers_longer(body)

    server.answer = answer
    with pytest.raises(UserError, match="401 revoked"):
        Comparison(pairing(20), endpoint(server), file).run(concurrency=1)
    assert (len(server.requests), len(VerdictCache(file).read())) == (6, 5)


def test_an_interrupted_comparison_keeps_what_was_asked(server, tmp_path):
    file = tmp_path / "verdicts.jsonl"
    server.seconds = 0.05

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Comparison(pairing(20), endpoint(server), file).run(interrupt, concurrency=3)
    assert len(VerdictCache(file).read()) == len(server.requests) < 12


KILLED = """
import sys
from pathlib import Path
from neft_ray.judge import Comparison, EndpointJudge
from tests.unit.judge_server import PROMPT, pairing
judge = EndpointJudge(sys.argv[1], "judge-1", "OUR_KEY", PROMPT)
Comparison(pairing(30), judge, Path(sys.argv[2])).run()
"""


def test_a_killed_comparison_goes_on_and_asks_nothing_twice(server, tmp_path):
    file = tmp_path / "verdicts.jsonl"
    server.seconds = 0.03
    process = subprocess.Popen([sys.executable, "-c", KILLED, server.url, str(file)])
    while not (file.exists() and file.read_bytes().count(b"\n") >= 12):
        assert process.poll() is None
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    known = VerdictCache(file).read()
    assert 12 <= len(known) < 60
    before = len(server.requests)
    comparison = Comparison(pairing(30), endpoint(server), file)
    assert comparison.cost().num_calls == 60 - len(known)
    judged = comparison.run()
    assert judged.num_asked == 60 - len(known)
    assert len(server.requests) - before == 60 - len(known)
    in_flight = [number for number in Counter(server.questions).values() if number > 1]
    assert len(in_flight) <= 4  # asked, but killed before the answer was there
    fresh = Comparison(pairing(30), endpoint(server), tmp_path / "fresh.jsonl").run()
    assert fresh.rows == judged.rows


def test_a_line_that_was_cut_is_no_verdict_and_is_asked_again(server, tmp_path):
    file = tmp_path / "verdicts.jsonl"
    Comparison(pairing(2), endpoint(server), file).run()
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    comparison = Comparison(pairing(2), endpoint(server), file)
    assert comparison.cost().num_calls == 1
    comparison.run()
    assert sorted(file.read_bytes().splitlines()) == sorted(whole.splitlines())


def test_a_file_of_something_else_is_refused_with_its_line(server, tmp_path):
    file = tmp_path / "verdicts.jsonl"
    file.write_text('{"key": "k", "preference": 1.0}\n{"instruction": "x"}\n')
    with pytest.raises(UserError, match=r"verdicts.jsonl:2: is no verdict"):
        Comparison(pairing(1), endpoint(server), file).cost()


def test_two_processes_do_not_add_to_one_file(server, tmp_path):
    file = tmp_path / "verdicts.jsonl"
    comparison = Comparison(pairing(1), endpoint(server), file)
    with (
        VerdictCache(file).adding(),
        pytest.raises(UserError, match="another process adds verdicts"),
    ):
        comparison.run()
    comparison.run()


def test_a_verdict_is_on_the_disk_before_the_next_question(server, tmp_path):
    file = tmp_path / "verdicts.jsonl"
    lines = []

    def answer(body):
        lines.append(file.read_bytes().count(b"\n"))
        return prefers_longer(body)

    server.answer = answer
    Comparison(pairing(3), endpoint(server), file).run(concurrency=1)
    assert lines == [0, 1, 2, 3, 4, 5]


def test_every_verdict_is_forced_to_the_disk(server, tmp_path, monkeypatch):
    sizes = []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda file: (sizes.append(os.fstat(file).st_size), real(file))
    )
    file = tmp_path / "verdicts.jsonl"
    Comparison(pairing(2), endpoint(server), file).run()
    lengths = [len(line) for line in file.read_bytes().splitlines(keepends=True)]
    assert sizes == [sum(lengths[: n + 1]) for n in range(4)]


def test_the_key_is_nowhere_on_the_disk(server, tmp_path):
    from neft_ray.judge import write_page

    server.faults.append(answers(401, {"error": {"message": f"what is {KEY}?"}}))
    comparison = Comparison(pairing(3), endpoint(server), tmp_path / "verdicts.jsonl")
    with pytest.raises(UserError) as raised:
        comparison.run()
    (tmp_path / "log").write_text(f"{raised.value!r} {comparison._judge!r}")
    server.faults.append(answers(400, {"error": {"code": "content_filter", "message": KEY}}))
    server.faults.append(answers(400, {"error": {"code": "content_filter", "message": KEY}}))
    judged = comparison.run(concurrency=1)
    assert judged.num_without_verdict == 1
    write_page(tmp_path / "page.html", judged.pairing, judged)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 3
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_lines_are_json_that_others_can_read(server, tmp_path):
    file = tmp_path / "verdicts.jsonl"
    Comparison(pairing(1), endpoint(server), file).run()
    entries = [json.loads(line) for line in file.read_text().splitlines()]
    assert sorted(entry["preference"] for entry in entries) == [0.0, 1.0]
    assert all(len(entry.pop("key")) == 64 and Verdict(**entry).reply in "AB" for entry in entries)
