"""Joins or starts a Ray cluster, quietly, and says how many trials fit it."""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import yaml

from neft_ray.config.workers import WorkersConfig
from neft_ray.errors import bad_input
from neft_ray.sweep.address import LOCAL, address_of, is_here
from neft_ray.system_metrics import num_cores

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # How soon a dead worker is noticed
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
    # A process per slot for what WorkerGroup asks itself
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "TOKENIZERS_PARALLELISM": "false",
}
BOOTSTRAP_FILE = Path("~/ray_bootstrap_config.yaml").expanduser()
"""The cluster file, which `ray up` leaves on the head, where drivers run."""
ASK_SECONDS = 10


@dataclass(frozen=True)
class Machine:
    """What a machine has for workers."""

    cpus: float
    gpus: float

    def holds(self, workers: WorkersConfig) -> int:
        """Return how many workers fit on it."""
        fits = int(self.cpus // workers.cpus)
        return min(fits, workers.on_gpus(self.gpus)) if workers.gpus else fits


@dataclass(frozen=True)
class Cluster:
    """What a connected cluster has for workers, or may grow to have."""

    machines: tuple[Machine, ...]
    node: str = ""
    """The resource that only this process's own node has."""
    is_own: bool = False
    """Started for this process, on this machine."""
    grows: bool = False
    """It may grow further than it is known to."""

    def num_slots(self, workers: WorkersConfig, wanted: int | None) -> int:
        """Return how many trials run at the same time.

        Args:
            workers: The workers of one trial.
            wanted: The `sweep.slots` setting.

        Raises:
            UserError: If not even one trial fits.
        """
        fits = sum(machine.holds(workers) for machine in self.machines) // workers.least
        if self.grows and wanted:
            return wanted
        if fits < 1:
            needs = f"{workers.least} × ({workers.cpus} CPU, {workers.gpus:g} GPU)"
            counts = Counter(f"{m.cpus:g} CPU, {m.gpus:g} GPU" for m in self.machines)
            there = " and ".join(f"{num} × ({text})" for text, num in counts.items())
            what = f"a trial needs {needs}, there is {there}"
            remedy = "lower the workers section, or join a larger cluster with --address"
            if self.grows:
                remedy = "say with sweep.slots how many trials the cluster may grow to hold"
            raise bad_input("workers", what, remedy)
        return min(fits, wanted) if wanted else fits


def draining_nodes() -> frozenset[str]:
    """Return the machines that are being taken away, such as those of a spot market."""
    from ray._private.state import state

    return frozenset(state.get_draining_nodes())


def room_for(workers: WorkersConfig) -> int:
    """Return how many workers fit into what nothing uses now, on machines that stay."""
    from ray._private.state import available_resources_per_node

    leaving, free = draining_nodes(), available_resources_per_node()
    stay = (resources for node, resources in free.items() if node not in leaving)
    return sum(_machine(resources).holds(workers) for resources in stay)


def check_fits_locally(workers: WorkersConfig, address: str | None) -> None:
    """Refuse a trial that is too large for this machine, before a local cluster is started.

    Raises:
        UserError: If it needs more cores than there are.
    """
    if is_here(address):
        Cluster((Machine(num_cores(), sys.maxsize),)).num_slots(workers, None)


def set_environment() -> None:
    """Set what Ray is told by variables, in the driver and in its slots."""
    os.environ.update({k: v for k, v in ENVIRONMENT.items() if k not in os.environ})


@contextmanager
def ray_cluster(address: str | None) -> Iterator[Cluster]:
    """Be connected to a cluster for the duration of a `with` block.

    Args:
        address: A cluster to join; None: the one named by RAY_ADDRESS, else a new local one. A
            cluster that merely happens to run on this machine is never joined.
    """
    set_environment()
    address = address_of(address)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
    if address == LOCAL:
        options |= {"num_cpus": num_cores(), "dashboard_host": "127.0.0.1"}
        # Ray Train's clean-up after a killed controller, which `train` has, asks the dashboard.
        options["include_dashboard"] = True
    ray.init(address=address, **options)
    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        own = ray.get_runtime_context().get_node_id()
        (here,) = (node["Resources"] for node in nodes if node["NodeID"] == own)
        names = [str(name) for name in here if name.startswith("node:")]
        name = next(name for name in names if not name.startswith("node:__"))
        there = [_machine(node["Resources"]) for node in nodes]
        if address == LOCAL:
            yield Cluster(tuple(there), name, is_own=True)
        elif BOOTSTRAP_FILE.exists():
            yield Cluster(_grown(there), name)
        else:
            yield Cluster(tuple(there), name, grows=_grows())
    finally:
        ray.shutdown()


def _machine(resources: Mapping[str, float]) -> Machine:
    return Machine(float(resources.get("CPU", 0.0)), float(resources.get("GPU", 0.0)))


def _grown(machines: Sequence[Machine]) -> tuple[Machine, ...]:
    """Return the machines of a cluster when it has grown as far as its file lets it.

    A file may leave it to each machine to say what it has; so those that are there count too.
    """
    config = yaml.safe_load(BOOTSTRAP_FILE.read_text())
    kinds = sorted(config["available_node_types"].values(), key=lambda k: -k.get("priority", 0))
    grown = [
        _machine(kind.get("resources", {}))
        for kind in kinds
        for _ in range(kind.get("max_workers", 0))
    ]
    at_most = Counter(grown[: config.get("max_workers", len(grown))])
    return tuple((Counter(machines) | at_most).elements())


def _grows() -> bool:
    """Tell whether an autoscaler is at work, whatever it may start."""
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply

    client = GcsClient(address=ray.get_runtime_context().gcs_address)
    reply = GetClusterStatusReply.FromString(client.get_cluster_status(timeout_s=ASK_SECONDS))
    return bool(reply.HasField("autoscaling_state"))
