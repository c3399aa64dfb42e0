"""What a strategy needs of the machine and the model, asked before anything is trained."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import product
from typing import TYPE_CHECKING

from neft_ray.config.strategy import DeepspeedConfig
from neft_ray.config.sweep import SweepConfig
from neft_ray.config.trial import TrialConfig
from neft_ray.errors import Problem, UserError, bad_input

if TYPE_CHECKING:
    from torch import nn


def machine_problems(config: TrialConfig) -> Iterator[Problem]:
    """Say what this machine lacks that a trial's strategy needs; needs no process group.

    Loads no framework for a trial that needs nothing.

    Yields:
        One problem for each thing that is missing.
    """
    strategy = config.strategy
    in_half = config.model.dtype == "bfloat16" and config.workers.gpus > 0
    if in_half and (name := _gpu_without_bfloat16()):
        yield Problem("model.dtype", f"{name} has no bfloat16", "write model.dtype: float32")
    if config.model.compile and shutil.which(os.environ.get("CXX", "g++")) is None:
        remedy = "install g++, or write model.compile: false"
        yield Problem("model.compile", "torch compiles with g++, and it is not here", remedy)
    if config.model.quantization is not None:
        yield from _lacks_for_four_bits()
    if not isinstance(strategy, DeepspeedConfig):
        return
    offloads = {"offload_optimizer": strategy.offload_optimizer}
    offloads["offload_params"] = strategy.offload_params
    for key, place in offloads.items():
        if place == "nvme":
            yield from _lacks_for_nvme(f"strategy.{key}")


def _lacks_for_four_bits() -> Iterator[Problem]:
    where = "model.quantization"
    if find_spec("bitsandbytes") is None:
        remedy = "pip install neft-ray[quantize], or write quantization: null"
        yield Problem(where, "bitsandbytes is missing", remedy)
        return
    from neft_ray.model.four_bits import failure

    if (why := failure()) is not None:
        what = f"bitsandbytes has no 4-bit kernels for this machine ({why})"
        yield Problem(where, what, "write quantization: null, and a smaller model or fsdp")


def sweep_problems(config: SweepConfig) -> list[Problem]:
    """Say what this machine lacks that some trial of a sweep needs; see `machine_problems`."""
    keys = ("model.dtype", "model.quantization")
    combined = product(*(sorted(config.values_of(key), key=str) for key in keys))
    trials = (config.trial.with_values(dict(zip(keys, v, strict=True))) for v in combined)
    return list(dict.fromkeys(problem for trial in trials for problem in machine_problems(trial)))


def _gpu_without_bfloat16() -> str | None:
    """Return the name of this machine's GPU if it does not compute in bfloat16."""
    from torch import cuda

    if not cuda.is_available() or cuda.is_bf16_supported(including_emulation=False):
        return None
    return str(cuda.get_device_name())


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
