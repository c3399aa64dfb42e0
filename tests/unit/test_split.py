"""Rows are split by what they ask, not by where they stand."""

import pytest

from neft_ray.config.data import SplitConfig
from neft_ray.data.conversation import Turn
from neft_ray.data.split import Split, halve_by_key, prompt_key, split_by_key

CONFIG = SplitConfig(select_fraction=0.1, report_fraction=0.2, seed=3)
KEYS = [f"question number {i}" for i in range(4000)]


def key(text, context="", answer="yes") -> str:
    return prompt_key([Turn("user", text, context), Turn("assistant", answer)])


@pytest.mark.parametrize(
    "copy",
    [
        "list three   FRUITS, please",
        "Please list three fruits!",
        "Three fruits: list three, please…",
    ],
)
def test_near_copies_share_a_key(copy):
    assert key(copy) == key("List three fruits, please.")


def test_another_answer_is_no_other_prompt():
    assert key("List three fruits.", answer="no") == key("List three fruits.")


@pytest.mark.parametrize("other", ["List 4 fruits.", "List three trees.", "List three fruits a."])
def test_another_word_or_number_is_another_prompt(other):
    assert key(other) != key("List three fruits.")
    assert key("x", "List three fruits.") != key("x", other)


def test_prompts_without_words_are_told_apart_by_what_they_are():
    assert key("🍎 🍐") == key(" 🍎  🍐\n") != key("🍐 🍎")
    assert key("?!") != key("🍎") != key("")


def test_words_of_the_input_and_of_the_system_count():
    assert key("Add.", "1 2") != key("Add.", "1 3")
    turns = [Turn("system", "Be brief."), Turn("user", "Add.")]
    assert prompt_key(turns) != prompt_key(turns[1:])


def test_every_key_has_one_split_of_about_the_given_size():
    splits = [split_by_key(k, CONFIG) for k in KEYS]
    assert splits == [split_by_key(k, CONFIG) for k in KEYS]
    fractions = [splits.count(split) / len(KEYS) for split in Split]
    assert fractions == pytest.approx([0.7, 0.1, 0.2], abs=0.02)


def test_held_out_keys_are_halved():
    halves = [halve_by_key(k, CONFIG) for k in KEYS]
    assert set(halves) == {Split.SELECT, Split.REPORT}
    assert halves.count(Split.SELECT) / len(KEYS) == pytest.approx(0.5, abs=0.03)


def test_another_seed_gives_another_split():
    other = CONFIG.model_copy(update={"seed": 4})
    same = [split_by_key(k, CONFIG) is split_by_key(k, other) for k in KEYS]
    assert 0.4 < sum(same) / len(KEYS) < 0.7
    assert [halve_by_key(k, CONFIG) for k in KEYS] != [halve_by_key(k, other) for k in KEYS]
