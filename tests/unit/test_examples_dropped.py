"""Rows that are cut or dropped: what does not alternate, is empty, or is in an evaluation."""

import pytest

from neft_ray.data.prepare import count
from neft_ray.errors import UserError
from tests.unit.data_rows import write
from tests.unit.example_rows import ROWS_OF_TWO, answers, as_messages, as_sharegpt


def test_messages_that_begin_with_an_answer_or_do_not_alternate_are_counted(found, tokenizer):
    said = ROWS_OF_TWO[0]["conversations"]
    rows = [{"conversations": said[1:]}, {"conversations": [said[0], *said]}]
    first, second = found(rows, format="sharegpt", template="vicuna")
    assert answers(first, tokenizer) == [" Now.</s>"]
    assert count([first])["cut: answers before the first question"] == 1
    assert count([second])["dropped: roles that do not alternate"] == 1


def test_rows_with_an_empty_message_are_dropped_and_counted(found):
    rows = [{"instruction": "Say nothing.", "output": " \n"}]
    assert count(found(rows)) == {"dropped: an empty message": 1}


@pytest.mark.parametrize(
    ("evaluation", "prompt"),
    [
        ({"instruction": "Name three fruits.", "output": "…"}, "name THREE fruits"),
        ({"key": 1, "prompt": "Name three fruits."}, "Name three fruits!"),
        ({"turns": ["Name three fruits.", "Why?"]}, "Name three fruits."),
        (as_messages([("Name three fruits.", "Apples")])[0], "Fruits: name three"),
        (as_sharegpt([("Name three fruits.", "Apples")])[0], "Name three fruits."),
        ({"messages": [{"role": "user", "content": "Name three fruits."}]}, "Name three fruits."),
        ({"conversations": [{"from": "human", "value": "Name fruits three"}]}, "Name three fruits"),
    ],
)
def test_rows_that_ask_what_an_evaluation_asks_are_dropped(found, tmp_path, evaluation, prompt):
    exclude = write(tmp_path / "evaluation.jsonl", [evaluation])
    talks = [[(prompt, "a")], [("Hello.", "b"), (prompt, "c")], [("Why?", "d")]]
    rows = [row for talk in talks for row in as_sharegpt(talk)]
    first, later, other = found(rows, format="sharegpt", template="vicuna", exclude=(exclude,))
    assert {first.dropped, later.dropped} == {"prompt is excluded"}
    assert "evaluation.jsonl: row 1" in first.detail
    assert not other.dropped


def test_an_evaluation_set_without_prompts_is_refused(found, tmp_path):
    exclude = write(tmp_path / "evaluation.jsonl", [{"question": "Why?"}])
    with pytest.raises(UserError, match=r"evaluation.jsonl: row 1: has the keys question"):
        found(ROWS_OF_TWO, format="sharegpt", exclude=(exclude,))
