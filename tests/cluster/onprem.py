"""A cluster on throw-away hosts, made by the shipped file: a laptop, a head and two workers."""

import json
import shlex
import shutil
import subprocess
from pathlib import Path

import yaml

from neft_ray.journal import TrialRecord, read_records
from tests.cluster.boot import REPOSITORY
from tests.cluster.host import Host
from tests.cluster.hosts import Hosts
from tests.cluster.waiting import wait_until
from tests.system import runs

NUM_WORKERS = 2
STORAGE = "/tmp/shared/neft_ray"
SWEEP = runs.SWEEP | {
    "name": "across",
    "data": runs.SWEEP["data"] | {"train": "rows.jsonl"},
    "workers": {"num": 2, "cpus": 2, "timeout_seconds": 60},
    "sweep": runs.SWEEP["sweep"]
    | {"space": {"noise.alpha": {"choice": [5, 10]}}, "finalists": {"num": 0}},
}
"""A worker takes all cores of a host, so that the two of a trial are on two hosts."""


class Cluster:
    """Hosts with the shipped cluster file between them; the laptop is where commands are typed."""

    file = "onprem.yaml"

    def __init__(self, hosts: Hosts, storage: str = STORAGE) -> None:
        """Prepare the laptop.

        Args:
            hosts: The laptop, the head, the workers; any more are none of the cluster's.
            storage: Where runs lie.
        """
        self.hosts, self.storage = hosts, storage
        self.laptop, self.head, *self.workers = hosts.all[: 2 + NUM_WORKERS]
        self.home = self.laptop.folder / "root"
        shutil.copy(hosts.key, self.home / ".ssh/id_ed25519")
        self.laptop.run("ray get-auth-token --generate; chmod 600 ~/.ray/auth_token")
        (self.home / self.file).write_text(json.dumps(self.config()))  # JSON is YAML
        rows = REPOSITORY / "neft_ray/builtin/train.jsonl"
        (self.home / "rows.jsonl").write_bytes(rows.read_bytes())

    def config(self) -> dict:
        """Return the shipped file with the hosts' addresses in the marked lines."""
        config = yaml.safe_load((REPOSITORY / "clusters" / self.file).read_text())
        config["provider"]["head_ip"] = self.head.address
        config["provider"]["worker_ips"] = [worker.address for worker in self.workers]
        config["auth"]["ssh_user"] = "root"
        config["metadata"]["neft_ray"]["storage"] = self.storage
        config["setup_commands"] = []  # hosts see what is installed here
        return config

    def typed(self, command: str, check: bool = True, seconds: float = 600.0):
        """Run a command on the laptop."""
        return self.laptop.run(command, check, seconds)

    def neft_ray(self, *arguments: object, check: bool = True) -> subprocess.CompletedProcess:
        """Run one of our commands on the laptop."""
        return self.typed(shlex.join(["neft-ray", *map(str, arguments)]), check)

    def sweep_file(self, **changes) -> str:
        """Write the sweep file on the laptop and return its name."""
        config = json.loads(json.dumps(SWEEP))
        for section, values in changes.items():
            config[section] |= values
        (self.home / "sweep.yaml").write_text(json.dumps(config))
        return "sweep.yaml"

    def run_folder(self, name: str) -> Path:
        """Return a run directory, as the head sees it."""
        if self.storage == STORAGE:
            return self.hosts.shared / "neft_ray" / name
        copy = self.storage.replace("://", "_")
        return self.head.folder / "root/.neft_ray/storage" / copy / name

    def records(self, name: str) -> dict[int, TrialRecord]:
        """Return the trials of a run."""
        return read_records(self.run_folder(name) / "journal.jsonl")

    def one_that_trains(self) -> Host:
        """Return a worker on which a process of a trial runs, or wait for it."""
        return wait_until(
            lambda: next(
                (w for w in self.workers if w.run("pgrep -f '[R]ayTrainWorker'", False).stdout),
                None,
            )
        )

    def everyone(self) -> list[Host]:
        """Return all machines of the cluster."""
        return [self.head, *self.workers]
