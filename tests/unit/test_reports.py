"""Checkpoints that are written while training goes on: nothing is reported before, or lost."""

import os

import pytest

from neft_ray.errors import StorageError
from neft_ray.journal import CANCELLED, COMPLETED, DIVERGED, MOVED, STOPPED
from neft_ray.train import checkpoint, stored
from neft_ray.train.contents import State
from tests.unit.trial_runs import build_engine, random_data, run_steps, weights
from tests.unit.worker_runs import ASYNC, SlowDisk, curve, run_trial, small_files, trial_config

CONFIG = trial_config(ASYNC)


@pytest.fixture
def disk():
    with SlowDisk() as slow:
        yield slow


def reports(events):
    return [event[1:] for event in events if event[0] == "report"]


def test_an_evaluation_is_reported_between_later_steps_once_its_checkpoint_is_complete(
    tmp_path, disk
):
    def act(step, engine):
        if step in (4, 7):
            assert stored.steps_in(tmp_path / "trial" / "checkpoints")[-1:] != [step - 1]
            disk.let_all_be_written()
        if step == 5:
            disk.gate.clear()

    status, _, events = run_trial(tmp_path / "trial", CONFIG, act=act)
    assert status == COMPLETED
    assert events == [
        *(("step", 1), ("step", 2), ("step", 4)),
        *(("report", 3, [3]), ("step", 5), ("step", 7)),
        *(("report", 6, [3, 6]), ("step", 8), ("report", 9, [3, 6, 9])),
    ]


def test_a_pending_checkpoint_is_waited_for_at_the_next_evaluation(tmp_path, disk):
    def act(step, engine):
        if step == 5:
            disk.let_later()

    _, _, events = run_trial(tmp_path / "trial", CONFIG, act=act)
    assert events[:5] == [*(("step", step) for step in (1, 2, 4, 5)), ("report", 3, [3])]


def test_the_curve_and_what_is_saved_are_those_of_a_trial_that_waits(tmp_path):
    for name, config in (("waits", trial_config()), ("goes on", CONFIG)):
        run_trial(tmp_path / name, config)
    assert curve(tmp_path / "goes on") == curve(tmp_path / "waits") != []
    sums = [
        checkpoint.read_state(stored.folder_of(tmp_path / name / "checkpoints", step)).file_sums
        for name in ("waits", "goes on")
        for step in (3, 6, 9)
    ]
    assert sums[:3] == sums[3:] != []


def test_a_snapshot_does_not_follow_the_training(tmp_path):
    engine = build_engine(CONFIG)
    run_steps(engine, random_data(), CONFIG, until=1)
    before, write = weights(engine), engine.snapshot(tmp_path)
    moments = {key: value.clone() for key, value in engine._optimizer.state[first(engine)].items()}
    run_steps(engine, random_data(), CONFIG, 1, 3)
    assert [file.name for file in write()] == sorted(os.listdir(tmp_path), reverse=True)
    other = build_engine(CONFIG)
    other.load(tmp_path)
    for ours, theirs in (
        (weights(other), before),
        (other._optimizer.state[first(other)], moments),
    ):
        assert all(ours[name].equal(value) for name, value in theirs.items())


def first(engine):
    return engine._optimizer.param_groups[0]["params"][0]


@pytest.mark.parametrize("ending", [STOPPED, CANCELLED])
def test_a_trial_that_ends_while_a_save_is_pending_loses_nothing(tmp_path, disk, ending):
    def act(step, engine):
        if step == 4:
            disk.let_later()
            return ending
        return None

    status, _, events = run_trial(tmp_path / "trial", CONFIG, act=act)
    assert status == ending
    assert events == [*(("step", step) for step in (1, 2, 4)), ("report", 3, [3])]


@pytest.mark.parametrize("config", [trial_config(), CONFIG], ids=["waits", "goes on"])
@pytest.mark.parametrize(
    ("at", "kept", "told", "to_come"),
    [(1, [1], [], [3, 6, 9]), (4, [3, 4], [3], [6, 9]), (3, [3], [3], [3, 6, 9])],
)
def test_a_trial_that_leaves_its_machine_goes_on_from_that_very_step(
    tmp_path, config, at, kept, told, to_come
):
    def leave(step, engine):
        return MOVED if step == at else ""

    run_trial(tmp_path / "undisturbed", config)
    status, reason, events = run_trial(tmp_path / "trial", config, act=leave)
    assert (status, reason) == (MOVED, f"after step {at}")
    assert stored.steps_in(tmp_path / "trial" / "checkpoints") == kept
    assert [step for step, _ in reports(events)] == told, "what was pending is reported"
    status, _, events = run_trial(tmp_path / "trial", config)
    assert (status, [step for step, _ in reports(events)]) == (COMPLETED, to_come)
    assert curve(tmp_path / "trial") == curve(tmp_path / "undisturbed"), "nothing trained twice"


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("wish", [CANCELLED, MOVED])
def test_a_trial_that_is_evaluated_at_every_step_hears_what_it_is_asked(tmp_path, background, wish):
    config = trial_config(
        {"training.eval_every_steps": 1, "training.async_checkpoints": background}
    )
    status, reason, events = run_trial(
        tmp_path / "trial", config, act=lambda step, engine: wish if step == 2 else ""
    )
    assert (status, reason[-6:]) == (wish, "step 2")
    assert [step for step, _ in reports(events)] == [1, 2]


def test_the_answer_to_a_late_report_stops_the_trial(tmp_path, disk):
    def act(step, engine):
        if step == 4:
            disk.let_all_be_written()

    status, _, events = run_trial(tmp_path / "trial", CONFIG, stops=[3], act=act)
    assert status == STOPPED
    assert events[-2:] == [("step", 4), ("report", 3, [3])]
    assert curve(tmp_path / "trial")[-1][0] == 5


def test_a_stop_that_is_answered_at_the_next_evaluation_comes_before_it(tmp_path, disk):
    def act(step, engine):
        if step == 5:
            disk.let_later()

    status, _, events = run_trial(tmp_path / "trial", CONFIG, stops=[3], act=act)
    assert (status, reports(events)) == (STOPPED, [(3, [3])])
    assert {step for step, key, _ in curve(tmp_path / "trial") if key == "select_loss"} == {3}


def test_a_diverged_trial_reports_what_was_pending(tmp_path, disk):
    def act(step, engine):
        if step == 4:
            disk.let_later()
            engine.plain.embedding.weight.data.fill_(float("nan"))

    config = trial_config(ASYNC | {"noise.alpha": 0.0})
    status, reason, events = run_trial(tmp_path / "trial", config, act=act)
    assert (status, reports(events)) == (DIVERGED, [(3, [3])])
    assert "at step 5" in reason


def test_a_disk_that_is_full_in_the_background_is_a_user_error_and_leaves_no_checkpoint(tmp_path):
    with small_files(100_000), pytest.raises(StorageError, match=r"step-000003: cannot be written"):
        run_trial(tmp_path / "trial", CONFIG)
    assert os.listdir(tmp_path / "trial" / "checkpoints") == []


def test_a_process_that_dies_while_a_save_is_pending_leaves_no_checkpoint(tmp_path, disk):
    engine = build_engine(CONFIG)
    pending = checkpoint.Pending(engine, tmp_path, State(1, CONFIG.config_hash, {}))
    assert not pending.is_written()
    assert stored.steps_in(tmp_path) == []
    assert checkpoint.load_latest(engine, tmp_path, CONFIG.config_hash) is None
    disk.let_all_be_written()
    assert pending.is_written()
    assert stored.steps_in(tmp_path) == []
    pending.complete()
    assert checkpoint.load_latest(engine, tmp_path, CONFIG.config_hash).step == 1
