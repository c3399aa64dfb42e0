"""A whole comparison: both orders, what it costs, a file of verdicts that outlives a kill."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from neft_ray.errors import UserError
from neft_ray.judge import (
    Comparison,
    EndpointJudge,
    JudgePrompt,
    LocalJudge,
    Output,
    Outputs,
    TokenPrices,
    Verdict,
    headline,
    pair_outputs,
    sentences,
)
from neft_ray.judge.cache import VerdictCache
from neft_ray.judge.compare import MOST_WITHOUT_VERDICT
from tests.unit.judge_server import (
    KEY,
    PROMPT,
    SEPARATOR,
    answers,
    judge_server,
    pairing,
    prefers_longer,
    reply,
)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("OUR_KEY", KEY)
    with judge_server() as running:
        yield running


def endpoint(server, prompt=PROMPT, **changes):
    options = {"timeout_seconds": 20, "first_wait_seconds": 0.001} | changes
    return EndpointJudge(server.url, "judge-1", "OUR_KEY", prompt, **options)


def local(logits, name="model"):
    return LocalJudge(name, lambda prompt: logits(*prompt.split(SEPARATOR)[1:3]), PROMPT)


def by_length(first, second):
    return float(len(first)), float(len(second))


def questions_of(pairs):
    both = ((p.reference, p.system) for p in pairs), ((p.system, p.reference) for p in pairs)
    orders = [order for orders in zip(*both, strict=True) for order in orders]
    prompts = [pair.instruction for pair in pairs for _ in range(2)]
    return [PROMPT.render(p, *order) for p, order in zip(prompts, orders, strict=True)]


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


def test_the_cost_is_known_before_anything_is_asked(server, tmp_path):
    pairs = pairing(3)
    comparison = Comparison(pairs, endpoint(server), tmp_path / "verdicts.jsonl")
    cost = comparison.cost()
    characters = [len(question) for question in questions_of(pairs.pairs)]
    assert not server.requests
    assert not (tmp_path / "verdicts.jsonl").exists()
    assert (cost.num_pairs, cost.num_questions, cost.num_known, cost.num_calls) == (3, 6, 0, 6)
    assert cost.input_tokens == sum(math.ceil(number / 4) for number in characters)
    assert cost.output_tokens == 6 * 8
    assert cost.money is None
    assert cost.sentence().startswith("6 questions to the judge, about ")
    assert cost.sentence().endswith("price unknown")
    priced = comparison.cost(TokenPrices(3, 10))
    assert priced.money == pytest.approx((cost.input_tokens * 3 + 48 * 10) / 1e6)
    assert "price unknown" not in priced.sentence()


def test_known_verdicts_are_not_asked_for_again_nor_counted(server, tmp_path):
    file = tmp_path / "verdicts.jsonl"
    first = Comparison(pairing(2), endpoint(server), file).run()
    comparison = Comparison(pairing(3), endpoint(server), file)
    cost = comparison.cost()
    assert (cost.num_questions, cost.num_known, cost.num_calls) == (6, 4, 2)
    assert "(4 of 6 known)" in cost.sentence()
    judged = comparison.run()
    assert (judged.num_asked, len(server.requests)) == (2, 6)
    assert judged.rows[:2] == first.rows
    assert comparison.cost().sentence() == "all 6 verdicts are known: nothing is asked"


def test_whatever_changes_a_verdict_is_asked_anew(server, tmp_path):
    file = tmp_path / "verdicts.jsonl"
    variants = [
        endpoint(server),
        endpoint(server, JudgePrompt(f"{{# asked otherwise #}}{PROMPT.text}")),
        endpoint(server, extra={"seed": 1}),
        endpoint(server, max_output_tokens=9),
        local(by_length),
        local(by_length, "other model"),
    ]
    for number, judge in enumerate(variants):
        assert Comparison(pairing(1), judge, file).cost().num_calls == 2, number
        Comparison(pairing(1), judge, file).run()
        assert Comparison(pairing(1, name="renamed"), judge, file).cost().num_calls == 0


def test_progress_is_told_from_what_is_known_to_the_end(server, tmp_path):
    file = tmp_path / "verdicts.jsonl"
    Comparison(pairing(1), endpoint(server), file).run()
    told = []
    Comparison(pairing(3), endpoint(server), file).run(lambda *it: told.append(it))
    assert told == [(3, 6), (4, 6), (5, 6), (6, 6)]


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
