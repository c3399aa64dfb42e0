"""Where a trial's model comes from: base weights, adapters, checkpointing, the loss around them."""

from __future__ import annotations

import copy
from typing import Any

from neft_ray.config.strategy import DdpConfig
from neft_ray.config.trial import ModelConfig, TrialConfig
from neft_ray.errors import bad_input
from neft_ray.lora import add_adapter
from neft_ray.model import SupervisedLM, load_model


class BaseModels:
    """Gives every trial of a slot an untouched base model."""

    def __init__(self) -> None:
        self._config: ModelConfig | None = None
        self._model: Any = None

    def copied(self, config: TrialConfig) -> SupervisedLM:
        """Return a copy in float32 of a base model that is kept in memory."""
        base = config.model.base
        if self._model is None or self._config != base:
            self._model = load_model(base)
            self._config = base
        return for_training(copy.deepcopy(self._model), config)

    def mapped(self, config: TrialConfig) -> SupervisedLM:
        """Return the base model in the file's dtype, mapped from the file.

        Its parameters take no memory of their own until a strategy takes its shards of them, and
        workers on one node share what they read.
        """
        return for_training(load_model(config.model, "auto"), config)


def for_training(model: Any, config: TrialConfig) -> SupervisedLM:
    """Return a base model with a trial's adapters, activation checkpointing and compilation.

    Raises:
        UserError: If the model cannot have them.
    """
    model = with_trained_parts(model, config)
    if config.model.activation_checkpointing:
        try:
            model.activation_checkpointing_enable({"use_reentrant": False})
        except ValueError as error:
            remedy = "write model.activation_checkpointing: false"
            raise bad_input(config.model.path, str(error), remedy) from error
    packed, compiled = config.batch.kind == "packed", config.model.compile
    return SupervisedLM(model, compute_dtype(config), packed, compiled)


def with_trained_parts(model: Any, config: TrialConfig) -> Any:
    """Return a base model with a trial's adapters, in which only what is trained has gradients.

    Raises:
        UserError: If the model cannot have the adapters.
    """
    if config.model.lora is not None:
        model = add_adapter(model, config.model.lora, config.training.seed)
    if config.model.freeze_embedding:
        model.get_input_embeddings().requires_grad_(False)
    return model


def compute_dtype(config: TrialConfig) -> str:
    """Return what autocast computes in; float32 where the parameters' dtype says it already."""
    strategy = config.strategy
    if not isinstance(strategy, DdpConfig) and strategy.params_dtype != "float32":
        return "float32"
    return config.model.dtype
