"""A judge behind HTTP: what is asked, what is read from replies, what happens when it fails."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from email.utils import formatdate
from threading import Barrier
from time import time
from types import SimpleNamespace

import pytest

from neft_ray.errors import UserError
from neft_ray.judge import EndpointJudge, load_prompt
from neft_ray.judge.endpoint import MAX_TRIES
from neft_ray.judge.judges import CUT_OFF, PROBABILITIES, REFUSED, TOO_LONG, UNPARSABLE, WRITTEN
from tests.unit.judge_server import KEY, PROMPT, answers, cut, hang_up, judge_server, reply

QUESTION = ("do it", "short", "much longer")


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("OUR_KEY", KEY)
    with judge_server() as running:
        yield running


@pytest.fixture
def judge(server):
    return EndpointJudge(
        server.url, "judge-1", "OUR_KEY", PROMPT, timeout_seconds=20, first_wait_seconds=0.001
    )


@pytest.fixture
def waits(monkeypatch):
    """The seconds that were waited, which takes no time."""
    seconds = []
    monkeypatch.setattr("neft_ray.judge.endpoint.time", SimpleNamespace(sleep=seconds.append))
    return seconds


def test_it_asks_at_temperature_0_for_one_letter_with_probabilities(server, judge):
    verdict = judge.ask(*QUESTION)
    (body,), ((path, headers),) = server.requests, server.headers
    assert path == "/v1/chat/completions"
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("judge-1", 0, 8)
    assert (body["logprobs"], body["top_logprobs"]) == (True, 5)
    assert body["messages"] == [{"role": "user", "content": PROMPT.render(*QUESTION)}]
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert (verdict.preference, verdict.source) == (1.0, WRITTEN)
    assert (verdict.input_tokens, verdict.output_tokens) == (100, 1)


def test_further_fields_are_sent_and_null_takes_one_out(server, judge):
    extra = {"max_tokens": None, "max_completion_tokens": 500, "seed": 3}
    replace(judge, extra=extra).ask(*QUESTION)
    body = server.requests[0]
    assert "max_tokens" not in body
    assert (body["max_completion_tokens"], body["seed"]) == (500, 3)


def test_a_netrc_file_does_not_replace_the_key(server, judge, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    judge.ask(*QUESTION)
    replace(judge, key_variable=None).ask(*QUESTION)
    assert server.headers[0][1]["Authorization"] == f"Bearer {KEY}"
    assert "Authorization" not in server.headers[1][1]


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        ({"A": math.log(0.25), "B": math.log(0.75)}, 0.75),
        ({"A": math.log(0.2), " A": math.log(0.2), "B": math.log(0.6)}, 0.6),  # one label
        ({"A": math.log(0.1), "B": math.log(0.3), "I": math.log(0.6)}, 0.75),  # of the two
        ({"A": -0.1, "the": -3.0}, 0.0),  # B is not among the likely ones
        ({"B": -0.1}, 1.0),
    ],
)
def test_the_preference_is_the_second_labels_share_of_probability(server, judge, top, expected):
    text = "A" if top.get("A", -99) >= top.get("B", -99) else "B"
    server.answer = lambda _: reply(text, top)
    verdict = judge.ask(*QUESTION)
    assert verdict.source == PROBABILITIES
    assert verdict.preference == pytest.approx(expected)


@pytest.mark.parametrize(
    "text", ["A", " A.", "**A**", "Output A", "The better output is A.", "“A”"]
)
def test_a_written_letter_is_a_verdict(server, judge, text):
    server.answer = lambda _: reply(text)
    verdict = judge.ask(*QUESTION)
    assert (verdict.preference, verdict.source, len(server.requests)) == (0.0, WRITTEN, 1)


def test_the_last_line_counts_where_a_prompt_lets_it_think_aloud(server, judge):
    server.answer = lambda _: reply("A is brief.\nB says more.\n\nVerdict: B\n")
    assert judge.ask(*QUESTION).preference == 1.0


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (reply(""), UNPARSABLE),
        (reply("a"), UNPARSABLE),
        (reply("Both are fine."), UNPARSABLE),
        (reply("A or B"), UNPARSABLE),
        (reply("A is better than B"), UNPARSABLE),
        (reply("The better answer is a", finish_reason="length"), CUT_OFF),
        (reply("", finish_reason="content_filter"), REFUSED),
        (reply(None, message={"content": None, "refusal": "I cannot judge this."}), REFUSED),
        (reply("A", message={"content": "A", "refusal": "I cannot judge this."}), REFUSED),
    ],
)
def test_a_reply_without_a_verdict_is_asked_once_more_and_then_is_none(
    server, judge, answer, problem
):
    server.answer = lambda _: answer
    verdict = judge.ask(*QUESTION)
    assert (verdict.preference, verdict.problem, verdict.source) == (None, problem, "")
    assert len(server.requests) == 2
    assert (verdict.input_tokens, verdict.output_tokens) == (200, 2)


def test_the_second_question_reminds_of_the_form(server, judge):
    replies = [reply("Well, it depends."), reply("B")]
    server.answer = lambda _: replies.pop(0)
    assert judge.ask(*QUESTION).preference == 1.0
    roles = [(m["role"], m["content"]) for m in server.requests[1]["messages"]]
    assert roles[1] == ("assistant", "Well, it depends.")
    assert "single letter A or B" in roles[2][1]


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


@pytest.mark.parametrize(
    ("error", "problem", "asked"),
    [
        ({"code": "content_filter", "message": "violence"}, REFUSED, 2),
        ({"code": "context_length_exceeded", "message": "x"}, TOO_LONG, 1),
        ({"message": "This model's maximum context length is 2048 tokens"}, TOO_LONG, 1),
    ],
)
def test_a_question_that_the_server_does_not_take_has_no_verdict(
    server, judge, error, problem, asked
):
    server.faults.extend([answers(400, {"error": error})] * 2)
    verdict = judge.ask(*QUESTION)
    assert (verdict.preference, verdict.problem) == (None, problem)
    assert verdict.reply == error["message"]
    assert len(server.requests) == asked


def test_a_server_that_refuses_probabilities_is_asked_without(server, judge):
    server.faults.append(answers(400, {"error": {"message": "logprobs is not supported"}}))
    assert judge.ask(*QUESTION).source == WRITTEN
    judge.ask(*QUESTION)
    assert ["logprobs" in body for body in server.requests] == [True, False, False]


def test_questions_on_their_way_are_asked_again_where_probabilities_are_refused(server, judge):
    together = Barrier(4)

    def refuse(handler):
        together.wait(20)  # all have asked for probabilities before the first is refused
        answers(400, {"error": {"message": "logprobs is not supported"}})(handler)

    server.faults.extend([refuse] * 4)
    with ThreadPoolExecutor(4) as threads:
        verdicts = list(threads.map(lambda _: judge.ask(*QUESTION), range(4)))
    assert [verdict.source for verdict in verdicts] == [WRITTEN] * 4
    assert ["logprobs" in body for body in server.requests] == [True] * 4 + [False] * 4


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


def test_the_shipped_prompt_holds_everything_once():
    text = load_prompt().render("INSTRUCTION", "FIRST", "SECOND")
    assert [text.count(word) for word in ("INSTRUCTION", "FIRST", "SECOND")] == [1, 1, 1]
    assert text.index("FIRST") < text.index("SECOND")
    assert text.endswith("A or B and nothing else.")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{{ instruction }} {{ output_1 }}", "leaves out output_2"),
        ("{{ instruction }} {{ output_1 }} {{ output_2 }} {{ other }}", "'other' is undefined"),
        ("{{ instruction", "is no template"),
    ],
)
def test_a_wrong_template_is_refused_with_its_file(tmp_path, text, says):
    file = tmp_path / "mine.jinja"
    file.write_text(text)
    with pytest.raises(UserError, match=says) as raised:
        load_prompt(file)
    assert str(raised.value).startswith(str(file))


def test_a_template_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        load_prompt(tmp_path / "none.jinja")
