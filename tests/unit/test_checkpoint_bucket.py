"""Checkpoints whose storage is a bucket: whole there or none, and found from any machine."""

import shutil

import pytest
import torch

from neft_ray.bucket import Bucket
from neft_ray.errors import StorageError
from neft_ray.train import checkpoint, stored
from neft_ray.train.contents import STATE_FILE, State
from neft_ray.train.stored import folder_of, steps_in
from neft_ray.working_copy import bucket_of, here
from tests.unit import checkpoint_runs
from tests.unit.checkpoint_runs import CONFIG, HASH
from tests.unit.trial_runs import build_engine, weights


@pytest.fixture
def trial(machine, place):
    """Where a trial's checkpoints lie, on the first machine."""
    return here(place) / "checkpoints"


def saved(folder, *steps):
    engine, _ = checkpoint_runs.saved(folder, *steps)
    return engine


def loaded(folder):
    engine = build_engine(CONFIG)
    return checkpoint.load_latest(engine, folder, HASH), engine


def same(ours, theirs):
    theirs = weights(theirs)
    return all(torch.equal(p, theirs[name]) for name, p in weights(ours).items())


def test_another_machine_goes_on_from_the_newest(trial, machine, place):
    engine = saved(trial, 1, 2)
    machine("second")
    there = here(place) / "checkpoints"
    assert steps_in(there) == [1, 2]
    state, other = loaded(there)
    assert state.step == 2
    assert same(engine, other)


def test_here_only_the_newest_stays(trial):
    saved(trial, 1, 2, 3)
    assert [path.name for path in trial.glob("step-*")] == ["step-000003"]
    assert steps_in(trial) == [1, 2, 3]
    assert loaded(trial)[0].step == 3


def test_an_older_one_is_fetched_when_it_is_wanted(trial):
    saved(trial, 1, 2)
    folder = stored.fetched(trial, 1)
    assert checkpoint.read_state(folder).step == 1
    assert checkpoint.damage(folder, HASH) is None
    assert checkpoint.altered(folder) is None


def test_a_checkpoint_that_was_half_sent_is_none(trial, machine, place, monkeypatch):
    engine = saved(trial, 1)
    upload = Bucket.upload

    def failing(self, path, name):
        if name == STATE_FILE:
            raise StorageError([])
        upload(self, path, name)

    monkeypatch.setattr(Bucket, "upload", failing)
    with pytest.raises(StorageError):
        checkpoint.save(engine, trial, State(2, HASH, {}))
    assert bucket_of(trial).below("step-000002").sizes()
    machine("second")
    there = here(place) / "checkpoints"
    assert steps_in(there) == [1]
    assert loaded(there)[0].step == 1
    stored.tidy(there)
    assert not bucket_of(trial).below("step-000002").sizes()
    assert steps_in(there) == [1]


def test_one_that_arrives_altered_is_passed_over(trial, machine, place):
    saved(trial, 1, 2)
    bucket = bucket_of(folder_of(trial, 2))
    name, size = next((n, s) for n, s in bucket.sizes().items() if n != STATE_FILE)
    bucket.put(name, b"x" * size)
    machine("second")
    assert loaded(here(place) / "checkpoints")[0].step == 1


def test_a_bucket_that_is_away_is_no_reason_to_begin_anew(trial, monkeypatch):
    saved(trial, 1)
    shutil.rmtree(trial)

    def away(self, name, path):
        raise StorageError([])

    monkeypatch.setattr(Bucket, "download", away)
    with pytest.raises(StorageError):
        loaded(trial)


def test_deleted_is_deleted_in_the_bucket_too(trial):
    saved(trial, 1, 2)
    stored.delete(trial, 1)
    stored.delete(trial, 1)
    assert steps_in(trial) == [2]
    assert not bucket_of(folder_of(trial, 1)).sizes()
    stored.delete_all(trial)
    assert steps_in(trial) == []
    assert not trial.exists()


def test_a_copy_outlives_the_original(trial):
    engine = saved(trial, 1)
    origin = trial.parent / "origin"
    stored.link(trial, 1, origin)
    stored.link(trial, 1, origin)
    stored.delete(trial, 1)
    state, other = loaded(origin)
    assert state.step == 1
    assert same(engine, other)


def test_one_written_in_the_background_is_in_the_bucket_when_it_is_complete(trial):
    engine = saved(trial, 1)
    pending = checkpoint.Pending(engine, trial, State(2, HASH, {}))
    pending.complete()
    assert steps_in(trial) == [1, 2]
    shutil.rmtree(trial)
    assert loaded(trial)[0].step == 2
