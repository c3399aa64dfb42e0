"""How many trials this machine holds at the same time."""

from __future__ import annotations

import torch

from neft_ray.config.sweep import SweepConfig
from neft_ray.system_metrics import num_cores


def slots_here(config: SweepConfig) -> int | None:
    """Return how many trials run here at a time; None where not even one would."""
    workers, wanted = config.workers, config.sweep.slots
    most = num_cores() // (workers.least * workers.cpus)
    if workers.gpus:
        most = min(most, workers.on_gpus(torch.cuda.device_count()) // workers.least)
    return min(most, wanted or most) or None
