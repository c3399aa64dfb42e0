"""The Engine: how a model is spread over workers. Here: one copy per worker."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from neft_ray.errors import bad_input
from neft_ray.model import SupervisedLM

WEIGHTS_FILE = "weights.safetensors"
OPTIMIZER_FILE = "optimizer.pt"


class Engine(Protocol):
    """A model with its optimizer, on every worker of a trial."""

    module: nn.Module
    """What a forward is called on."""
    plain: SupervisedLM
    """The model inside."""
    device: torch.device
    rank: int
    world: int

    def micro_step(self, is_last: bool) -> AbstractContextManager[None]:
        """Surround one forward and backward; only the last of a step reduces over workers."""

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of this worker's share of the step's loss."""

    def step(self, learning_rate: float) -> float:
        """Clip, update, clear; return the gradient norm before clipping, equal on all ranks."""

    def sum_over_ranks(self, values: Tensor) -> Tensor:
        """Return the elementwise sum over all ranks, on the CPU."""

    def save(self, folder: Path) -> None:
        """Write this rank's part of model and optimizer into an existing folder.

        Raises:
            OSError: If the disk is full or not writable.
        """

    def load(self, folder: Path) -> None:
        """Read what `save` wrote, all or nothing.

        Raises:
            UserError: If it cannot be read.
        """


class DataParallel:
    """A whole copy of the model per worker; gradients are averaged with DDP."""

    def __init__(
        self,
        model: SupervisedLM,
        optimizer: Optimizer,
        clip_norm: float | None,
        device: torch.device,
    ) -> None:
        self.plain = model
        self.device = device
        self.rank = distributed.get_rank() if distributed.is_initialized() else 0
        self.world = distributed.get_world_size() if distributed.is_initialized() else 1
        self.module: nn.Module = model
        if self.world > 1:
            self.module = DistributedDataParallel(model)
        self._optimizer = optimizer
        self._clip_norm = clip_norm if clip_norm is not None else float("inf")

    def micro_step(self, is_last: bool) -> AbstractContextManager[None]:
        """See `Engine`."""
        if isinstance(self.module, DistributedDataParallel) and not is_last:
            return self.module.no_sync()
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """See `Engine`. DDP averages, so each share is multiplied by the number of workers."""
        (loss * self.world).backward()  # type: ignore[no-untyped-call]

    def step(self, learning_rate: float) -> float:
        """See `Engine`."""
        norm = clip_grad_norm_(self.plain.parameters(), self._clip_norm)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return float(norm)

    def sum_over_ranks(self, values: Tensor) -> Tensor:
        """See `Engine`."""
        if self.world > 1:
            values = values.to(self.device, copy=True)
            distributed.all_reduce(values)
        return values.cpu()

    def save(self, folder: Path) -> None:
        """See `Engine`. Rank 0 writes; all ranks hold the same."""
        if self.rank > 0:
            return
        weights = {name: p.detach().cpu() for name, p in self.plain.model.named_parameters()}
        try:
            save_file(weights, folder / WEIGHTS_FILE)
            torch.save(self._optimizer.state_dict(), folder / OPTIMIZER_FILE)
        except (SafetensorError, RuntimeError) as error:  # what both make of a full disk
            raise OSError(f"{folder} cannot be filled ({error})") from error

    def load(self, folder: Path) -> None:
        """See `Engine`."""
        try:
            weights = load_file(folder / WEIGHTS_FILE)
            state: dict[str, Any] = torch.load(
                folder / OPTIMIZER_FILE, map_location=self.device, weights_only=True
            )
        except Exception as error:  # safetensors and torch have no common error for broken files
            remedy = "delete this checkpoint"
            raise bad_input(folder, f"is not a readable checkpoint ({error})", remedy) from error
        with torch.no_grad():
            for name, parameter in self.plain.model.named_parameters():
                parameter.copy_(weights[name])
        self._optimizer.load_state_dict(state)
