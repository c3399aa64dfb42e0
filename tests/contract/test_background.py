"""Strategies on bad disks: no report precedes its checkpoint, and all workers fail together."""

from types import SimpleNamespace

import pytest

from neft_ray.journal import COMPLETED, STOPPED
from neft_ray.train import checkpoint, stored
from tests.contract.background_runs import in_background, on_bad_disks
from tests.contract.strategy_runs import run_group

IN_BACKGROUND = ("ddp", "fsdp")
SHARDED = ("fsdp", "zero-1", "zero-3")


@pytest.fixture(scope="module", params=IN_BACKGROUND)
def trials(request, tmp_path_factory):
    """What both workers saw of whole trials."""
    folder, kind = tmp_path_factory.mktemp("background"), request.param
    return SimpleNamespace(folder=folder / kind, seen=run_group(in_background, 2, folder, kind))


@pytest.fixture(scope="module", params=SHARDED)
def disks(request, tmp_path_factory):
    """What both workers saw of bad disks."""
    return run_group(on_bad_disks, 2, tmp_path_factory.mktemp("disks"), request.param)


def test_no_report_precedes_its_checkpoint_and_training_goes_on_before_it(trials):
    for found in trials.seen:
        status, events, _ = found["goes on"]
        assert status == COMPLETED
        assert events == [
            *(("step", 1), ("step", 2), ("step", 4)),
            *(("report", 3, [3]), ("step", 5), ("step", 7)),
            *(("report", 6, [3, 6]), ("step", 8), ("report", 9, [3, 6, 9])),
        ]


def test_the_curve_is_that_of_a_trial_that_waits(trials):
    for found in trials.seen:
        assert found["goes on"][2] == found["waits"][2] != []


def test_a_stop_while_a_save_is_pending_loses_nothing(trials):
    for found in trials.seen:
        status, events, _ = found["stopped"]
        assert (status, events[-2:]) == (STOPPED, [("step", 4), ("report", 3, [3])])


def test_a_trial_resumed_from_the_background_is_bitwise_the_uninterrupted_one(trials):
    for found in trials.seen:
        _, events, curve = found["resumed"]
        assert events[0] == ("report", 3, [3])
        assert curve == found["waits"][2]


def test_what_is_written_in_the_background_is_what_is_written_at_once(trials):
    for step in (3, 6, 9):
        ours, theirs = (
            checkpoint.read_state(
                stored.folder_of(trials.folder / name / "checkpoints", step)
            ).file_sums
            for name in ("goes on", "waits")
        )
        assert ours.keys() == theirs.keys()
        differing = {name for name, total in ours.items() if theirs[name] != total}
        assert differing <= {".metadata"}


def test_a_disk_that_is_full_in_the_background_of_one_worker_is_told_by_all(trials):
    for found in trials.seen:
        assert "step-000003: cannot be written" in found["full"]
    assert stored.steps_in(trials.folder / "full" / "checkpoints") == []


def test_a_disk_that_is_full_for_one_worker_is_told_by_all(disks):
    for found in disks:
        assert len(found["full"]) == 2
        assert all("step-000002: cannot be written" in said for said in found["full"])


def test_a_flipped_byte_anywhere_makes_all_workers_go_back_together(disks):
    for found in disks:
        steps = dict(found["loaded"])
        assert steps.pop("") == 2
        assert len(steps) > 2
        assert set(steps.values()) == {1}


def test_after_bad_disks_all_workers_go_on(disks):
    first, second = (
        [(m["step"], m["train_loss"], m["grad_norm"]) for m in found["again"]] for found in disks
    )
    assert first == second
    assert [step for step, *_ in first] == [3]
