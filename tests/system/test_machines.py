"""Machines that go for good and come again, while a sweep runs on a cluster of several."""

import json
import signal

import pytest
import ray
from ray.cluster_utils import Cluster
from ray.util.placement_group import placement_group_table

from neft_ray.journal import read_events, read_records
from tests.system.runs import Sweep, finished

pytestmark = pytest.mark.slow  # several Ray nodes on one machine


@pytest.fixture
def cluster():
    """A cluster with a machine that leads and trains nothing; a test adds others."""
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    yield found
    ray.shutdown()
    found.shutdown()


def events(sweep, kind):
    return [event for event in read_events(sweep.run.journal_file) if event["event"] == kind]


def test_a_trial_whose_machine_is_gone_for_good_goes_on_in_another_slot(cluster, tmp_path):
    _, lost = cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1)
    sweep = Sweep(tmp_path, changes={"finalists": {"num": 0}})
    sweep.start("--address", cluster.address)
    sweep.wait_for_reports(3)
    cluster.remove_node(lost, allow_graceful=False)
    finished(sweep)
    (crash,) = events(sweep, "crash")
    assert sweep.records[crash["trial"]].status == "completed"
    held = [event["slots"] for event in events(sweep, "hold")]
    assert held[-1] <= 1 and max(held) == 2


def test_a_trial_goes_on_with_fewer_workers_and_with_more_again(cluster, tmp_path):
    cluster.add_node(num_cpus=1)
    lost = cluster.add_node(num_cpus=1)
    base = {
        "training": {"epochs": 60},
        "workers": {"num": [1, 2], "grow_after_seconds": 5, "timeout_seconds": 30},
    }
    one = {"space": {"noise.alpha": {"choice": [5]}}, "finalists": {"num": 0}, "slots": 1}
    sweep = Sweep(tmp_path / "elastic", changes=one | {"control": None}, base=base)
    sweep.start("--address", cluster.address)
    sweep.wait_for_reports(2)
    cluster.remove_node(lost, allow_graceful=False)
    sweep.wait_for_events("crash", 1)
    sweep.wait_for_reports(sweep.num_reports() + 2)
    cluster.add_node(num_cpus=1)
    sweep.wait_for_events("move", 1)
    finished(sweep)
    held = [event["cpus"] for event in events(sweep, "hold")]
    assert held[:5] == [2, 0, 1, 0, 2], held
    assert len(events(sweep, "crash")) == 1

    fixed = Sweep(tmp_path / "fixed", changes=one | {"control": None}, base=base)
    config = json.loads(fixed.file.read_text())
    config["workers"] = {"num": 1}
    fixed.file.write_text(json.dumps(config))
    fixed.start()
    finished(fixed)
    losses = [
        [report.metrics["select_loss"] for report in read_records(s.run.journal_file)[0].reports]
        for s in (sweep, fixed)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_sweep_that_waits_for_machines_in_vain_is_stopped_all_the_same(cluster, tmp_path):
    only = cluster.add_node(num_cpus=1)
    sweep = Sweep(tmp_path, changes={"finalists": {"num": 0}})
    sweep.start("--address", cluster.address)
    sweep.wait_for_reports(1)
    cluster.remove_node(only, allow_graceful=False)
    sweep.wait_for_events("crash", 1)
    sweep.process.send_signal(signal.SIGINT)
    assert sweep.wait() == 130, sweep.told()
    assert "still run" not in sweep.run.log_file.read_text()
    ray.init(cluster.address, log_to_driver=False)
    table = placement_group_table().values()
    assert not [entry for entry in table if entry["state"] != "REMOVED"]
