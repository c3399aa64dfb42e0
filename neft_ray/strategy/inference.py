"""A model that only writes: a whole copy on every worker, or one in shards on all of them."""

from __future__ import annotations

import torch

from neft_ray.config.strategy import FsdpConfig
from neft_ray.config.trial import ModelConfig
from neft_ray.model import SupervisedLM, load_model
from neft_ray.strategy.base import Ranks
from neft_ray.strategy.checks import enough_parameters


def build_copy(config: ModelConfig, device: torch.device) -> Ranks:
    """Return a whole copy of a model, in the dtype that it computes in.

    Raises:
        UserError: If it cannot be loaded.
    """
    model = load_model(config, getattr(torch, config.dtype)).eval().to(device)
    return Ranks(SupervisedLM(model, "float32"), device)


def build_shards(config: ModelConfig, device: torch.device, num_workers: int) -> Ranks:
    """Return a model whose layers are gathered from all workers, one at a time.

    Raises:
        UserError: If it cannot be loaded, or has fewer parameters than there are workers.
    """
    from neft_ray.strategy.fsdp import shard

    plain = SupervisedLM(load_model(config, "auto").eval(), config.dtype)
    enough_parameters(plain, num_workers)
    shard(plain, FsdpConfig(), device)
    return Ranks(plain, device)
