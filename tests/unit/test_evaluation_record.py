"""Replies on disk: gone on with after a kill, refused under other settings, measured."""

import json
from pathlib import Path

import pytest

from neft_ray.errors import StorageError, UserError
from neft_ray.evaluate import ifeval
from neft_ray.evaluate.measures import measured
from neft_ray.evaluate.record import IDENTITY_FILE, REPLIES_FILE, Record
from neft_ray.evaluate.sets import load_set
from neft_ray.generate.replies import CUT, ENDED, NO_ROOM, Reply

REPLIES = [
    Reply(1, ("One two one two.",), (5,), (ENDED,)),
    Reply(0, ("", "Ünï"), (0, 2), (NO_ROOM, CUT)),
]


def test_replies_come_back_as_they_were_written(tmp_path):
    record = Record(tmp_path / "new" / "one", {"set": "x"})
    assert record.replies() == {}
    record.add(REPLIES[:1])
    record.add(REPLIES[1:])
    again = Record(tmp_path / "new" / "one", {"set": "x"})
    assert again.replies() == {reply.number: reply for reply in REPLIES}


def test_a_line_that_a_kill_cut_off_is_written_again(tmp_path):
    record = Record(tmp_path, {})
    record.add(REPLIES)
    file = tmp_path / REPLIES_FILE
    whole = file.read_bytes()
    for cut in range(len(whole.splitlines(keepends=True)[0]), len(whole)):
        file.write_bytes(whole[:cut])
        assert list(Record(tmp_path, {}).replies()) == [1]
        record.add(REPLIES[1:])
        assert file.read_bytes() == whole


def test_replies_of_other_settings_are_never_mixed(tmp_path):
    Record(tmp_path, {"set": "x", "seed": 0}).add(REPLIES)
    with pytest.raises(UserError, match=r"seed 0 → 1, top_p None → 0.5; --set overwrite=true"):
        Record(tmp_path, {"set": "x", "seed": 1, "top_p": 0.5})
    assert len(Record(tmp_path, {"set": "x", "seed": 0}).replies()) == 2
    fresh = Record(tmp_path, {"set": "x", "seed": 1}, overwrite=True)
    assert fresh.replies() == {}
    assert Record(tmp_path, {"set": "x", "seed": 1}).replies() == {}


@pytest.mark.parametrize("num_deleted", [1, 2])
def test_an_overwriting_that_was_cut_leaves_no_replies_of_other_settings(
    tmp_path, monkeypatch, num_deleted
):
    Record(tmp_path, {"seed": 0}).add(REPLIES)
    (tmp_path / "measures.json").write_text("{}")
    left = iter(range(num_deleted))
    delete = Path.unlink

    def cut(path, missing_ok=False):
        if next(left, None) is None:
            raise KeyboardInterrupt
        delete(path, missing_ok)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "unlink", cut)
        Record(tmp_path, {"seed": 1}, overwrite=True)
    with pytest.raises(UserError, match="seed 0 → 1"):
        Record(tmp_path, {"seed": 1})
    assert Record(tmp_path, {"seed": 1}, overwrite=True).replies() == {}


def test_replies_of_several_workers_are_overwritten_too(tmp_path):
    Record(tmp_path, {"seed": 0}).add(REPLIES)
    (tmp_path / "ray").mkdir()  # Ray's own files lie there
    assert Record(tmp_path, {"seed": 1}, overwrite=True).replies() == {}


def test_settings_are_whole_or_told_to_be_damaged(tmp_path):
    Record(tmp_path, {"seed": 0})
    (tmp_path / IDENTITY_FILE).write_text("")
    with pytest.raises(UserError, match=r"settings.json: is damaged .*delete the folder"):
        Record(tmp_path, {"seed": 0})


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        Record(tmp_path / "file" / "below", {})


def test_measures_are_those_of_the_texts():
    assert measured(REPLIES) == {
        "num_replies": 2,
        "mean_characters": (16 + 3) / 2,
        "mean_words": (4 + 1) / 2,
        "mean_tokens": (5 + 2) / 2,
        "repetition": 0.0,
        "log_diversity": 20.0,
        "ended_fraction": 1 / 3,
        "num_no_room": 1,
    }
    assert measured([Reply(0, ("a b a b",), (4,), (ENDED,))])["repetition"] == pytest.approx(1 / 3)


# ---- IFEval ------------------------------------------------------------------------------------

ROWS = [
    {"key": 1, "prompt": "p", "instruction_id_list": ["punctuation:no_comma",
     "length_constraints:number_words"], "kwargs": [{}, {"relation": "at least", "num_words": 3}]},
    {"key": 2, "prompt": "p", "instruction_id_list": ["change_case:english_lowercase"],
     "kwargs": [{}]},
]  # fmt: skip


def test_checks_are_those_of_the_harness():
    ifeval.check_ready(ROWS)
    assert ifeval.followed(ROWS, ["One two three", "all is small here"]) == {
        "prompt_strict": 1, "instruction_strict": 1, "prompt_loose": 1, "instruction_loose": 1
    }  # fmt: skip
    found = ifeval.followed(ROWS, ["One, two three", "Sure: HERE\nall of this text is small"])
    assert found["instruction_strict"] == pytest.approx(1 / 3)
    assert found["prompt_strict"] == 0
    assert found["prompt_loose"] == 0.5, "without its first line the second reply is small"


def test_what_the_checks_need_is_asked_for_before_anything_is_generated(tmp_path, monkeypatch):
    import nltk

    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    rows = [{"instruction_id_list": ["change_case:capital_word_frequency"]}]
    with pytest.raises(UserError, match=r"need NLTK's punkt_tab; python -m nltk.downloader"):
        ifeval.check_ready(rows)
    ifeval.check_ready(ROWS)


def test_every_kind_of_real_instruction_has_its_check(real_data):
    found = load_set(str(real_data / "ifeval_input_data.jsonl"))
    rows = [row for row in found.rows if not ifeval.NEED_PUNKT & set(row["instruction_id_list"])]
    assert len(rows) > 450
    texts = [json.dumps(row["prompt"]) for row in rows]
    shares = ifeval.followed(rows, texts)
    assert 0 < shares["prompt_strict"] < shares["instruction_loose"] < 1
