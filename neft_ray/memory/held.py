"""What a worker holds at one moment, by kind, and how a trial is spread over its workers."""

from __future__ import annotations

from dataclasses import dataclass, fields

from neft_ray.config.strategy import DdpConfig, StrategyConfig

FLOAT = 4
"""Bytes of what the optimizer updates."""
HALF = 2
MOMENTS = 2
"""AdamW keeps two numbers beside each parameter."""


@dataclass(frozen=True)
class Held:
    """Bytes on one worker at one moment.

    Attributes:
        parameters: Whole or in shards, beside the optimizer's own copy.
        gradients: Complete ones, whole or in shards.
        optimizer: AdamW's moments, and ZeRO's float32 copy of what it updates.
        activations: What the forward keeps and the backward makes, but for the loss head.
        logits: The same of the loss head.
        buffers: Gathered parameters, and buckets in which gradients are sent.
    """

    parameters: float = 0
    gradients: float = 0
    optimizer: float = 0
    activations: float = 0
    logits: float = 0
    buffers: float = 0

    @property
    def total(self) -> float:
        """All of it."""
        return float(sum(getattr(self, field.name) for field in fields(self)))


@dataclass(frozen=True)
class Setting:
    """How a trial runs.

    Attributes:
        strategy: How it is spread.
        world: Its workers.
        accumulates: Whether some worker runs more than one micro-step in a step.
        gloo: Whether workers speak over gloo, as they do without GPUs.
    """

    strategy: StrategyConfig
    world: int
    accumulates: bool
    gloo: bool = True

    @property
    def size(self) -> int:
        """Bytes of a parameter that forward and backward see."""
        strategy = self.strategy
        halved = not isinstance(strategy, DdpConfig) and strategy.params_dtype == "bfloat16"
        return HALF if halved else FLOAT

    def copied(self, size: float) -> float:
        """Return the bytes of gloo's copy of what it scatters; NCCL needs none."""
        return size if self.gloo else 0
