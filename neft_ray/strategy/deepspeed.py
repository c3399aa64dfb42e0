"""DeepSpeed ZeRO: optimizer, gradients and parameters in shards, by stage."""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from neft_ray.config.strategy import DeepspeedConfig
from neft_ray.config.trial import TrialConfig
from neft_ray.model import SupervisedLM, decoder_layers
from neft_ray.optim import build_optimizer
from neft_ray.strategy.base import Ranks, reading, together, trained, writing
from neft_ray.strategy.checks import enough_parameters
from neft_ray.strategy.models import BaseModels
from neft_ray.strategy.zero_files import (
    TAG,
    check,
    known,
    num_workers,
    patient,
    read_weights,
    to_universal,
)
from neft_ray.strategy.zero_setup import (
    engine_config,
    into_log,
    prepare_deepspeed,
    reduce_bucket_elements,
)
from neft_ray.working_copy import fills_own_copy

__all__ = ["ZeroEngine", "build", "read_weights"]


def build(config: TrialConfig, models: BaseModels, device: torch.device) -> ZeroEngine:
    """Return the engine of a trial.

    Raises:
        UserError: If there are more workers than parameters.
    """
    strategy = config.strategy
    assert isinstance(strategy, DeepspeedConfig)
    sharded = strategy.zero_stage == 3
    model = models.mapped(config) if sharded else models.copied(config)
    enough_parameters(model, config.workers.most)
    optimizer = build_optimizer(model, config.optimizer)  # in shards, matrices have one dimension
    settings = engine_config(strategy, config.optimizer.clip_norm)
    num_trained = sum(p.numel() for p in trained(model).values())
    settings["zero_optimization"]["reduce_bucket_size"] = reduce_bucket_elements(num_trained)
    prepare_deepspeed()
    if sharded:
        shard(model, settings)
    return ZeroEngine(model, optimizer, settings, device)


def shard(model: SupervisedLM, settings: dict[str, Any]) -> None:
    """Replace parameters by this worker's shards, layer by layer."""
    from deepspeed import zero

    dtype = torch.bfloat16 if "bf16" in settings else torch.float32
    for part in [*decoder_layers(model.model), model]:
        whole = [p for p in part.parameters() if not hasattr(p, "ds_id")]
        for parameter in whole:
            parameter.data = parameter.data.to(dtype)
        zero.Init(module=part, config_dict_or_path=settings, dtype=dtype)


class ZeroEngine(Ranks):
    """Hands backward and update to DeepSpeed."""

    def __init__(
        self,
        model: SupervisedLM,
        optimizer: Optimizer,
        settings: dict[str, Any],
        device: torch.device,
    ) -> None:
        super().__init__(model, device)
        from deepspeed import initialize

        with into_log():
            self._engine: Any = initialize(
                model=model, optimizer=optimizer, config=settings, dist_init_required=False
            )[0]
        self._engine._copy_recovery_script = lambda folder: None  # a program of its own, not needed
        self.module: nn.Module = self._engine
        self._has_frozen = len(trained(model)) < len(dict(model.named_parameters()))

    def micro_step(self, is_last: bool) -> AbstractContextManager[None]:
        """See `Engine`. Stage 1 reduces in `step`; 2 and 3 keep nothing that is not reduced."""
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """See `Engine`. Workers are averaged, so each share is multiplied by their number."""
        self._engine.backward(loss * self.world, scale_wrt_gas=False)

    def step(self, learning_rate: float) -> float:
        """See `Engine`."""
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rate
        self._engine.step()
        return float(self._engine.get_global_grad_norm())

    def save(self, folder: Path) -> list[Path]:
        """See `Engine`. Every rank writes its shards."""
        with writing(folder), patient(self._engine.checkpoint_engine) as written, into_log():
            self._engine.save_checkpoint(
                str(folder), TAG, save_latest=False, exclude_frozen_parameters=self._has_frozen
            )
        return written

    def load(self, folder: Path) -> None:
        """See `Engine`. A checkpoint of another number of workers is converted first."""
        with together(self):
            check(folder, self.rank, self.world)
        if num_workers(folder) == self.world:
            self._read(folder)
            return
        groups = self._engine.optimizer.param_groups
        settings = [{k: v for k, v in group.items() if k != "params"} for group in groups]
        universal = folder.with_name(f".{folder.name}.universal")
        converts = self.rank == 0 or fills_own_copy(folder)
        try:
            with together(self):
                if converts:
                    shutil.rmtree(universal, ignore_errors=True)
                    to_universal(folder, universal)
            self._engine._config.load_universal_checkpoint = True
            with together(self):
                self._read(universal)
            # Stage 3 gives every group the settings of the first, and all one counter of steps.
            for group, own in zip(self._engine.optimizer.param_groups, settings, strict=True):
                group.update(own)
            for state in self._engine.optimizer.optimizer.state.values():
                state["step"] = state["step"].clone()
        finally:
            self._engine._config.load_universal_checkpoint = False
            if converts:
                shutil.rmtree(universal, ignore_errors=True)

    def _read(self, folder: Path) -> None:
        with reading(folder, *known()), into_log():
            path, _ = self._engine.load_checkpoint(
                str(folder), TAG, load_module_strict=not self._has_frozen
            )
            if path is None:
                raise FileNotFoundError("it has no DeepSpeed checkpoint in it")

    def close(self) -> None:
        """See `Engine`."""
        self._engine.destroy()
