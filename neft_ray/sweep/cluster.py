"""Joins or starts a Ray cluster, quietly, and says how many trials fit it."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray

from neft_ray.config.trial import WorkersConfig
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
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True)
class Cluster:
    """What a connected cluster has for workers."""

    cpus: float
    gpus: float
    node: str = ""
    """The resource that only this process's own node has."""

    def num_slots(self, workers: WorkersConfig, wanted: int | None) -> int:
        """Return how many trials run at the same time.

        Args:
            workers: The workers of one trial.
            wanted: The `sweep.slots` setting.

        Raises:
            UserError: If not even one trial fits.
        """
        fits = int(self.cpus // (workers.num * workers.cpus))
        if workers.gpus:
            fits = min(fits, int(self.gpus // (workers.num * workers.gpus)))
        if fits < 1:
            needs = f"{workers.num} × ({workers.cpus} CPU, {workers.gpus:g} GPU)"
            what = f"a trial needs {needs}, there is {self.cpus:g} CPU, {self.gpus:g} GPU"
            remedy = "lower the workers section, or join a larger cluster with --address"
            raise bad_input("workers", what, remedy)
        return min(fits, wanted) if wanted else fits


def check_fits_locally(workers: WorkersConfig, address: str | None) -> None:
    """Refuse a trial that is too large for this machine, before a local cluster is started.

    Raises:
        UserError: If it needs more cores than there are.
    """
    if is_here(address):
        Cluster(num_cores(), math.inf).num_slots(workers, None)


@contextmanager
def ray_cluster(address: str | None) -> Iterator[Cluster]:
    """Be connected to a cluster for the duration of a `with` block.

    Args:
        address: A cluster to join; None: the one named by RAY_ADDRESS, else a new local one. A
            cluster that merely happens to run on this machine is never joined.
    """
    os.environ.update({k: v for k, v in ENVIRONMENT.items() if k not in os.environ})
    address = address_of(address)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
    if address == LOCAL:
        options |= {"num_cpus": num_cores(), "dashboard_host": "127.0.0.1"}
        # Ray Train's clean-up after a killed controller, which `train` has, asks the dashboard.
        options["include_dashboard"] = True
        # One machine is not preempted: one process less to start per slot.
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    ray.init(address=address, **options)
    try:
        resources = ray.cluster_resources()
        cpus, gpus = float(resources.get("CPU", 0.0)), float(resources.get("GPU", 0.0))
        yield Cluster(cpus, gpus, _own_node())
    finally:
        ray.shutdown()


def _own_node() -> str:
    own = ray.get_runtime_context().get_node_id()
    (node,) = (node for node in ray.nodes() if node["NodeID"] == own)
    names = [str(name) for name in node["Resources"] if name.startswith("node:")]
    return next(name for name in names if not name.startswith("node:__"))
