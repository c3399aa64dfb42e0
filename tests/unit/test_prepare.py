"""Conversations become tokens with a loss mask: what is a target, cut, dropped and counted."""

import copy

import pytest

from neft_ray.config.data import DataConfig
from neft_ray.data.prepare import tokenize
from neft_ray.data.split import Split
from neft_ray.errors import UserError
from tests.unit.data_rows import row, some_rows, texts, write


@pytest.mark.parametrize("template", ["alpaca", "question", "{{ instruction }}{{ input }} ="])
def test_exactly_the_response_and_its_end_are_targets(tokenized, tokenizer, template):
    rows = [row("Why, naïve 🦊?", " Because.\n"), row("Who?", "日本語 it was", "a\nb")]
    data = tokenized(rows, template=template)
    (first, first_answer), (second, second_answer) = texts(data, tokenizer)
    assert first_answer == " Because.</s>"
    assert second_answer == " 日本語 it was</s>"
    assert first.startswith("<s>") and first.count("<s>") == 1
    assert first.endswith(("### Response:", "Answer:", " ="))
    assert "a\nb" in second


def test_a_token_across_the_border_of_prompt_and_response_is_a_target(tokenized, tokenizer):
    changed = copy.deepcopy(tokenizer)
    changed.add_tokens(["= so"])
    data = tokenized([row("Why", "so it is")], tokenizer=changed, template="{{ instruction }} =")
    ((prompt, answer),) = texts(data, changed)
    assert (prompt.strip(), answer) == ("<s>Why", "= so it is</s>")


def chats(tmp_path, tokenizer, *roles_of_rows):
    """Tokenize conversations, given as the roles of their messages: "sua" is system, user, …"""
    changed = copy.deepcopy(tokenizer)
    changed.chat_template = (
        "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}"
        "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    names = {"s": "system", "u": "user", "a": "assistant"}
    rows = [
        {
            "messages": [
                {"role": names[r], "content": f"{c} {i}"}
                for r, c in zip(roles, "abcde", strict=False)
            ]
        }
        for i, roles in enumerate(roles_of_rows)
    ]
    source = write(tmp_path / "rows.jsonl", rows)
    return tokenize(DataConfig(train=source, format="messages", template="chat"), changed), changed


def test_every_turn_of_the_assistant_is_a_target(tmp_path, tokenizer):
    data, tokenizer = chats(tmp_path, tokenizer, *["suaua"] * 40)
    assert {len(data.rows(split)) > 0 for split in Split} == {True}
    prompt, answers = texts(data, tokenizer)[0]
    i = answers.split()[1][0]
    assert answers == f" c {i}</s>\n e {i}</s>\n"
    assert prompt == f"<s>system: a {i}\nuser: b {i}\nassistant:user: d {i}\nassistant:"


def test_messages_after_the_last_answer_are_cut_off_and_counted(tmp_path, tokenizer):
    data, tokenizer = chats(tmp_path, tokenizer, *["ua"] * 39, "uau")
    assert data.summary["rows"]["cut: messages after the last answer"] == 1
    told = [p + a for split in Split for p, a in texts(data, tokenizer, split)]
    assert len(told) == 40 and all(text.endswith("</s>\n") for text in told)


def test_too_long_rows_are_cut_off_and_counted(tokenized, tokenizer):
    rows = [row("Short?"), row("Long?", "word " * 50), row("word " * 50 + "?")]
    data = tokenized(rows, max_length_tokens=24)
    lengths = [data.length(sample) for sample in data.rows(Split.TRAIN)]
    assert max(lengths) == 24
    assert "</s>" not in texts(data, tokenizer)[1][1]
    assert data.summary["rows"]["train"] == 2
    assert data.summary["rows"]["truncated"] == 1
    assert data.summary["rows"]["dropped: no response left after truncation"] == 1


def test_too_long_rows_are_dropped_and_counted(tokenized):
    rows = [row("Short?"), row("Long?", "word " * 50)]
    counts = tokenized(rows, max_length_tokens=24, too_long="drop").summary["rows"]
    assert counts["train"] == 1
    assert counts["dropped: longer than max_length_tokens"] == 1
    assert "truncated" not in counts


def test_length_rules_count_tokens_of_prompt_and_response(tokenized, tokenizer):
    answers = [" ".join(["so"] * n) for n in (1, 4, 9)]
    rows = [row("Why?", answer) for answer in answers] + [row("Why? " * 20, answers[1])]
    sizes = [len(tokenizer(f" {answer}", add_special_tokens=False).input_ids) for answer in answers]
    prompt_size = len(tokenizer("Question: Why?\nAnswer:").input_ids)
    rules = {
        "min_response_tokens": sizes[1],
        "max_response_tokens": sizes[1],
        "max_prompt_tokens": prompt_size,
    }
    held_out = [row(f"{c}?", answers[1]) for c in "abcdefghijklmnopqrst"]
    counts = tokenized(rows, held_out, **rules).summary["rows"]
    assert counts["train"] == 1
    assert counts["dropped: response below min_response_tokens"] == 1
    assert counts["dropped: response over max_response_tokens"] == 1
    assert counts["dropped: prompt over max_prompt_tokens"] == 1


def test_max_rows_keeps_the_first_training_rows_that_pass(tokenized, tokenizer):
    rows = [row("Long?", "word " * 90), *some_rows(6)]
    data = tokenized(rows, max_rows=3, max_length_tokens=64, too_long="drop")
    kept = [prompt for prompt, _ in texts(data, tokenizer)]
    assert kept == [f"<s>Question: Question {i}?\nAnswer:" for i in range(3)]
    assert data.summary["rows"]["dropped: over max_rows"] == 3


def test_no_rows_left_names_every_empty_split_and_the_rules_that_emptied_it(tokenized):
    with pytest.raises(UserError) as caught:
        tokenized(some_rows(5), max_length_tokens=8, too_long="drop")
    found = [str(problem) for problem in caught.value.problems]
    assert [
        f"no rows are left to {name} (" in p
        for name, p in zip(("train", "select", "report"), found, strict=True)
    ] == [True] * 3
    assert "45 dropped: longer than max_length_tokens" in found[0]


def test_counts_add_up_to_the_rows_given(tokenized):
    rows = [*some_rows(30), row("Held out 3?"), row("Long?", "word " * 90)]
    counts = tokenized(rows, max_length_tokens=64, too_long="drop", max_rows=20).summary["rows"]
    assert sum(counts.values()) == len(rows) + 40


def test_real_alpaca_rows_with_a_real_tokenizer(real_data):
    from neft_ray.config.trial import ModelConfig
    from neft_ray.model import load_tokenizer

    tokenizer = load_tokenizer(ModelConfig(path=str(real_data / "stories260k")))
    config = DataConfig(
        train=str(real_data / "alpaca_heldout_1200.jsonl"), template="question", max_rows=50
    )
    data = tokenize(config, tokenizer)
    for prompt, answer in texts(data, tokenizer):
        assert prompt.startswith("<s> Question: ") or prompt.startswith("<s>Question: ")
        assert prompt.count("<s>") == 1
        assert prompt.endswith("Answer:")
        assert answer.endswith("</s>") or data.summary["rows"]["truncated"]
    assert data.summary["longest_tokens"] <= 512
