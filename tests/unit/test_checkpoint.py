"""A trial resumed from its newest checkpoint is bitwise the uninterrupted one."""

import os
import shutil
from pathlib import Path

import pytest

from neft_ray.strategy.ddp import OPTIMIZER_FILE, WEIGHTS_FILE
from neft_ray.train import checkpoint, stored
from neft_ray.train.checkpoint import State, load_latest
from neft_ray.train.metrics import evaluate
from neft_ray.train.stored import folder_of, steps_in
from tests.unit.checkpoint_runs import CONFIG, DATA, HASH, assert_same_weights, saved
from tests.unit.trial_runs import (
    FEWER_ROWS_THAN_RANKS,
    MODELS,
    build_engine,
    resume_elsewhere,
    run_steps,
    small_config,
    weights,
)


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
