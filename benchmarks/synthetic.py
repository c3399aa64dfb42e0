"""Models with random weights and rows of random tokens, for what depends on sizes alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from neft_ray.data.prepare import TokenizedData
from neft_ray.data.split import Split


def write_llama(
    folder: Path, vocabulary: int, longest: int, sizes: Mapping[str, int], tied: bool = True
) -> None:
    """Write a Llama of 8 heads.

    Args:
        folder: Where to.
        vocabulary: Its words.
        longest: Tokens of its longest row.
        sizes: `hidden_size`, `intermediate_size`, `num_hidden_layers`.
        tied: Whether the head is the embedding.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    heads = {"num_attention_heads": 8, "num_key_value_heads": 8, "tie_word_embeddings": tied}
    config = LlamaConfig(vocab_size=vocabulary, max_position_embeddings=longest, **sizes, **heads)
    LlamaForCausalLM(config).save_pretrained(folder)


def random_data(num_rows: int, length: int, vocabulary: int, targets: float = 1.0) -> TokenizedData:
    """Return training rows of one length, of which the last part, a share, are targets."""
    num = num_rows * length
    tokens = np.random.default_rng(0).integers(3, vocabulary, num, dtype=np.int32)
    splits = np.full(num_rows, Split.TRAIN, np.int8)
    offsets = np.arange(num_rows + 1) * length
    are_targets = np.tile(np.arange(length) >= (1 - targets) * length, num_rows)
    return TokenizedData(tokens, are_targets, offsets, splits, {})
