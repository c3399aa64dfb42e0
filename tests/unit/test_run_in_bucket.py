"""Runs in a bucket: one driver at a time, and which files are the driver's."""

import pytest

from neft_ray import run_in_bucket
from neft_ray.errors import UserError
from neft_ray.run_directory import RunDirectory, create_run, find_run
from neft_ray.run_in_bucket import LEASE_FILE, is_drivers
from neft_ray.working_copy import bucket_of, here


@pytest.fixture
def run(machine, place, monkeypatch):
    """A run on the first machine, whose lease is renewed more often than a look is taken."""
    for name, seconds in (("RENEW", 0.5), ("LOOK", 2.5)):
        monkeypatch.setattr(run_in_bucket, f"{name}_SECONDS", seconds)
    return create_run(here(place), "sweep")


def elsewhere(run, machine, place):
    machine("second")
    return RunDirectory(here(place) / run.name)


def test_a_run_that_a_living_driver_holds_is_refused_on_another_machine(run, machine, place):
    with run.owned():
        there = elsewhere(run, machine, place)
        there.root.mkdir(parents=True)
        with pytest.raises(UserError, match="is working on this run; wait for it"), there.owned():
            pass
    with there.owned():
        assert bucket_of(there.root).get(LEASE_FILE)
    assert bucket_of(there.root).get(LEASE_FILE) is None


def test_a_driver_waits_for_the_lease_of_one_that_died(run, machine, place, monkeypatch):
    monkeypatch.setattr(run_in_bucket, "EXPIRE_SECONDS", 4.0)
    bucket = bucket_of(run.root)
    bucket.put(LEASE_FILE, b'{"pid": 1, "host": "gone"}')
    there = elsewhere(run, machine, place)
    there.root.mkdir(parents=True)
    with there.owned():
        assert b"gone" not in bucket.get(LEASE_FILE)
    assert not [name for name in bucket.sizes() if "probe" in name]


def test_a_run_is_found_again_on_another_machine_with_what_its_driver_left(run, machine, place):
    with run.owned():
        (run.root / "sweep.yaml").write_text("name: sweep")
        (run.trial(0) / "checkpoints").mkdir(parents=True)
        (run.trial(0) / "checkpoints/large").write_text("stays")
        (run.trial(0) / "config.json").write_text("{}")
    machine("second")
    for reference in ("latest", run.name, f"{place}/{run.name}"):
        found = find_run(reference, here(place))
        assert found.config_file.read_text() == "name: sweep"
        assert (found.trial(0) / "config.json").exists()
        assert not (found.trial(0) / "checkpoints").exists()


def test_what_another_machine_wrote_anew_is_seen_though_it_is_no_longer(run, machine, place):
    with run.owned():
        run.config_file.write_text("name: before")
    there = elsewhere(run, machine, place)
    find_run(run.name, here(place))
    with there.owned():
        there.config_file.write_text("name: behind")  # as many bytes
        there.log_file.write_text("x")
    machine("first")
    find_run(run.name, here(place))
    assert run.config_file.read_text() == "name: behind"


def test_looking_at_a_run_leaves_the_files_of_its_driver_alone(run, machine, place):
    run.config_file.write_text("name: pushed at the start")
    with run.owned():
        run.config_file.write_text("name: newer")
        find_run(run.name, here(place))
        assert run.config_file.read_text() == "name: newer"


@pytest.mark.parametrize(
    ("name", "drivers"),
    [
        ("manifest.json", True),
        ("report/index.html", True),
        ("trials/t000/config.json", True),
        ("trials/t000/metrics-driver.jsonl", True),
        ("trials/t000/metrics.jsonl", False),
        ("trials/t000/metrics-1.jsonl", False),
        ("trials/t000/log-0.txt", False),
        ("trials/t000/report_rows/step-000010.npz", False),
        ("trials/t000/checkpoints/step-000010/state.json", False),
        ("journal.jsonl", False),
        ("driver.lock", False),
        ("owner.json", False),
        ("stop", False),
        ("ray/tune/x", False),
        (".best_model.new/config.json", False),
    ],
)
def test_each_file_has_one_sender(name, drivers):
    assert is_drivers(name) is drivers
