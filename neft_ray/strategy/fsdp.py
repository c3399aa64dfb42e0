"""Fully sharded data parallel (FSDP2): every worker holds a shard of each parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import torch
from torch import distributed, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save, save
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.optim import Optimizer

from neft_ray.config.strategy import FsdpConfig
from neft_ray.config.trial import TrialConfig
from neft_ray.model import SupervisedLM, decoder_layers
from neft_ray.optim import build_optimizer
from neft_ray.strategy.base import TorchEngine, reading, trained, writing
from neft_ray.strategy.checks import enough_parameters
from neft_ray.strategy.models import BaseModels
from neft_ray.strategy.shards import INDEX_FILE, Reader

_TRAINED = StateDictOptions(ignore_frozen_params=True)


def build(
    config: TrialConfig, models: BaseModels, device: torch.device
) -> FullyShardedDataParallel:
    """Return the engine of a trial.

    Raises:
        UserError: If there are more workers than parameters.
    """
    model = models.mapped(config)
    assert isinstance(config.strategy, FsdpConfig)
    enough_parameters(model, config.workers.most)
    shard(model, config.strategy, device)
    optimizer = build_optimizer(model, config.optimizer)
    timeout = timedelta(seconds=config.workers.timeout_seconds)
    return FullyShardedDataParallel(model, optimizer, config.optimizer.clip_norm, device, timeout)


def shard(model: SupervisedLM, config: FsdpConfig, device: torch.device) -> None:
    """Replace parameters by this worker's shards, layer by layer, in float32.

    What lies outside the layers is one group at the root, tied weights among it.
    """
    half = torch.bfloat16 if config.params_dtype == "bfloat16" else None
    options: dict[str, Any] = {
        "mesh": init_device_mesh(device.type, (distributed.get_world_size(),)),
        "mp_policy": MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32),
        "offload_policy": CPUOffloadPolicy() if config.cpu_offload else OffloadPolicy(),
    }
    for layer in decoder_layers(model.model):
        fully_shard(layer.float(), reshard_after_forward=config.reshard_after_forward, **options)
    for parameter in model.parameters():
        parameter.data = parameter.data.float()
    fully_shard(model, **options)
    register_fsdp_forward_method(model, "generate")


class FullyShardedDataParallel(TorchEngine):
    """Parameters are gathered layer by layer where they are needed, gradients scattered."""

    def __init__(
        self,
        model: SupervisedLM,
        optimizer: Optimizer,
        clip_norm: float | None,
        device: torch.device,
        timeout: timedelta,
    ) -> None:
        super().__init__(model, optimizer, clip_norm, device)
        self.module: nn.Module = model
        self._timeout = timeout
        self._writers: distributed.ProcessGroup | None = None

    @contextmanager
    def micro_step(self, is_last: bool) -> Iterator[None]:
        """See `Engine`."""
        assert isinstance(self.module, FSDPModule)
        self.module.set_requires_gradient_sync(is_last)
        yield

    def save(self, folder: Path) -> list[Path]:
        """See `Engine`. Every rank writes its shards."""
        with writing(folder):
            save(self._state(), checkpoint_id=folder)
        return self._written(folder)

    def snapshot(self, folder: Path) -> Callable[[], list[Path]]:
        """See `BackgroundEngine`. The writers of all ranks speak in a group of their own.

        In the group of the training their collectives would meet the training's, and abort.
        """
        if self._writers is None:
            self._writers = distributed.new_group(backend="gloo", timeout=self._timeout)
        saving = async_save(self._state(), checkpoint_id=folder, process_group=self._writers)
        assert isinstance(saving, Future)

        def finish() -> list[Path]:
            with writing(folder):
                saving.result()
            return self._written(folder)

        return finish

    def _written(self, folder: Path) -> list[Path]:
        """Return this rank's files. Rank 0 also writes what lies where."""
        shared = [folder / INDEX_FILE] if self.rank == 0 else []
        return [*folder.glob(f"__{self.rank}_*.distcp"), *shared]

    def load(self, folder: Path) -> None:
        """See `Engine`."""
        state = self._state()
        with reading(folder):
            load(state, storage_reader=Reader(folder))
            set_state_dict(
                self.plain.model,
                self._optimizer,
                model_state_dict=state["model"],
                optim_state_dict=state["optimizer"],
                options=StateDictOptions(strict=False),  # what is frozen is not in it
            )

    def close(self) -> None:
        """See `Engine`."""
        if self._writers is not None:
            distributed.destroy_process_group(self._writers)

    def _state(self) -> dict[str, Any]:
        model = self.plain.model
        names = trained(model).keys()
        weights = get_model_state_dict(model, options=_TRAINED)
        return {
            "model": {name: tensor for name, tensor in weights.items() if name in names},
            "optimizer": get_optimizer_state_dict(model, self._optimizer, options=_TRAINED),
        }


@torch.no_grad()
def read_weights(folder: Path, model: nn.Module) -> None:
    """Read a checkpoint's weights into a whole model, without a process group."""
    weights = {name: p.detach() for name, p in trained(model).items()}
    with reading(folder), catch_warnings():
        simplefilter("ignore", UserWarning)  # that there is no process group
        load({"model": weights}, storage_reader=Reader(folder), no_dist=True)
