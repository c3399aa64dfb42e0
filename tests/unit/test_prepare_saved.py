"""Prepared data are saved whole, told apart by what they are made of, and used again."""

import copy
import subprocess
import sys

import numpy as np
import pytest

from neft_ray.config.data import DataConfig
from neft_ray.data.prepare import prepare
from neft_ray.data.tokenized import FILES, TokenizedData
from neft_ray.errors import UserError
from neft_ray.working_copy import bucket_of, here
from tests.unit.data_rows import some_rows, texts, write

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
