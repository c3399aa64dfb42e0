"""SIGKILL of driver, slot, worker and MLflow server: what DESIGN calls "the same" must hold."""

import random

import pytest

from tests.system.runs import Sweep, curves, statuses
from tests.system.servers import Server

SEED = 20261123


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    sweep = Sweep(tmp_path_factory.mktemp("undisturbed"))
    sweep.start()
    assert sweep.wait() == 0, sweep.told()
    return sweep


def assert_same(sweep: Sweep, undisturbed: Sweep) -> None:
    """A grid without stopping: the final tables are equal bitwise, and every point exists once."""
    assert curves(sweep.records) == curves(undisturbed.records)
    assert statuses(sweep.records) == statuses(undisturbed.records)
    for record in sweep.records.values():
        steps = [report.step for report in record.reports]
        assert steps == sorted(set(steps)), "a report entered twice"
    assert sweep.run.journal_file.read_text().count('"finish"') == 1
    points, expected = sweep.points(), undisturbed.points()
    assert not {key: values for key, values in points.items() if len(values) > 1}
    assert by_identity(points) == by_identity(expected)


def by_identity(points):
    """Values by trial name without its number, which follows the order of starting."""
    return {(k[0].split(" ", 1)[1], *k[1:]): values[0][0] for k, values in points.items()}


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


def test_the_mlflow_server_is_killed_and_comes_back(undisturbed, tmp_path):
    server = Server(tmp_path / "server")
    sweep = Sweep(tmp_path, uri=server.uri, database=server.database)
    try:
        sweep.start()
        sweep.wait_for_reports(5)
        server.kill()
        sweep.wait_for_reports(sweep.num_reports() + 12)
        server.start()
        assert sweep.wait() == 0, sweep.told()
        assert_same(sweep, undisturbed)
    finally:
        server.kill()
    assert "MLflow is away" in sweep.run.log_file.read_text()
