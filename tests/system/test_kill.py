"""SIGKILL of worker, driver, MLflow server and slot: what DESIGN calls "the same" must hold."""

import random

import pytest

from tests.system.runs import Sweep, assert_same, finished
from tests.system.servers import Server

pytestmark = pytest.mark.slow  # test_sweep.py kills the same, of a sweep with one slot
SEED = 20261123


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """A grid without stopping, on two slots, that nothing disturbs."""
    return finished(Sweep(tmp_path_factory.mktemp("grid")))


def test_a_grid_is_the_same_after_worker_driver_mlflow_server_and_slot_were_killed(grid, tmp_path):
    chance = random.Random(SEED)

    def some_later() -> None:
        sweep.wait_for_reports(sweep.num_reports() + chance.randint(3, 6))

    with Server(tmp_path / "server") as server:
        sweep = Sweep(tmp_path, uri=server.uri, database=server.database)
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
        sweep.resume()  # sends what MLflow missed, if the sweep ended before it was back
        finished(sweep)
        assert_same(sweep, grid)
    assert sum(record.num_crashes for record in sweep.records.values()) >= 1
    assert "MLflow is away" in sweep.run.log_file.read_text()
    sweep.assert_nothing_is_left()
