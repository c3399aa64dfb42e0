"""AdamW and the learning rate of every step."""

from __future__ import annotations

from torch import nn
from torch.optim import AdamW

from neft_ray.config.trial import OptimizerConfig
from neft_ray.schedules import SCHEDULES, warmed_up


def build_optimizer(module: nn.Module, config: OptimizerConfig) -> AdamW:
    """Return AdamW over the trainable parameters; weight decay on matrices only."""
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=True,
    )


def learning_rate_at(config: OptimizerConfig, step: int, num_steps: int) -> float:
    """Return the learning rate of a step, counted from 1.

    Progress is 0 just before the first step and 1 just after the last, so no step has rate 0.
    """
    factor = warmed_up(SCHEDULES[config.schedule], config.warmup_fraction)
    return config.learning_rate * factor(step / (num_steps + 1))
