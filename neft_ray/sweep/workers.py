"""How Ray Train's workers are started: with what, on which network, told what nobody else is."""

from __future__ import annotations

import os
from typing import Any

import ray
from ray.train import ScalingConfig
from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from neft_ray import network
from neft_ray.config.workers import WorkersConfig

SECRETS = ("HF_TOKEN",)
"""Variables that workers are told by an actor: Ray shows those of a job to whoever looks."""


class _Backend(_TorchBackend):  # type: ignore[misc]
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        worker_group.execute(_prepare)
        super().on_start(worker_group, backend_config)


def _prepare() -> None:
    network.prepare(ray.util.get_node_ip_address())


class _TorchConfig(TorchConfig):  # type: ignore[misc]
    """Tells every worker's gloo and NCCL of its network before the workers meet."""

    @property
    def backend_cls(self) -> type[_Backend]:
        """Return what sets up the process group."""
        return _Backend


def torch_config(workers: WorkersConfig) -> TorchConfig:
    """Return how the workers of a group speak with each other."""
    backend = "cpu:gloo,cuda:nccl" if workers.gpus else "gloo"
    return _TorchConfig(backend=backend, timeout_s=workers.timeout_seconds)


def scaling_config(workers: WorkersConfig, more: dict[str, float] | None = None) -> ScalingConfig:
    """Return how many workers there are, and what each of them asks Ray for.

    Args:
        workers: Of one group.
        more: Further resources of each worker.
    """
    resources = {"CPU": float(workers.cpus), **(more or {})}
    if workers.gpus:
        resources["GPU"] = workers.gpus
    return ScalingConfig(
        num_workers=workers.least,
        use_gpu=workers.gpus > 0,
        resources_per_worker=resources,
    )


def actor_here(kind: type, *arguments: Any) -> Any:
    """Start an actor on this process's own node, which takes no resources."""
    node = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=node)(kind).remote(*arguments)


def secrets() -> dict[str, str]:
    """Return the secrets of this process that its workers need."""
    return {name: os.environ[name] for name in SECRETS if name in os.environ}
