"""Distributed data parallel: one whole copy of the model per worker."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.serialization import set_crc32_options

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

    def save(self, folder: Path) -> list[Path]:
        """See `Engine`. Rank 0 writes; all ranks hold the same."""
        return [] if self.rank > 0 else _write(*self._state(), folder)

    def snapshot(self, folder: Path) -> Callable[[], list[Path]]:
        """See `BackgroundEngine`. Rank 0 holds the copy, on the CPU."""
        if self.rank > 0:
            return list
        weights, optimizer = self._state()
        return partial(_write, _copied(weights), _copied(optimizer), folder)

    def load(self, folder: Path) -> None:
        """See `Engine`. All or nothing."""
        file = folder / OPTIMIZER_FILE
        with reading(file):
            state: dict[str, Any] = torch.load(file, map_location=self.device, weights_only=True)
        read_weights(folder, self.plain.model)
        self._optimizer.load_state_dict(state)

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        weights = {name: p.detach() for name, p in trained(self.plain.model).items()}
        return weights, self._optimizer.state_dict()


def _write(weights: dict[str, Tensor], optimizer: dict[str, Any], folder: Path) -> list[Path]:
    files = [folder / WEIGHTS_FILE, folder / OPTIMIZER_FILE]
    # train/contents.py has a checksum of every file, a faster one. The setting is this thread's.
    set_crc32_options(False)
    with writing(folder):
        save_file({name: p.cpu() for name, p in weights.items()}, files[0])
        torch.save(optimizer, files[1])
    return files


def _copied(state: Any) -> Any:
    """Return a state with copies of its tensors, on the CPU."""
    if isinstance(state, Tensor):
        return state.to("cpu", copy=True)
    if isinstance(state, dict):
        return {key: _copied(value) for key, value in state.items()}
    return [_copied(value) for value in state] if isinstance(state, list) else state


@torch.no_grad()
def read_weights(folder: Path, model: nn.Module) -> None:
    """Copy a checkpoint's weights into a whole model."""
    file = folder / WEIGHTS_FILE
    with reading(file):
        weights = load_file(file)
        parameters = trained(model)
        if weights.keys() != parameters.keys():
            raise ValueError("it holds other parameters than the model")
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
