"""Small embeddings and batches for the tests of the noise."""

import torch
from torch import nn

from neft_ray.noise.draws import DISTRIBUTIONS, NOISE, Key, draw


def embed(width=96, **options) -> nn.Embedding:
    torch.manual_seed(0)
    return nn.Embedding(50, width, **options)


def tokens_of(lengths, pad_to=None) -> torch.Tensor:
    """Right-padded token ids."""
    tokens = torch.zeros(len(lengths), pad_to or max(lengths), dtype=torch.long)
    for row, length in enumerate(lengths):
        tokens[row, :length] = torch.arange(length) % 49 + 1
    return tokens


def unit_noise(shape, *key, distribution="uniform") -> torch.Tensor:
    """Noise of variance 1/3 for a whole sequence [L, d]."""
    draws = draw(Key(*key).words, NOISE, 0, shape[0] * shape[1])
    return DISTRIBUTIONS[distribution](draws).view(shape)
