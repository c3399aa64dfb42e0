"""What a sweep with stops, crashes and a Ctrl-C leaves on a cluster that lives on: nothing."""

import signal
import time

import psutil
import pytest
import ray
from ray.util.placement_group import placement_group_table
from ray.util.state import list_actors

from tests.system.runs import Sweep, finished, statuses

CHANGES = {
    "searcher": {"kind": "random"},
    "num_trials": 4,
    "scheduler": {"kind": "asha", "grace_steps": 6, "eta": 2, "promote": True},
    "finalists": {"num": 1, "seeds": [1]},
    "keep_checkpoints": 2,
}
pytestmark = pytest.mark.slow  # two minutes, most of them Ray's
NUM_CPUS = 2
COORDINATOR = "_AutoscalingCoordinatorActor"
"""Ray Train's own, one for the whole cluster, whoever trained first on it."""


@pytest.fixture
def cluster():
    """A Ray cluster of this process, on loopback."""
    context = ray.init(
        address="local",
        num_cpus=NUM_CPUS,
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        log_to_driver=False,
    )
    yield context.address_info["address"]
    ray.shutdown()


def placement_groups() -> list[str]:
    return [e["state"] for e in placement_group_table().values() if e["state"] != "REMOVED"]


def workers() -> set[int]:
    """Processes in which something of Ray's runs, but for those that wait for work."""
    found = set()
    for child in psutil.Process().children(recursive=True):
        line = " ".join(child.cmdline())
        if "ray::" in line and not any(word in line for word in ("IDLE", COORDINATOR)):
            found.add(child.pid)
    return found


def of_ray_train() -> list[str]:
    """The processes that a slot does without."""
    names = ("ray::TrainController", "ray::DatasetManager", "ray::PlacementGroupCleaner")
    lines = (" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True))
    return [line for line in lines if line.startswith(names)]


def kill_worker() -> None:
    """Kill one worker of the cluster; its processes are children of the one that started Ray."""
    for child in psutil.Process().children(recursive=True):
        if any(part.startswith("ray::RayTrainWorker") for part in child.cmdline()):
            child.kill()
            return
    raise AssertionError("no worker runs")


def num_crashes(sweep: Sweep) -> int:
    return sum(record.num_crashes for record in sweep.records.values())


def test_a_sweep_leaves_no_placement_group_process_or_file(cluster, tmp_path):
    before = workers()
    sweep = Sweep(tmp_path, changes=CHANGES)
    sweep.start("--address", cluster)
    sweep.wait_for_reports(3)
    assert of_ray_train() == []
    while not num_crashes(sweep):  # a worker between two trials takes none with it
        kill_worker()
        sweep.wait_for_reports(sweep.num_reports() + 4)
    sweep.process.send_signal(signal.SIGINT)
    assert sweep.wait() == 130, sweep.told()
    assert_clean(cluster, before)
    sweep.start("--resume", str(sweep.run.root), "--address", cluster)
    finished(sweep)
    assert_clean(cluster, before)
    assert "stopped" in statuses(sweep.records).values()

    run = sweep.run
    left = {path.name for path in run.root.iterdir()}
    assert not left & {"ray", "stop"}
    checkpoints = list(run.root.glob("trials/t*/checkpoints/*"))
    assert len(checkpoints) <= 2 + 1, "the best two, and the best of an arm that has none of them"
    assert not list(run.root.glob("trials/t*/checkpoints/.*"))
    assert not list(run.root.rglob("*.partial")) and not list(run.root.rglob("origin"))


def assert_clean(cluster: str, before: set[int]) -> None:
    """Within seconds all is given back; how long Ray takes to notice a job's end is Ray's."""
    deadline = time.monotonic() + 30
    while True:
        filters = [("state", "!=", "DEAD"), ("class_name", "!=", COORDINATOR)]
        alive = list_actors(cluster, filters)
        free = ray.available_resources().get("CPU", 0)
        found = (placement_groups(), alive, workers() - before, free)
        if found == ([], [], set(), NUM_CPUS):
            return
        assert time.monotonic() < deadline, found
        time.sleep(0.5)
