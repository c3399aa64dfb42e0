"""Conversations become tokens with a loss mask, split, by named and counted rules."""

import copy
import json
import subprocess
import sys

import numpy as np
import pytest

from neft_ray.config.data import DataConfig, SplitConfig
from neft_ray.data.prepare import prepare, tokenize
from neft_ray.data.split import Split
from neft_ray.data.tokenized import FILES, TokenizedData
from neft_ray.errors import UserError
from neft_ray.working_copy import bucket_of, here

NUM_SAVES = 60
SAVER = f"""
import sys
from pathlib import Path
from typing import Any
from neft_ray.data.tokenized import TokenizedData
folder, source = map(Path, sys.argv[1:])
data = TokenizedData.load(source)
print("ready", flush=True)
sys.stdin.readline()
for number in range({NUM_SAVES}):
    data.save(folder / str(number))
"""


def row(instruction, output="It is so.", context="") -> dict:
    return {"instruction": instruction, "input": context, "output": output}


def some_rows(num, prefix="Question", **fields) -> list[dict]:
    return [row(f"{prefix} {i}?", **fields) for i in range(num)]


def write(file, rows) -> str:
    file.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return str(file)


@pytest.fixture
def tokenized(tmp_path, tokenizer):
    """Tokenizes rows, by default all for training but for 40 held out ones."""

    def build(rows, held_out=None, tokenizer=tokenizer, **settings) -> TokenizedData:
        kept_out = held_out or some_rows(40, "Held out")
        config = DataConfig(
            train=write(tmp_path / "train.jsonl", rows),
            held_out=write(tmp_path / "held_out.jsonl", kept_out),
            **{"template": "question", **settings},
        )
        return tokenize(config, tokenizer)

    return build


def texts(data, tokenizer, split=Split.TRAIN) -> list[tuple[str, str]]:
    """The text before the first target, and that of the targets, of every row."""
    found = []
    for sample in data.rows(split):
        span = slice(data.offsets[sample], data.offsets[sample + 1])
        tokens, mask = data.tokens[span], data.supervised[span]
        found.append((tokenizer.decode(tokens[~mask]), tokenizer.decode(tokens[mask])))
    return found


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


def test_duplicates_and_near_copies_fall_into_one_split(tmp_path, tokenizer):
    rows = [
        row(text.format(i), output)
        for i in range(60)
        for text, output in [("Is {} even?", "Yes."), ("Is {} even?", "No."), ("even is {}", "So.")]
    ]
    halves = SplitConfig(select_fraction=0.3, report_fraction=0.3)
    source = write(tmp_path / "rows.jsonl", rows)
    config = DataConfig(train=source, template="question", split=halves)
    splits = tokenize(config, tokenizer).splits.reshape(60, 3)
    assert (splits == splits[:, :1]).all()
    assert set(splits.flat) == set(Split)


def test_splits_of_rows_do_not_move_when_rows_are_added_or_reordered(tmp_path, tokenizer):
    def split_of_prompt(name, rows):
        config = DataConfig(train=write(tmp_path / name, rows), template="question")
        data = tokenize(config, tokenizer)
        return {p: split for split in Split for p, _ in texts(data, tokenizer, split)}

    rows = some_rows(80)
    before = split_of_prompt("before.jsonl", rows)
    after = split_of_prompt("after.jsonl", [*some_rows(30, "New"), *reversed(rows)])
    assert len(after) == 110
    assert {prompt: after[prompt] for prompt in before} == before


def test_a_held_out_file_is_halved_and_its_prompts_leave_the_training_rows(tokenized, tokenizer):
    held_out = some_rows(60, "Held out")
    rows = [*some_rows(20), row("held OUT: 7", "Otherwise."), held_out[8]]
    data = tokenized(rows, held_out)
    assert data.summary["rows"]["dropped: prompt is held out"] == 2
    assert len(data.rows(Split.TRAIN)) == 20
    select, report = (set(texts(data, tokenizer, s)) for s in (Split.SELECT, Split.REPORT))
    assert len(select) + len(report) == 60
    assert min(len(select), len(report)) > 15
    assert not select & report


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


def test_saved_data_come_back_equal_and_memory_mapped(tmp_path, tokenized):
    data = tokenized(some_rows(20))
    data.save(tmp_path / "new" / "folder")
    again = TokenizedData.load(tmp_path / "new" / "folder")
    for name in ("tokens", "supervised", "offsets", "splits"):
        assert np.array_equal(getattr(again, name), getattr(data, name))
        assert isinstance(getattr(again, name), np.memmap)
    assert again.summary == data.summary


def test_content_hash_tells_data_apart(tokenized):
    def content_hash(*args, **settings):
        return tokenized(*args, **settings).summary["content_hash"]

    rows = some_rows(20)
    base = content_hash(rows)
    assert content_hash(rows) == base
    assert content_hash(rows[:-1]) != base
    assert content_hash(rows, template="alpaca") != base
    assert content_hash(rows, some_rows(41, "Held out")) != base


def test_two_processes_that_save_at_once_leave_whole_folders_from_the_start(tmp_path, tokenized):
    data, made = tokenized(some_rows(20)), tmp_path / "made"
    data.save(tmp_path / "source")
    command = [sys.executable, "-c", SAVER, made, tmp_path / "source"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    savers = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for saver in savers:
        assert saver.stdout.readline() == "ready\n"
    for saver in savers:
        saver.stdin.write("go\n")
        saver.stdin.flush()
    for number in range(NUM_SAVES):
        while not (made / str(number)).exists():
            assert any(saver.poll() is None for saver in savers)
        again = TokenizedData.load(made / str(number))
        assert np.array_equal(again.splits, data.splits)
        assert again.summary == data.summary
    for saver in savers:
        saver.communicate()
        assert saver.returncode == 0
    assert len(list(made.iterdir())) == NUM_SAVES


def test_prepared_data_are_used_again_until_config_file_or_tokenizer_change(tmp_path, tokenizer):
    def folder(changed_tokenizer=tokenizer, **settings):
        config = DataConfig(train=source, template="question", **settings)
        return prepare(config, changed_tokenizer, "builtin:base", tmp_path / "cache")

    source = write(tmp_path / "rows.jsonl", some_rows(80))
    first = folder()
    stamp = (first / "tokens.npy").stat().st_mtime_ns
    assert folder() == first
    assert (first / "tokens.npy").stat().st_mtime_ns == stamp
    longer = copy.deepcopy(tokenizer)
    longer.add_tokens(["Question"])
    others = [folder(max_length_tokens=64), folder(longer)]
    write(tmp_path / "rows.jsonl", some_rows(80, output="Otherwise."))
    others.append(folder())
    assert len({first, *others}) == 4
    assert "Otherwise" in str(texts(TokenizedData.load(others[-1]), tokenizer))


def test_a_folder_that_is_named_as_a_published_set_is_not_the_set(tmp_path, tokenizer, monkeypatch):
    (tmp_path / "mt_bench").mkdir()
    monkeypatch.chdir(tmp_path)
    config = DataConfig(train=write(tmp_path / "a.jsonl", some_rows(9)), exclude=("mt_bench",))
    with pytest.raises(UserError, match="mt_bench: cannot be fetched from lmsys/mt-bench"):
        prepare(config, tokenizer, "x", tmp_path / "cache")


def test_a_first_token_of_another_name_is_another_folder(tmp_path, tokenizer):
    config = DataConfig(train=write(tmp_path / "rows.jsonl", some_rows(80)), template="llama2-chat")
    renamed = copy.deepcopy(tokenizer)
    renamed.bos_token = tokenizer.eos_token
    folders = {prepare(config, it, "x", tmp_path / "cache") for it in (tokenizer, renamed)}
    assert len(folders) == 2


@pytest.mark.parametrize("comes_back", [True, False])
def test_tokens_that_a_bucket_has_in_part_are_made_whole(
    machine, place, tmp_path, tokenizer, comes_back
):
    config = DataConfig(train=write(tmp_path / "rows.jsonl", some_rows(80)), template="question")
    whole = prepare(config, tokenizer, "x", here(place))
    there = bucket_of(whole)
    sizes = there.sizes()
    assert sizes.keys() == FILES
    there.delete("tokens.npy")  # as if the first machine had died while it pushed
    if not comes_back:
        machine("second")
    again = prepare(config, tokenizer, "x", here(place))
    assert (again == whole) == comes_back
    assert np.array_equal(TokenizedData.load(again).tokens, TokenizedData.load(whole).tokens)
    assert there.sizes() == sizes
    machine("third")
    third = prepare(config, tokenizer, "x", here(place))
    assert {path.name for path in third.iterdir()} == FILES


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
