"""SIGKILL of driver, slot, worker and MLflow server: what DESIGN calls "the same" must hold."""

import random

import pytest

from tests.system.runs import Sweep, curves, statuses

SEED = 20261123


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    sweep = Sweep(tmp_path_factory.mktemp("undisturbed"))
    sweep.start()
    assert sweep.wait() == 0, sweep.told()
    return sweep


def assert_same(sweep: Sweep, undisturbed: Sweep) -> None:
    """A grid without stopping: the final tables are identical, bitwise; every point is there once."""
    assert curves(sweep.records) == curves(undisturbed.records)
    assert statuses(sweep.records) == statuses(undisturbed.records)
    journal = sweep.run.journal_file.read_text()
    for record in sweep.records.values():
        steps = [report.step for report in record.reports]
        assert steps == sorted(set(steps)), "a report entered twice"
    assert journal.count('"finish"') == 1
    points = sweep.points()
    doubled = {key: values for key, values in points.items() if len(values) > 1}
    assert not doubled, "a point is in MLflow twice"
    names = {name for name, _, _ in points}
    expected = {(name, key, step): [values[0][0]] for (name, key, step), values in
                undisturbed.points().items()}  # fmt: skip
    assert len(names) == len(sweep.records)
    # Trials are numbered in the order they start, so compare per identity, without the number.
    assert {(k[0].split(" ", 1)[1], *k[1:]): [v[0][0]] for k, v in points.items()} == {
        (k[0].split(" ", 1)[1], *k[1:]): v for k, v in expected.items()
    }


def test_the_driver_is_killed_and_the_sweep_resumed(undisturbed, tmp_path):
    chance = random.Random(SEED)
    sweep = Sweep(tmp_path)
    sweep.start()
    for _ in range(2):
        sweep.wait_for_reports(sweep.num_reports() + chance.randint(3, 9))
        sweep.kill_driver()
        sweep.resume()
    assert sweep.wait() == 0, sweep.told()
    assert_same(sweep, undisturbed)
    assert all(record.num_crashes == 0 for record in sweep.records.values())
    sweep.assert_nothing_is_left()


def test_slots_and_workers_are_killed_while_the_sweep_goes_on(undisturbed, tmp_path):
    chance = random.Random(SEED + 1)
    sweep = Sweep(tmp_path)
    sweep.start()
    for victim in ("RayTrainWorker", "Slot", "RayTrainWorker"):
        sweep.wait_for_reports(sweep.num_reports() + chance.randint(4, 8))
        sweep.kill(victim)
    assert sweep.wait() == 0, sweep.told()
    assert_same(sweep, undisturbed)
    assert sum(record.num_crashes for record in sweep.records.values()) >= 1
