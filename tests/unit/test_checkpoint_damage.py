"""A checkpoint is whole or none: damage, a death while saving, a full disk."""

import logging
import os

import pytest
import torch

from neft_ray.errors import StorageError, bad_input
from neft_ray.strategy.ddp import OPTIMIZER_FILE, WEIGHTS_FILE
from neft_ray.train import checkpoint, stored
from neft_ray.train.checkpoint import State, load_latest
from neft_ray.train.stored import folder_of, steps_in
from tests.unit.checkpoint_runs import CONFIG, DATA, HASH, assert_same_weights, saved
from tests.unit.full_disk import full_disk
from tests.unit.trial_runs import build_engine, run_steps, weights

DAMAGES = {
    "weights missing": lambda folder: (folder / WEIGHTS_FILE).unlink(),
    "optimizer missing": lambda folder: (folder / OPTIMIZER_FILE).unlink(),
    "weights truncated": lambda folder: os.truncate(folder / WEIGHTS_FILE, 1000),
    "optimizer truncated": lambda folder: os.truncate(folder / OPTIMIZER_FILE, 1000),
    "weights overwritten": lambda folder: overwrite(folder / WEIGHTS_FILE),
    "optimizer overwritten": lambda folder: overwrite(folder / OPTIMIZER_FILE),
    "state missing": lambda folder: (folder / "state.json").unlink(),
    "state truncated": lambda folder: os.truncate(folder / "state.json", 20),
    "state of another kind": lambda folder: (folder / "state.json").write_text("[1]"),
    "everything missing": lambda folder: [file.unlink() for file in folder.iterdir()],
}


def overwrite(file):
    """Breaks the beginning of a file and keeps its size."""
    with file.open("r+b") as opened:
        opened.write(b"x" * 64)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path, caplog, damage):
    _, by_step = saved(tmp_path, 1, 2)
    DAMAGES[damage](folder_of(tmp_path, 2))
    engine = build_engine(CONFIG)
    with caplog.at_level(logging.WARNING):
        assert load_latest(engine, tmp_path, HASH).step == 1
    assert str(folder_of(tmp_path, 2)) in caplog.text
    assert_same_weights(weights(engine), by_step[1])


def test_a_trial_does_not_begin_anew_with_weights_that_were_read_in_part(tmp_path, monkeypatch):
    _, by_step = saved(tmp_path, 1, 2)
    engine = build_engine(CONFIG)
    sound = engine.load

    def out_of_memory(folder):
        if folder == folder_of(tmp_path, 2):
            raise bad_input(folder, "CUDA out of memory", "")
        sound(folder)

    monkeypatch.setattr(engine, "load", out_of_memory)
    assert load_latest(engine, tmp_path, HASH).step == 1
    assert_same_weights(weights(engine), by_step[1])
    stored.delete(tmp_path, 1)
    with pytest.raises(StorageError, match=r"step-000002: could not be read to its end"):
        load_latest(engine, tmp_path, HASH)


@pytest.mark.parametrize("size", [0, 1000, 10**7])
@pytest.mark.parametrize("name", [WEIGHTS_FILE, OPTIMIZER_FILE])
def test_a_file_of_another_size_is_noticed_without_reading_it(tmp_path, name, size):
    saved(tmp_path, 1)
    folder = folder_of(tmp_path, 1)
    assert checkpoint.damage(folder, HASH) is None
    os.truncate(folder / name, size)
    assert checkpoint.damage(folder, HASH).where == str(folder / name)


def test_a_checkpoint_of_another_config_is_passed_over_with_a_warning(tmp_path, caplog):
    saved(tmp_path, 1, config_hash="other")
    engine = build_engine(CONFIG)
    before = weights(engine)
    assert load_latest(engine, tmp_path, HASH) is None
    assert "another configuration" in caplog.text
    assert_same_weights(weights(engine), before)


@pytest.mark.parametrize("moment", ["writing", "sealing", "renaming"])
def test_a_process_that_dies_while_saving_leaves_no_checkpoint(tmp_path, monkeypatch, moment):
    class Death(BaseException):
        pass

    def die(*_):
        raise Death

    engine, by_step = saved(tmp_path, 1)
    owner, name = {
        "writing": (torch, "save"),
        "sealing": (os, "fsync"),
        "renaming": (type(tmp_path), "rename"),
    }[moment]
    with monkeypatch.context() as patch, pytest.raises(Death):
        patch.setattr(owner, name, die)
        checkpoint.save(engine, tmp_path, State(2, HASH, {}))
    assert steps_in(tmp_path) == [1]
    assert load_latest(engine, tmp_path, HASH).step == 1
    checkpoint.save(engine, tmp_path, State(2, HASH, {}))
    assert sorted(os.listdir(tmp_path)) == ["step-000001", "step-000002"]
    assert_same_weights(weights(engine), by_step[1])


@pytest.fixture
def small_disk(tmp_path):
    """A disk with room for the weights but not for the optimizer's two copies of them."""
    with full_disk(tmp_path / "disk", 2200 * 1024) as disk:
        yield disk


@pytest.mark.parametrize("filled", [0, 1_000_000], ids=["by the optimizer", "by the weights"])
def test_a_full_disk_is_a_user_error_and_leaves_no_checkpoint_and_no_rubbish(small_disk, filled):
    (small_disk / "other").write_bytes(b"x" * filled)
    engine = build_engine(CONFIG)
    run_steps(engine, DATA, CONFIG, until=1)
    with pytest.raises(StorageError, match=r"step-000001: cannot be written: .*free some space"):
        checkpoint.save(engine, small_disk / "checkpoints", State(1, HASH, {}))
    assert os.listdir(small_disk / "checkpoints") == []
    assert load_latest(engine, small_disk / "checkpoints", HASH) is None


def test_a_folder_that_cannot_be_made_is_a_user_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="step-000001: cannot be written"):
        checkpoint.save(build_engine(CONFIG), tmp_path / "file" / "checkpoints", State(1, HASH, {}))
