"""Distributed data parallel: one whole copy of the model per worker."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from neft_ray.config.trial import TrialConfig
from neft_ray.model import SupervisedLM
from neft_ray.optim import build_optimizer
from neft_ray.strategy.base import TorchEngine, reading, trained, writing
from neft_ray.strategy.models import BaseModels

WEIGHTS_FILE = "weights.safetensors"
OPTIMIZER_FILE = "optimizer.pt"


def build(config: TrialConfig, models: BaseModels, device: torch.device) -> DataParallel:
    """Return the engine of a trial."""
    model = models.copied(config).to(device)
    optimizer = build_optimizer(model, config.optimizer)
    return DataParallel(model, optimizer, config.optimizer.clip_norm, device)


class DataParallel(TorchEngine):
    """A whole copy of the model per worker; gradients are averaged with DDP."""

    def __init__(
        self,
        model: SupervisedLM,
        optimizer: Optimizer,
        clip_norm: float | None,
        device: torch.device,
    ) -> None:
        super().__init__(model, optimizer, clip_norm, device)
        self.module: nn.Module = model
        if self.world > 1:
            with catch_warnings():
                simplefilter("ignore", FutureWarning)  # torch 2.9 has no other name for it
                # Buffers are the same on all workers and do not change.
                self.module = DistributedDataParallel(model, broadcast_buffers=False)

    def micro_step(self, is_last: bool) -> AbstractContextManager[None]:
        """See `Engine`."""
        if isinstance(self.module, DistributedDataParallel) and not is_last:
            return self.module.no_sync()
        return nullcontext()

    def save(self, folder: Path) -> None:
        """See `Engine`. Rank 0 writes; all ranks hold the same."""
        if self.rank > 0:
            return
        weights = {name: p.detach().cpu() for name, p in trained(self.plain.model).items()}
        with writing(folder):
            save_file(weights, folder / WEIGHTS_FILE)
            torch.save(self._optimizer.state_dict(), folder / OPTIMIZER_FILE)

    def load(self, folder: Path) -> None:
        """See `Engine`. All or nothing."""
        with reading(folder):
            state: dict[str, Any] = torch.load(
                folder / OPTIMIZER_FILE, map_location=self.device, weights_only=True
            )
            read_weights(folder, self.plain.model)
        self._optimizer.load_state_dict(state)


@torch.no_grad()
def read_weights(folder: Path, model: nn.Module) -> None:
    """Copy a checkpoint's weights into a whole model."""
    with reading(folder):
        weights = load_file(folder / WEIGHTS_FILE)
        parameters = trained(model)
        if weights.keys() != parameters.keys():
            raise ValueError("it holds other parameters than the model")
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
