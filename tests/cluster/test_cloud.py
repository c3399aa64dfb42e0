"""The shipped file for AWS, on a mock of it: machines come for trials, are called back, go."""

import time

import pytest
import yaml

from neft_ray.journal import COMPLETED, read_events
from tests.cluster.boot import REPOSITORY
from tests.cluster.cloud import BUCKET, REGION, ZONE, Cloud
from tests.cluster.hosts import Hosts, why_not
from tests.cluster.onprem import Cluster
from tests.cluster.waiting import submitted, table, table_of, wait_for_report, wait_until

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
    pytest.mark.timeout(900),
]
TO = ("--cluster", "aws.yaml")
NUM_MACHINES = 5
NOTICE_SECONDS = 120
LONG = {"epochs": 40, "eval_every_steps": 30}
ONE = {"num": 1, "cpus": 2, "timeout_seconds": 60}


class Aws(Cluster):
    """The shipped file, with the hosts for machines."""

    file = "aws.yaml"

    def __init__(self, hosts: Hosts, cloud: Cloud) -> None:
        self._cloud = cloud
        super().__init__(hosts, f"s3://{BUCKET}/runs")

    def config(self) -> dict:
        """Return it with the marked lines changed, and what a mock and hosts cannot have."""
        config = yaml.safe_load((REPOSITORY / "clusters" / self.file).read_text())
        config["provider"] |= {"availability_zone": ZONE, "region": REGION}
        config["provider"]["use_internal_ips"] = True
        config["auth"]["ssh_user"] = "root"
        config["metadata"]["neft_ray"]["storage"] = self.storage
        config["setup_commands"] = []  # hosts see what is installed here
        config["idle_timeout_minutes"] = 0.5
        kinds = config["available_node_types"]
        for name in ("p4d_spot", "p5_spot"):
            del kinds[name]
        for name, kind in kinds.items():
            kind["resources"] = {"CPU": 0 if name == "head" else 2}
            kind["node_config"] |= {"ImageId": self._cloud.image, "SubnetIds": [self._cloud.subnet]}
        return config


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    """An account, whose cloud has machines to give."""
    hosts = Hosts(tmp_path_factory.mktemp("lab") / "hosts", 1, num_off=NUM_MACHINES)
    cloud = Cloud(hosts)
    with hosts, cloud:
        yield cloud


@pytest.fixture(scope="module")
def cluster(cloud):
    """A cluster that is up: nothing but a head, and the laptop that made it."""
    cluster = Aws(cloud.hosts, cloud)
    cluster.typed("ray up --yes aws.yaml")
    assert [kind(machine) for machine in cloud.machines().values()] == ["head"]
    return cluster


@pytest.fixture(scope="module")
def sweep(cluster):
    """The name of a sweep that begins where there is no worker yet."""
    changes = {"slots": 1, "space": {"noise.alpha": {"choice": [5, 10]}}}
    file = cluster.sweep_file(training=LONG, workers=ONE, sweep=changes)
    return submitted(cluster.neft_ray("submit", file, *TO))


@pytest.fixture(scope="module")
def quiet(cluster, sweep):
    """The same sweep on the laptop alone, which runs meanwhile."""
    command = "neft-ray sweep sweep.yaml --run-name quiet"
    process = cluster.laptop.start_command(command, cluster.home / "quiet.log")
    yield cluster.home / "runs/quiet", process
    process.kill()
    process.wait()


def kind(machine):
    """The type that the cluster file calls a machine."""
    return next(t["Value"] for t in machine["Tags"] if t["Key"] == "ray-user-node-type")


def workers(cloud):
    return [name for name, machine in cloud.machines().items() if kind(machine) != "head"]


def events(cluster, name, wanted):
    file = cluster.run_folder(name) / "journal.jsonl"
    return [event for event in read_events(file) if event["event"] == wanted]


def test_a_spot_machine_comes_for_a_sweep_that_waits(cloud, cluster, sweep, quiet):
    wait_for_report(cluster, sweep, 0)
    (name,) = workers(cloud)
    machine = cloud.machines()[name]
    assert (kind(machine), machine["InstanceLifecycle"]) == ("g5_spot", "spot")
    held = [event["slots"] for event in events(cluster, sweep, "hold")]
    assert held == [1], "nothing is paid for before it comes"


def test_a_trial_leaves_a_machine_that_is_called_back_and_loses_no_step(cloud, cluster, sweep):
    (name,) = workers(cloud)
    cloud.call_back(name, NOTICE_SECONDS)
    deadline = time.monotonic() + NOTICE_SECONDS
    (moved,) = wait_until(lambda: events(cluster, sweep, "move"))
    assert time.monotonic() < deadline
    assert moved["reason"].startswith("its machine is taken away after step ")
    step = int(moved["reason"].split()[-1])
    cloud.terminate(name)
    reported = len(cluster.records(sweep)[moved["trial"]].reports)
    wait_for_report(cluster, sweep, moved["trial"], reported + 1)
    (other,) = workers(cloud)
    assert other != name
    log = (cloud.host(other).folder / "root/.neft_ray").rglob(f"t{moved['trial']:03}/log-0.txt")
    assert any(f": step {step} of " in path.read_text() for path in log)
    assert cluster.records(sweep)[moved["trial"]].num_crashes == 0


def test_a_machine_that_goes_without_notice_is_replaced(cloud, cluster, sweep):
    (name,) = workers(cloud)
    running = max(cluster.records(sweep))
    cloud.terminate(name)
    wait_until(lambda: cluster.records(sweep)[running].num_crashes)
    wait_until(lambda: workers(cloud) not in ([], [name]))
    assert name not in workers(cloud)


def test_the_table_is_that_of_a_sweep_on_one_machine(cluster, sweep, quiet):
    wait_until(lambda: cluster.records(sweep).keys() >= {0, 1, 2}, 600)
    wait_until(
        lambda: {record.status for record in cluster.records(sweep).values()} == {COMPLETED}, 600
    )
    folder, process = quiet
    assert process.wait(300) == 0
    assert table(cluster, sweep) == table_of(folder)


def test_idle_machines_go_and_down_ends_all(cloud, cluster):
    wait_until(lambda: not workers(cloud))
    assert [kind(machine) for machine in cloud.machines().values()] == ["head"]
    cluster.typed("ray down --yes aws.yaml")
    assert not cloud.machines()
    wait_until(lambda: not any(host.is_on for host in cloud.hosts.all[1:]))
