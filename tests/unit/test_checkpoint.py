"""A resumed trial is bitwise the uninterrupted one, and a checkpoint is whole or none."""

import logging
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from neft_ray.errors import StorageError, bad_input
from neft_ray.strategy.ddp import OPTIMIZER_FILE, WEIGHTS_FILE
from neft_ray.train import checkpoint, stored
from neft_ray.train.checkpoint import State, load_latest
from neft_ray.train.metrics import evaluate
from neft_ray.train.stored import folder_of, steps_in
from tests.unit.trial_runs import (
    FEWER_ROWS_THAN_RANKS,
    MODELS,
    build_engine,
    random_data,
    resume_elsewhere,
    run_steps,
    small_config,
    weights,
)

CONFIG, DATA = small_config(), random_data()
HASH = CONFIG.config_hash
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


def saved(folder, *steps, config_hash=HASH):
    """Trains to each of the steps and saves there; returns the engine and weights by step."""
    engine, done, by_step = build_engine(CONFIG), 0, {}
    for step in steps:
        run_steps(engine, DATA, CONFIG, done, step)
        checkpoint.save(engine, folder, State(step, config_hash, {"select_loss": 1.5}))
        done, by_step[step] = step, weights(engine)
    return engine, by_step


def assert_same_weights(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(p, theirs[name]) for name, p in ours.items())


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """Trials stopped at half their steps, and what another process made of them; by model."""
    folder, firsts = tmp_path_factory.mktemp("resumed"), {}
    for kind, build_model in MODELS.items():
        engine = build_engine(CONFIG, build_model())
        firsts[kind] = run_steps(engine, DATA, CONFIG, until=3)
        checkpoint.save(engine, folder / kind, State(3, HASH, {}))
    rests = resume_elsewhere(CONFIG, folder)
    return {kind: (firsts[kind], *rests[kind]) for kind in MODELS}


@pytest.mark.parametrize("kind", MODELS)
def test_resumed_run_is_bitwise_equal_in_a_new_process_with_foreign_random_state(resumed, kind):
    first, rest, final_weights = resumed[kind]
    uninterrupted = build_engine(CONFIG, MODELS[kind]())
    metrics = run_steps(uninterrupted, DATA, CONFIG)
    assert len(first) == len(rest) == 3
    assert [*first, *rest] == metrics
    assert_same_weights(final_weights, weights(uninterrupted))


def test_a_checkpoint_says_what_it_is(tmp_path):
    saved(tmp_path, 2)
    state = checkpoint.read_state(folder_of(tmp_path, 2))
    assert (state.step, state.config_hash, state.metrics) == (2, HASH, {"select_loss": 1.5})
    assert state.file_bytes.keys() == {WEIGHTS_FILE, OPTIMIZER_FILE}
    assert os.listdir(tmp_path) == ["step-000002"]


def test_the_newest_is_loaded(tmp_path):
    _, by_step = saved(tmp_path, 1, 2, 3)
    assert steps_in(tmp_path) == [1, 2, 3]
    engine = build_engine(CONFIG)
    assert load_latest(engine, tmp_path, HASH).step == 3
    assert_same_weights(weights(engine), by_step[3])


def test_no_checkpoint_no_state(tmp_path):
    engine = build_engine(CONFIG)
    assert load_latest(engine, tmp_path, HASH) is None
    assert load_latest(engine, tmp_path / "missing", HASH) is None
    assert steps_in(tmp_path / "missing") == []


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


def test_saving_a_step_again_replaces_it(tmp_path):
    engine, _ = saved(tmp_path, 1)
    checkpoint.save(engine, tmp_path, State(1, HASH, {"select_loss": 9.0}))
    assert os.listdir(tmp_path) == ["step-000001"]
    assert load_latest(engine, tmp_path, HASH).metrics == {"select_loss": 9.0}


def test_non_finite_metrics_survive(tmp_path):
    engine, _ = saved(tmp_path, 1)
    checkpoint.save(engine, tmp_path, State(1, HASH, {"select_loss": float("inf")}))
    assert load_latest(engine, tmp_path, HASH).metrics == {"select_loss": float("inf")}


def test_deleting_removes_a_checkpoint_and_nothing_else(tmp_path):
    engine, _ = saved(tmp_path, 1, 2)
    stored.delete(tmp_path, 1)
    stored.delete(tmp_path, 1)
    assert os.listdir(tmp_path) == ["step-000002"]
    assert load_latest(engine, tmp_path, HASH).step == 2


def test_deleting_works_after_an_earlier_deletion_was_cut_off(tmp_path):
    saved(tmp_path, 1)
    shutil.copytree(folder_of(tmp_path, 1), tmp_path / ".step-000001.deleted")
    assert steps_in(tmp_path) == [1]
    stored.delete(tmp_path, 1)
    assert os.listdir(tmp_path) == []


def test_other_files_in_the_folder_are_no_checkpoints(tmp_path):
    for name in ("step-1", "step-000001.partial", ".step-000001.partial", "step-00000x"):
        (tmp_path / name).mkdir()
    assert steps_in(tmp_path) == []
    (tmp_path / "step-1000000").mkdir()
    assert steps_in(tmp_path) == [1_000_000]


@pytest.fixture
def small_disk(tmp_path):
    """A disk with room for the weights but not for the optimizer's two copies of them."""
    folder = tmp_path / "disk"
    folder.mkdir()
    size = "size=2200k"
    command = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small disk cannot be mounted here: {error}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


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


def test_what_fails_on_one_worker_fails_on_both_and_they_go_on_in_step(two_ranks):
    assert all("step-000001: cannot be written" in found["refused"] for found in two_ranks)


def test_a_checkpoint_of_two_workers_loads_on_both_and_on_one(two_ranks):
    config = small_config(FEWER_ROWS_THAN_RANKS)
    engine = build_engine(config)
    state = load_latest(engine, Path(two_ranks[0]["checkpoints"]), config.config_hash)
    alone, _ = evaluate(engine, DATA, config, with_report=False)
    assert state.metrics == two_ranks[0]["evaluation"]
    assert alone["select_loss"] == pytest.approx(state.metrics["select_loss"], rel=1e-6)
    for found in two_ranks:
        assert found["loaded"] == [6, state.metrics["select_loss"]]


def test_what_a_killed_process_left_is_removed_and_checkpoints_stay(tmp_path):
    (tmp_path / "step-000004").mkdir()
    for name in (".step-000006.partial", ".step-000002.deleted", ".step-000004.universal"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights.safetensors").write_bytes(b"x")
    stored.tidy(tmp_path)
    stored.tidy(tmp_path / "nowhere")
    assert [path.name for path in tmp_path.iterdir()] == ["step-000004"]
