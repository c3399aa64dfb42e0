"""LoRA adapters (arXiv 2106.09685) on a causal language model, through peft."""

from __future__ import annotations

from typing import Any
from warnings import catch_warnings, simplefilter

import torch

from neft_ray.config.lora import LoraConfig
from neft_ray.errors import bad_input


def add_adapter(model: Any, config: LoraConfig, seed: int) -> Any:
    """Freeze a model and put trainable adapters into it.

    Args:
        model: A Hugging Face causal language model; it is changed.
        config: The adapters.
        seed: Fixes their initial weights; they change no output before they are trained.

    Returns:
        The `PeftModel` around it.

    Raises:
        UserError: If the model has no such modules.
    """
    from peft import LoraConfig as PeftConfig
    from peft import get_peft_model
    from peft.tuners.lora import LoraLayer

    targets = config.target_modules
    try:
        wanted = PeftConfig(
            task_type="CAUSAL_LM",
            r=config.rank,
            lora_alpha=config.alpha,
            lora_dropout=config.dropout,
            target_modules=targets if isinstance(targets, str) else list(targets),
            modules_to_save=list(config.modules_to_save) or None,
        )
        with catch_warnings():
            simplefilter("ignore", FutureWarning)  # of transformers, to peft
            adapted = get_peft_model(model, wanted)
    except ValueError as error:
        remedy = "name modules of the model in model.lora, or use target_modules: all-linear"
        raise bad_input(
            type(model).__name__, f"takes no such adapters ({error})", remedy
        ) from error
    # Drawn again, in float32: peft draws in the dtype of the base, which is the file's in shards.
    torch.manual_seed(seed)
    for layer in adapted.modules():
        if isinstance(layer, LoraLayer):
            layer.reset_lora_parameters("default", init_lora_weights=True)
    return adapted


def merged(model: Any) -> Any:
    """Return the plain model with the adapters added to its weights."""
    return model.merge_and_unload()
