"""The disk that a sweep needs, from the model's configuration alone."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from neft_ray.config.schedulers import Asha, Halving, Hyperband, Population
from neft_ray.config.strategy import DeepspeedConfig
from neft_ray.config.sweep import SweepConfig
from neft_ray.cost.text import size_text
from neft_ray.errors import Problem
from neft_ray.memory.held import FLOAT, HALF, MOMENTS
from neft_ray.plan import Plan
from neft_ray.tracking.address import Address
from neft_ray.working_copy import here


@dataclass(frozen=True)
class DiskNeed:
    """Bytes at the fullest moment of a sweep.

    Attributes:
        checkpoint: Of one checkpoint.
        num_checkpoints: How many lie there at once: the best, one of each arm at least, and of
            every trial that runs or waits the latest and the one that is being written.
        models: The exported best model, its copy in MLflow, and a new one before it replaces it.
    """

    checkpoint: float
    num_checkpoints: int
    models: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.checkpoint * self.num_checkpoints + self.models


def disk_need(
    config: SweepConfig, plan: Plan, num_trained: int, num_elements: int, slots: int
) -> DiskNeed:
    """Return what a sweep needs of its storage.

    Args:
        config: The sweep.
        plan: What it is going to do.
        num_trained: Parameters that are trained.
        num_elements: All parameters of the exported model.
        slots: Trials at the same time.
    """
    model = num_elements * (FLOAT if config.model.dtype == "float32" else HALF)
    copies = 2 + Address.of(config.mlflow.uri, here(config.storage)).is_database
    kept = config.sweep.keep_checkpoints + len(config.sweep.arms) - 1
    weighed = 1 + slots if config.sweep.objective.weights else 0
    num = kept + weighed + 2 * slots + num_waiting(config, plan)
    return DiskNeed(checkpoint_bytes(config, num_trained), num, model * copies)


def checkpoint_bytes(config: SweepConfig, num_trained: int) -> float:
    """Return the size of one checkpoint, over all of a trial's workers."""
    per_parameter = float(FLOAT * (1 + MOMENTS))
    strategy = config.strategy
    if isinstance(strategy, DeepspeedConfig):  # what the forward sees, beside what is updated
        whole = strategy.zero_stage < 3
        per_parameter += (FLOAT if strategy.params_dtype == "float32" else HALF) * whole
    return num_trained * per_parameter


def num_waiting(config: SweepConfig, plan: Plan) -> int:
    """Return how many trials may wait at a rung at once, each with its checkpoint."""
    scheduler = config.sweep.scheduler
    pauses = isinstance(scheduler, Halving | Hyperband | Population)
    pauses |= isinstance(scheduler, Asha) and scheduler.promote
    return sum(arm.num_trials for arm in plan.arms) if pauses else 0


def free_bytes(storage: Path) -> float:
    """Return what is free where a folder is, or will be."""
    there = next(folder for folder in (storage, *storage.resolve().parents) if folder.exists())
    return float(shutil.disk_usage(there).free)


def disk_problem(storage: Path, need: DiskNeed, free: float) -> Problem | None:
    """Return what is wrong where the storage has too little room.

    Args:
        storage: The folder that holds the runs, or will.
        need: What the sweep needs.
        free: Free bytes there.
    """
    if need.total <= free:
        return None
    what = f"needs about {size_text(need.total)}, and {size_text(free)} are free"
    remedy = "choose another storage, lower sweep.keep_checkpoints, or free some with neft-ray gc"
    return Problem(str(storage), what, remedy)
