"""Evaluation: which model answers a set of prompts, how it writes, and on which workers."""

from __future__ import annotations

import hashlib
from typing import Annotated

from pydantic import Field

from neft_ray.config.base import Count, Name, NonNegative, Positive, Section, Seed
from neft_ray.config.trial import ModelConfig
from neft_ray.config.workers import WorkersConfig

REPETITION_PENALTY = 1.2
"""With greedy decoding."""


class DecodingConfig(Section):
    """How a model writes."""

    max_new_tokens: Count = 512
    """The longest reply; a model's context may end it earlier."""
    repetition_penalty: Positive = REPETITION_PENALTY
    temperature: NonNegative = 0.0
    """0: greedy. Otherwise tokens are drawn, and a reply depends on those in its batch."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: Seed = 0


class EvaluationConfig(Section):
    """Everything that replies depend on, and the workers that write them."""

    model: ModelConfig
    template: Name = "chat"
    """The one that the model was tuned with: see `data.template`."""
    decoding: DecodingConfig = DecodingConfig()
    batch_size: Count = 16
    """Prompts that a worker answers at a time."""
    sharded: bool = False
    """One model in shards on all workers (FSDP2), where it does not fit on one. Otherwise each has
    a whole copy."""
    workers: WorkersConfig = WorkersConfig()

    @property
    def replies_hash(self) -> str:
        """Twelve hexadecimal digits of what replies depend on, but for rounding."""
        text = self.model_dump_json(exclude={"workers", "sharded", "batch_size"})
        return hashlib.sha256(text.encode()).hexdigest()[:12]
