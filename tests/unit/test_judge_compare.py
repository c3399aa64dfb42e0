"""A comparison of two systems: both orders of a pair, ties, replies without a verdict."""

import math
import threading
import time

import pytest

from neft_ray.errors import UserError
from neft_ray.judge import Comparison, Output, Outputs, headline, pair_outputs, sentences
from neft_ray.judge.compare import MOST_WITHOUT_VERDICT
from tests.unit.judge_server import SEPARATOR, pairing, prefers_longer, reply
from tests.unit.judges import by_length, endpoint, local, questions_of


def test_every_pair_is_asked_in_both_orders(server, tmp_path):
    pairs = pairing(3)
    judged = Comparison(pairs, endpoint(server), tmp_path / "verdicts.jsonl").run()
    assert sorted(server.questions) == sorted(questions_of(pairs.pairs))
    assert [row.preference for row in judged.rows] == [0.0, 1.0, 0.0]
    assert judged.num_orders_disagree == judged.num_without_verdict == 0
    assert (judged.num_asked, judged.tokens) == (6, (600, 6))
    assert judged.win_rate.raw.rate == pytest.approx(1 / 3)


def test_a_liking_for_a_place_cancels_and_is_counted(server, tmp_path):
    server.answer = lambda _: reply("A")
    judged = Comparison(pairing(4), endpoint(server), tmp_path / "verdicts.jsonl").run()
    assert [row.preference for row in judged.rows] == [0.5] * 4
    assert [row.orders for row in judged.rows] == [(0.0, 1.0)] * 4
    assert judged.num_orders_disagree == judged.win_rate.num_tied == 4
    assert "on 4 of 4 pairs (100.0 %) its preference changes with the order" in " ".join(
        sentences(judged.pairing, judged)
    )


def test_probabilities_are_averaged_over_both_orders(tmp_path):
    judge = local(lambda first, second: (math.log(0.4), math.log(0.6)))  # likes the second place
    row = Comparison(pairing(1), judge, tmp_path / "verdicts.jsonl").run().rows[0]
    assert row.orders == pytest.approx((0.6, 0.4))
    assert row.preference == pytest.approx(0.5)
    assert row.orders_disagree


def test_nothing_is_said_of_a_liking_for_length_where_all_are_equally_long(tmp_path):
    rows = [tuple(Output(f"do {n}", word) for n in range(6)) for word in ("one", "two")]
    pairs = pair_outputs(Outputs("ours", rows[0]), Outputs("theirs", rows[1]))
    judge = local(lambda first, second: (0.0, 1.0 if second == "two" else -1.0))
    said = " ".join(sentences(pairs, Comparison(pairs, judge, tmp_path / "verdicts.jsonl").run()))
    assert "Length-controlled win rate: " in said
    assert "tends to prefer" not in said


def test_a_local_model_judges_by_its_logits(tmp_path):
    calls = []
    judge = local(lambda first, second: calls.append(threading.get_ident()) or (2.0, 0.0))
    verdict = judge.ask("do", "x", "y")
    assert verdict.preference == pytest.approx(1 / (1 + math.exp(2)))
    assert judge.ask("do", "x", "y") == verdict
    assert local(lambda *_: (-2000.0, 0.0)).ask("do", "x", "y").preference == 1.0
    assert local(lambda *_: (0.0, -2000.0)).ask("do", "x", "y").preference == 0.0
    assert local(lambda *_: (math.nan, 0.0)).ask("do", "x", "y").problem == "unparsable"


def test_a_local_model_is_asked_one_at_a_time(tmp_path):
    inside = []

    def logits(first, second):
        inside.append(1)
        time.sleep(0.005)
        assert len(inside) == 1
        inside.clear()
        return by_length(first, second)

    judged = Comparison(pairing(10), local(logits), tmp_path / "verdicts.jsonl").run(concurrency=8)
    assert judged.num_without_verdict == 0


def test_so_many_questions_are_asked_at_a_time_and_no_more(server, tmp_path):
    server.seconds = 0.05
    judged = Comparison(pairing(8), endpoint(server), tmp_path / "verdicts.jsonl").run(
        concurrency=3
    )
    assert server.most_at_once == 3
    assert judged.num_asked == 16


def test_equal_outputs_are_a_tie_and_not_asked(server, tmp_path):
    one, other = (Outputs(n, (Output("a", "same"), Output("b", n))) for n in ("ours", "theirs"))
    comparison = Comparison(pair_outputs(one, other), endpoint(server), tmp_path / "verdicts.jsonl")
    assert comparison.cost().num_calls == 2
    judged = comparison.run()
    assert (judged.rows[0].preference, judged.num_equal, len(server.requests)) == (0.5, 1, 2)
    assert "1 pairs of equal outputs" in " ".join(sentences(judged.pairing, judged))


def test_a_pair_without_a_verdict_counts_nowhere_and_is_told(server, tmp_path):
    def answer(body):
        is_bad = "do 0" in body["messages"][0]["content"]
        return reply("I cannot say.") if is_bad else prefers_longer(body)

    server.answer = answer
    judged = Comparison(pairing(3), endpoint(server), tmp_path / "verdicts.jsonl").run()
    assert [row.preference for row in judged.rows] == [None, 1.0, 0.0]
    assert (judged.num_without_verdict, judged.problems) == (1, {"unparsable": 2})
    rates = judged.win_rate
    assert (rates.num, rates.num_won, rates.num_tied, rates.num_lost) == (2, 1, 0, 1)
    assert "1 of 3 pairs have no verdict and count nowhere (replies: 2 unparsable)." in sentences(
        judged.pairing, judged
    )


def test_one_order_alone_is_no_preference(server, tmp_path):
    def answer(body):
        is_bad = body["messages"][0]["content"].startswith(f"do 0{SEPARATOR}x")
        return reply("Hm.") if is_bad else prefers_longer(body)

    server.answer = answer
    row = Comparison(pairing(1), endpoint(server), tmp_path / "verdicts.jsonl").run().rows[0]
    assert row.orders == (0.0, None)
    assert row.preference is None
    assert not row.orders_disagree


def test_a_judge_that_never_gives_a_verdict_is_not_paid_to_the_end(server, tmp_path):
    server.answer = lambda _: reply("Let me think", finish_reason="length")
    comparison = Comparison(pairing(60), endpoint(server), tmp_path / "verdicts.jsonl")
    with pytest.raises(UserError, match="first 16 replies holds a verdict; the last is cut off"):
        comparison.run(concurrency=2)
    assert len(server.requests) <= 2 * (MOST_WITHOUT_VERDICT + 4)


def judged_by(logits, tmp_path, num=60):
    judge = local(logits)
    return Comparison(pairing(num), judge, tmp_path / "verdicts.jsonl").run()


def test_the_headline_follows_the_win_rate_at_equal_length(tmp_path):
    by_length_alone = judged_by(lambda *it: [4 * x for x in by_length(*it)], tmp_path / "a")
    assert "no evidence that either is preferred" in headline(
        by_length_alone.pairing, by_length_alone
    )
    ours = judged_by(lambda a, b: (3.0 * ("x" in a), 3.0 * ("x" in b)), tmp_path / "b")
    assert headline(ours.pairing, ours) == "At equal length the judge prefers ours."
    theirs = judged_by(lambda a, b: (3.0 * ("y" in a), 3.0 * ("y" in b)), tmp_path / "c")
    assert headline(theirs.pairing, theirs) == "At equal length the judge prefers theirs."
    nobody = judged_by(lambda *_: (math.nan, 0.0), tmp_path / "d", num=4)
    assert headline(nobody.pairing, nobody) == "The judge gave no verdict."
    assert headline(nobody.pairing, None).startswith("No judge was asked")
