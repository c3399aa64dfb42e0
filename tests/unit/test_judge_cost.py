"""What a comparison will ask and cost, known before it asks; what is known is not asked again."""

import math

import pytest

from neft_ray.judge import Comparison, JudgePrompt, TokenPrices
from tests.unit.judge_server import PROMPT, pairing
from tests.unit.judges import by_length, endpoint, local, questions_of


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
