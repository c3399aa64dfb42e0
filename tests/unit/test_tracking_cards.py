"""The card of a run: kept when it goes on, replaced whole, not finished where there is none."""

import pytest

from neft_ray.errors import StorageError
from neft_ray.tracking.cards import describe, finish, read_card
from tests.unit.full_disk import full_disk


def test_a_run_that_goes_on_keeps_its_key_and_start(tmp_path):
    first = describe(tmp_path / "t001", "t001 α=5", {"noise.alpha": 5.0}, {"arm": "treatment"})
    finish(tmp_path / "t001", "KILLED", {"reason": "rung 2"})
    ended = read_card(tmp_path / "t001")
    assert (ended.status, ended.tags) == ("KILLED", {"arm": "treatment", "reason": "rung 2"})
    assert ended.end_ms >= first.start_ms
    again = describe(tmp_path / "t001", "t001 α=5", {"noise.alpha": 5.0}, {"arm": "treatment"})
    assert again == first == read_card(tmp_path / "t001")
    other = describe(tmp_path / "t002", "t002", {}, {})
    assert other.key != first.key


def test_a_card_is_replaced_all_or_nothing(tmp_path):
    with full_disk(tmp_path / "disk", 8192) as disk:
        card = describe(disk, "t001", {}, {})
        with pytest.raises(StorageError, match=r"tracking\.json: cannot be written: disk full"):
            finish(disk, "FAILED", {"reason": "x" * 10_000})
        assert read_card(disk) == card


def test_a_folder_without_a_card_cannot_be_finished(tmp_path):
    assert read_card(tmp_path) is None
    with pytest.raises(FileNotFoundError):
        finish(tmp_path, "FINISHED")
