"""SIGKILL of driver, slot, worker and MLflow server: what DESIGN calls "the same" must hold."""

import random

from tests.system.conftest import finished
from tests.system.runs import Sweep, curves, statuses
from tests.system.servers import Server

SEED = 20261123


def assert_same(sweep: Sweep, undisturbed: Sweep) -> None:
    """The final tables are equal bitwise, and every report and point exists once."""
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


def test_a_grid_is_the_same_after_worker_driver_mlflow_server_and_slot_were_killed(grid, tmp_path):
    chance = random.Random(SEED)
    server = Server(tmp_path / "server")
    sweep = Sweep(tmp_path, uri=server.uri, database=server.database)

    def some_later() -> None:
        sweep.wait_for_reports(sweep.num_reports() + chance.randint(3, 6))

    try:
        sweep.start()
        some_later()
        sweep.kill("RayTrainWorker")
        some_later()
        sweep.kill_driver()
        sweep.resume()
        some_later()
        server.kill()
        some_later()
        sweep.kill("Slot")
        some_later()
        server.start()
        finished(sweep)
        assert_same(sweep, grid)
    finally:
        server.kill()
    assert sum(record.num_crashes for record in sweep.records.values()) >= 1
    assert "MLflow is away" in sweep.run.log_file.read_text()
    sweep.assert_nothing_is_left()


def test_asha_with_one_slot_is_the_same_after_kills_and_ctrl_c(asha, disturbed_asha):
    assert_same(disturbed_asha, asha)
    assert "stopped" in statuses(asha.records).values(), "no trial was cut: the test shows nothing"
    decisions = [
        [(report.step, report.decision) for report in record.reports]
        for record in asha.records.values()
    ]
    assert decisions == [
        [(report.step, report.decision) for report in record.reports]
        for record in disturbed_asha.records.values()
    ]
    crashes = sum(record.num_crashes for record in disturbed_asha.records.values())
    assert crashes == 1, "the worker's; the end of a driver is no crash of its trials"
    disturbed_asha.assert_nothing_is_left()
