"""Tokenizer and causal LM from a folder or hub name, refused with a reason where unusable."""

from __future__ import annotations

import json
import sys
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from neft_ray.config.trial import ModelConfig
from neft_ray.errors import UserError, bad_input


def resolve_path(path: str) -> str:
    """Return a folder for built-in names, and other names as they are."""
    if path.startswith("builtin:"):
        if path != "builtin:base":
            raise bad_input(path, "no such built-in model", "use builtin:base")
        return str(resources.files("neft_ray") / "builtin" / "base")
    if path.startswith(("/", ".", "~")) and not Path(path).expanduser().is_dir():
        raise bad_input(path, "no such folder", "check model.path")
    return str(Path(path).expanduser()) if path.startswith("~") else path


def load_tokenizer(config: ModelConfig) -> Any:
    """Load the tokenizer of a folder or hub name.

    Raises:
        UserError: If it is missing or cannot be used for training.
    """
    from transformers import AutoTokenizer

    path = resolve_path(config.path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, revision=config.revision, trust_remote_code=config.trust_remote_code
        )
    except Exception as error:  # transformers raises many kinds for a missing tokenizer
        raise _unloadable(config, "tokenizer", error) from error
    if not getattr(tokenizer, "is_fast", False):
        remedy = "convert it to tokenizer.json with the tokenizers library"
        raise bad_input(config.path, "its tokenizer gives no character offsets", remedy)
    if tokenizer.eos_token_id is None:
        remedy = "set eos_token in tokenizer_config.json"
        raise bad_input(config.path, "its tokenizer has no end-of-text token", remedy)
    return tokenizer


def load_model(config: ModelConfig, dtype: torch.dtype | Literal["auto"] = torch.float32) -> Any:
    """Load a causal language model on the CPU.

    Args:
        config: Which one.
        dtype: Of its parameters, but for those in 4 bits. In the dtype of the file (`auto`) they
            are mapped from it and take no memory until they are written to.

    Raises:
        UserError: If the folder or hub name has no usable weights.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    path = resolve_path(config.path)
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            path,
            revision=config.revision,
            dtype=dtype,
            use_safetensors=None if config.allow_pickle else True,
            trust_remote_code=config.trust_remote_code,
            output_loading_info=True,
            **_in_four_bits(config),
        )
    except Exception as error:  # as above, for weights
        raise _unloadable(config, "model", error) from error
    if missing := sorted(info["missing_keys"]):
        what = f"its weights lack {len(missing)} tensors, such as {missing[0]}"
        raise bad_input(config.path, what, "use a complete checkpoint of this architecture")
    if config.quantization is not None:
        _keep_as_packed(model)
    model.config.use_cache = False
    return model


def _in_four_bits(config: ModelConfig) -> dict[str, Any]:
    """Return what makes transformers quantise what it loads, with bitsandbytes."""
    if config.quantization is None:
        return {}
    from transformers import BitsAndBytesConfig

    how = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=config.quantization,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, config.dtype),
    )
    return {"quantization_config": how, "device_map": {"": "cpu"}}


def _keep_as_packed(model: nn.Module) -> None:
    """Switch off what bitsandbytes does in evaluation on some CPUs, and training cannot read.

    It packs weights anew there, in place (`Linear4bit.forward`), and fails for some widths.
    """
    for part in model.modules():
        if "support_avx512bf16_for_cpu" in vars(part):
            vars(part)["support_avx512bf16_for_cpu"] = False


def dequantized(model: Any) -> Any:
    """Return a model with the same weights in float32, where it has some in 4 bits."""
    if getattr(model, "is_loaded_in_4bit", False):
        return model.dequantize(dtype=torch.float32)
    return model


def decoder_layers(model: nn.Module) -> list[nn.Module]:
    """Return the layers of a model, which are gathered one at a time where it is sharded."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [part for part in model.modules() if isinstance(part, GradientCheckpointingLayer)]


def _unloadable(config: ModelConfig, part: str, error: Exception) -> UserError:
    first = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
    what = f"the {part} cannot be loaded: {first}"
    remedy = "give a complete Hugging Face folder with safetensors, or a hub name you can reach"
    if "gated repo" in first:
        remedy = "accept its terms on the hub, then `hf auth login` where the sweep is started from"
    return bad_input(config.path, what, remedy)


def load_description(config: ModelConfig) -> Any:
    """Return the Hugging Face configuration of a model.

    Raises:
        UserError: If it is missing, damaged, or that of no causal language model.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    path = resolve_path(config.path)
    try:
        described = AutoConfig.from_pretrained(
            path, revision=config.revision, trust_remote_code=config.trust_remote_code
        )
    except Exception as error:  # transformers raises many kinds for a missing configuration
        raise _unloadable(config, "model", error) from error
    if not config.trust_remote_code and type(described) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        what = f"{described.model_type} is no causal language model"
        raise bad_input(config.path, what, "use a decoder, such as a Llama")
    return described


def context_of(described: Any) -> int:
    """Return how many tokens a model attends to, from its Hugging Face configuration."""
    of_text = described.get_text_config()
    return int(getattr(of_text, "max_position_embeddings", sys.maxsize))


def check_context(config: ModelConfig, described: Any, longest: int) -> None:
    """Refuse rows that are longer than what a model attends to.

    Learned positions would fail in the middle of training, rotary ones would train silently on
    positions the model does not know.

    Args:
        config: Which model.
        described: Its Hugging Face configuration.
        longest: Of all rows, in tokens.

    Raises:
        UserError: If they do not fit.
    """
    if longest > (context := context_of(described)):
        what = f"it attends to {context} tokens, and the longest row has {longest}"
        remedy = f"write data.max_length_tokens: {context}, or use a model of a longer context"
        raise bad_input(config.path, what, remedy)


def check_model(config: ModelConfig, tokenizer: Any) -> Any:
    """Refuse a model that cannot be trained, without reading its tensors.

    Returns:
        Its Hugging Face configuration.

    Raises:
        UserError: If the configuration or weights are missing, truncated, or do not fit the
            tokenizer.
    """
    described, path = load_description(config), resolve_path(config.path)
    if len(tokenizer) > described.get_text_config().vocab_size:
        what = f"its tokenizer has {len(tokenizer)} tokens, its embedding fewer"
        raise bad_input(config.path, what, "use the tokenizer that belongs to the model")
    if Path(path).is_dir():
        _check_weight_files(Path(path), config)
    return described


def _check_weight_files(folder: Path, config: ModelConfig) -> None:
    from safetensors import SafetensorError, safe_open

    index = folder / "model.safetensors.index.json"
    weights = set(folder.glob("*.safetensors"))
    if index.is_file():
        try:
            listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            what = f"is truncated or damaged ({error})"
            raise bad_input(index, what, "copy or download it again") from error
        weights |= {folder / name for name in listed}
    if not weights and not config.allow_pickle:
        remedy = "convert the weights to safetensors, or set model.allow_pickle if you trust them"
        raise bad_input(config.path, "has no safetensors weights", remedy)
    for file in sorted(weights):
        try:
            with safe_open(file, "pt"):
                pass
        except (SafetensorError, OSError) as error:
            what = f"is missing, truncated or damaged ({error})"
            raise bad_input(file, what, "copy or download it again") from error
