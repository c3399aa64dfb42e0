"""The model: tokenizer, causal LM, its embedding, and a loss computed where it is supervised."""

from neft_ray.model.load import (
    check_context,
    check_model,
    context_of,
    decoder_layers,
    dequantized,
    load_description,
    load_model,
    load_tokenizer,
    resolve_path,
)
from neft_ray.model.loss import SupervisedLM

__all__ = [
    "SupervisedLM",
    "check_context",
    "check_model",
    "context_of",
    "decoder_layers",
    "dequantized",
    "load_description",
    "load_model",
    "load_tokenizer",
    "resolve_path",
]
