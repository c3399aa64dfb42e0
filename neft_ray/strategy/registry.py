"""The strategies by their `kind`: how an engine is built and its checkpoints are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch
from torch import nn

from neft_ray.config.trial import TrialConfig
from neft_ray.strategy.base import Engine
from neft_ray.strategy.checks import check_machine
from neft_ray.strategy.models import BaseModels


@dataclass(frozen=True)
class Strategy:
    """A way to spread a model over workers."""

    build: Callable[[TrialConfig, BaseModels, torch.device], Engine]
    """Return the engine of a trial. Raises `UserError` where it cannot be built."""
    read_weights: Callable[[Path, nn.Module], None]
    """Copy what an engine saved into a whole model, in a process of its own. Raises `UserError`."""


STRATEGIES = {kind: f"neft_ray.strategy.{kind}" for kind in ("ddp", "fsdp", "deepspeed")}
"""The module of each; those of others take a second to import in every process of a sweep."""


def strategy_of(kind: str) -> Strategy:
    """Return a strategy."""
    module = import_module(STRATEGIES[kind])
    return Strategy(module.build, module.read_weights)


def build_engine(config: TrialConfig, models: BaseModels, device: torch.device) -> Engine:
    """Return a trial's model with its optimizer, spread over its workers.

    Raises:
        UserError: If this machine or the model lacks what the strategy needs.
    """
    check_machine(config)
    return strategy_of(config.strategy.kind).build(config, models, device)
