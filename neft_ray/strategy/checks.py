"""What a strategy needs of the machine and the model, asked before anything is trained."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import torch
from torch import nn

from neft_ray.config.strategy import DeepspeedConfig
from neft_ray.config.trial import TrialConfig
from neft_ray.errors import Problem, UserError, bad_input


def machine_problems(config: TrialConfig) -> Iterator[Problem]:
    """Say what this machine lacks that a trial's strategy needs; needs no process group.

    Yields:
        One problem for each thing that is missing.
    """
    strategy = config.strategy
    in_half = config.model.dtype == "bfloat16" and config.workers.gpus > 0
    if in_half and not _has_bfloat16():
        name = torch.cuda.get_device_name()
        yield Problem("model.dtype", f"{name} has no bfloat16", "write model.dtype: float32")
    if not isinstance(strategy, DeepspeedConfig):
        return
    offloads = {"offload_optimizer": strategy.offload_optimizer}
    offloads["offload_params"] = strategy.offload_params
    for key, place in offloads.items():
        if place == "nvme":
            yield from _lacks_for_nvme(f"strategy.{key}")


def _has_bfloat16() -> bool:
    """Tell whether this machine's GPU computes in bfloat16; unknown where there is no GPU."""
    cuda = torch.cuda
    return not cuda.is_available() or cuda.is_bf16_supported(including_emulation=False)


def _lacks_for_nvme(where: str) -> Iterator[Problem]:
    if shutil.which("c++") is None or shutil.which("ninja") is None:
        remedy = "install g++ and ninja, or offload to cpu"
        yield Problem(where, "DeepSpeed compiles its disk access, and there is no compiler", remedy)
        return
    from deepspeed.ops.op_builder import AsyncIOBuilder

    if not AsyncIOBuilder().is_compatible(verbose=False):
        yield Problem(where, "libaio is missing", "install libaio-dev, or offload to cpu")


def check_machine(config: TrialConfig) -> None:
    """Refuse a trial that this machine cannot train.

    Raises:
        UserError: With everything that is missing.
    """
    if problems := list(machine_problems(config)):
        raise UserError(problems)


def enough_parameters(model: nn.Module, num_workers: int) -> None:
    """Refuse to share out fewer parameters than there are workers.

    Raises:
        UserError: If some worker would hold nothing.
    """
    num = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if num < num_workers:
        what = f"{num_workers} workers cannot share {num} trained parameters"
        raise bad_input("workers.num", what, "use fewer workers, or strategy: {kind: ddp}")
