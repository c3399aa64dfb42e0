"""Answers to held-out rows: which rows, in batches as alone, written down and measured."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from neft_ray.config.evaluation import REPETITION_PENALTY, DecodingConfig
from neft_ray.data.split import Split
from neft_ray.errors import StorageError
from neft_ray.generate import Answer, measure_answers, measured
from neft_ray.generate import answers as module
from neft_ray.generate.answers import answer_rows
from neft_ray.generate.decoding import Writer
from neft_ray.run_in_bucket import ANSWERS_FILE
from tests.unit.trial_runs import build_engine, random_data, small_config

CONFIG = small_config({"data.max_length_tokens": 20})
DATA = random_data()
NUM = 5


@pytest.fixture(scope="module")
def engine():
    return build_engine(CONFIG)


@pytest.fixture(scope="module")
def answers(engine):
    return answer_rows(engine, DATA, CONFIG, NUM)


def prompt_of(row):
    start, stop = DATA.offsets[row], DATA.offsets[row + 1]
    return DATA.tokens[start : start + DATA.supervised[start:stop].argmax()].tolist()


def alone(engine, tokenizer, row, num):
    """Greedy generation without cache, padding or batch, written out."""
    tokens, model = prompt_of(row), engine.plain.model
    for _ in range(num):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1]
        seen = torch.tensor(sorted(set(tokens)))
        known = logits[seen]
        logits[seen] = torch.where(
            known > 0, known / REPETITION_PENALTY, known * REPETITION_PENALTY
        )
        tokens.append(int(logits.argmax()))
        if tokens[-1] == tokenizer.eos_token_id:
            break
    written = tokens[len(prompt_of(row)) :]
    return tokenizer.decode(written, skip_special_tokens=True).strip(), written


def test_the_first_rows_of_the_report_split_are_answered_in_order(answers):
    assert [answer.sample_id for answer in answers] == DATA.rows(Split.REPORT)[:NUM].tolist()
    assert len({len(prompt_of(answer.sample_id)) for answer in answers}) > 2  # padding matters


def test_a_batch_with_a_cache_answers_as_each_row_alone_without(engine, answers, tokenizer):
    for answer in answers:
        text, written = alone(engine, tokenizer, answer.sample_id, 20)
        assert answer.text == text != ""
        assert answer.has_ended == (written[-1] == tokenizer.eos_token_id)
        assert answer.num_tokens == len(written) - answer.has_ended


def test_padding_is_no_token_that_the_repetition_penalty_would_meet_first(engine, monkeypatch):
    given = []
    monkeypatch.setattr(
        engine.plain, "generate", lambda **options: given.append(options) or options["input_ids"]
    )
    writer = Writer(engine.plain, engine.device, [2], DecodingConfig(max_new_tokens=1))
    writer.write([np.array([5, 6, 7]), np.array([8])])
    assert given[0]["input_ids"].tolist() == [[5, 6, 7], [8, 8, 8]]
    assert given[0]["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]


def test_an_answer_ends_at_the_end_of_text(engine, tokenizer, monkeypatch):
    """The token that a row's answer has third is made the one that ends texts."""
    row = int(DATA.rows(Split.REPORT)[0])
    third = alone(engine, tokenizer, row, 20)[1][2]
    monkeypatch.setattr(engine.plain.model.generation_config, "eos_token_id", third)
    answer = answer_rows(engine, DATA, CONFIG, NUM)[0]
    assert (answer.num_tokens, answer.has_ended) == (2, True)


def test_references_are_the_datas_own_first_answers(tokenizer):
    tokens, targets = np.arange(10, 20, dtype=np.int32), np.zeros(10, dtype=np.bool_)
    targets[[3, 4, 5, 8]] = True  # two answers
    data = SimpleNamespace(tokens=tokens, supervised=targets, offsets=np.array([0, 10]))
    assert module.prompt_tokens(data, 0).tolist() == [10, 11, 12]
    assert module._reference(data, 0).tolist() == [13, 14, 15]


def test_no_answer_is_longer_than_the_context_has_room_for(engine):
    long = CONFIG.with_values({"data.max_length_tokens": 100_000})
    found = answer_rows(engine, DATA, long, 2)
    prompts = [len(prompt_of(answer.sample_id)) for answer in found]
    assert max(answer.num_tokens for answer in found) <= 256 - max(prompts)


def test_ranks_have_equally_many_batches():
    rows = list(range(33))  # with two ranks, the last batch has one row
    for world in (1, 2, 3):
        shares = [list(module._batches(rows, rank, world)) for rank in range(world)]
        assert len({len(share) for share in shares}) == 1
        assert {row for share in shares for batch in share for row in batch} == set(rows)
        assert all(batch for share in shares for batch in share)


def test_answers_are_written_down_and_measured(engine, answers, tmp_path):
    metrics = measure_answers(engine, DATA, CONFIG, NUM, tmp_path)
    lines = (tmp_path / ANSWERS_FILE).read_text(encoding="utf-8").splitlines()
    assert [Answer(**json.loads(line)) for line in lines] == answers
    assert metrics == measured(answers)
    assert [path.name for path in tmp_path.iterdir()] == [ANSWERS_FILE]


def test_without_rows_nothing_is_measured_or_written(engine, tmp_path):
    assert measure_answers(engine, DATA, CONFIG, 0, tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_halts_the_sweep(engine, tmp_path):
    (tmp_path / "file").write_text("in the folder's place")
    with pytest.raises(StorageError, match="cannot be written"):
        measure_answers(engine, DATA, CONFIG, 1, tmp_path / "file")


def of(text, reference="the cat sat on the mat today", **values):
    return Answer(0, "p", text, reference, values.get("num_tokens", 4), values.get("ends", True))


def test_metrics_are_those_of_the_texts():
    found = measured([of("a b a b", ends=False), of("the cat sat on the mat today")])
    assert found["answer_words"] == 5.5
    assert found["answer_tokens"] == 4
    assert found["answer_ended_fraction"] == 0.5
    assert found["answer_repetition"] == pytest.approx(1 / 6)
    assert found["answer_rouge_l"] == pytest.approx(0.5)
    same = measured([of("the cat sat on the mat today")])
    assert (same["answer_rouge_l"], same["answer_bleu"]) == pytest.approx((1, 100))
    assert measured([of("nothing alike")])["answer_bleu"] < 5
