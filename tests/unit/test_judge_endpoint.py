"""A judge behind HTTP: what it is asked, and what is read from its replies."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest

from neft_ray.judge.judges import CUT_OFF, PROBABILITIES, REFUSED, TOO_LONG, UNPARSABLE, WRITTEN
from tests.unit.judge_server import KEY, PROMPT, answers, reply
from tests.unit.judges import QUESTION


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
