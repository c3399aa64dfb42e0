"""The `model.lora` section: low-rank adapters instead of the whole model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from neft_ray.config.base import Count, Fraction, ListedOnce, Name, Positive, Section


class LoraConfig(Section):
    """Low-rank adapters (LoRA, arXiv 2106.09685) on frozen base weights."""

    rank: Count = 8
    alpha: Positive = 16.0
    """An adapter's output is multiplied by alpha / rank."""
    dropout: Fraction = 0.0
    """On the input of the adapters, while training."""
    target_modules: (
        Literal["all-linear"] | Annotated[tuple[Name, ...], Field(min_length=1), ListedOnce]
    ) = "all-linear"
    """Names of the modules that get adapters; `all-linear`: all but the output layer."""
    modules_to_save: Annotated[tuple[Name, ...], ListedOnce] = ()
    """Names of modules that are trained whole, such as `embed_tokens`."""
