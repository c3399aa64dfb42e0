"""Models with random weights and rows of random tokens, for what depends on sizes alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed

from neft_ray.config.data import DataConfig
from neft_ray.config.trial import ModelConfig, TrialConfig
from neft_ray.data.split import Split
from neft_ray.data.tokenized import TokenizedData
from neft_ray.noise import EmbeddingNoise
from neft_ray.strategy.base import Engine
from neft_ray.strategy.models import BaseModels
from neft_ray.strategy.registry import build_engine
from neft_ray.train.loop import train


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


@contextmanager
def workers(folder: str, rank: int, world: int) -> Iterator[None]:
    """Be one of the workers that train together; they meet in a folder."""
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=600),
    )
    yield
    distributed.destroy_process_group()


@contextmanager
def training(
    model: str, data: TokenizedData, values: Mapping[str, Any]
) -> Iterator[tuple[Engine, Iterator[dict[str, float]]]]:
    """Yield an engine and its training steps, with α = 5 and more epochs than are needed.

    Args:
        model: A folder.
        data: The rows.
        values: Further settings of the trial.
    """
    trial = TrialConfig(model=ModelConfig(path=model), data=DataConfig(train="builtin:tales"))
    config = trial.with_values({"noise.alpha": 5.0, "training.epochs": 1000, **values})
    engine = build_engine(config, BaseModels(), torch.device("cpu"))
    noise = EmbeddingNoise.of(config.noise, 0)
    with noise.attached(engine.plain.embedding):
        yield engine, train(engine, data, noise, config)
    engine.close()
