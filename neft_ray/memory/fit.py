"""Whether a trial fits the memory that is known, and what would."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from neft_ray.config.trial import TrialConfig
from neft_ray.errors import Problem
from neft_ray.memory.predict import Prediction, Predictor
from neft_ray.system_metrics import host_memory_bytes, num_cores

GIGABYTE = 1e9
PROCESS_BYTES = 1.5e9
"""What a process takes of a GPU beside its tensors: context, libraries, allocator. Estimated."""


@dataclass(frozen=True)
class Room:
    """The memory of one worker's device.

    Attributes:
        size: Bytes; None where it is not known.
        what: Of what, in words.
    """

    size: float | None
    what: str


def room_of(config: TrialConfig, slots: int | None) -> Room:
    """Return what this machine has for one worker; a cluster's other machines are not known.

    Args:
        config: The trial.
        slots: Trials at the same time; None: as many as the cores hold.
    """
    workers = config.workers
    if workers.gpus:
        if not torch.cuda.is_available():
            return Room(None, "unknown: this machine has no GPU")
        share, name = min(1.0, workers.gpus), torch.cuda.get_device_name()
        return Room(
            torch.cuda.get_device_properties(0).total_memory * share,
            name if share == 1 else f"{share:g} of {name}",
        )
    most = max(1, num_cores() // (workers.least * workers.cpus))
    at_once = min(most, slots or most) * workers.least
    size = host_memory_bytes() / at_once
    shared = f"shared by {at_once} workers" if at_once > 1 else "for one worker"
    return Room(size, f"this machine's memory, {shared}")


def fits(prediction: Prediction, room: Room) -> bool | None:
    """Return whether a worker fits; None where its memory is not known."""
    return None if room.size is None else prediction.device <= room.size


def trials_per_gpu(predictor: Predictor, room: Room) -> int:
    """Return how many trials of one worker fit on a GPU that one has to itself now; 1 if unknown.

    Raises:
        UserError: If the model cannot be traced.
    """
    workers = predictor.config.workers
    if room.size is None or workers.gpus != 1 or workers.most != 1:
        return 1
    one = predictor.of(predictor.config).device + PROCESS_BYTES
    cores = num_cores() // max(1, torch.cuda.device_count())
    return max(1, min(int(room.size // one), cores // workers.cpus))


def problem(where: str, predictor: Predictor, room: Room) -> Problem | None:
    """Return what is wrong where the trial will not fit, with what would.

    Raises:
        UserError: If the model cannot be traced.
    """
    if room.size is None or fits(prediction := predictor.of(predictor.config), room):
        return None
    what = f"a worker needs about {prediction.device / GIGABYTE:.3g} GB"
    what += f", and there are {room.size / GIGABYTE:.3g} GB ({room.what})"
    return Problem(where, what, _remedy(predictor, room.size))


def _remedy(predictor: Predictor, size: float) -> str:
    lora = predictor.config.model.lora
    for name, variant in predictor.compared():
        if variant.model.lora == lora:
            needed = predictor.of(variant).device
            if needed <= size:
                return f"{name} would need {needed / GIGABYTE:.3g} GB (neft-ray plan --compare)"
    remedy = "no strategy fits: use more workers, a smaller batch.micro_tokens"
    return remedy + (" or max_length_tokens" if lora else ", max_length_tokens, or model.lora")
