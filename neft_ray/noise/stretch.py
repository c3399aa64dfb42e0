"""What is noised: stretches of a micro-batch's entries, and the dtypes these may have."""

from __future__ import annotations

from dataclasses import dataclass

import torch

STOCHASTIC: dict[torch.dtype, tuple[int, float]] = {
    torch.bfloat16: (16, 1.0),
    torch.float16: (13, 2.0**-112),
}
"""Of a float32, the bits that a dtype drops, after multiplying by the factor: it maps the smallest
normal number onto float32's, so that subnormal numbers too lose just these bits."""
EXACT = (torch.float32, torch.float64)


@dataclass(frozen=True)
class Stretch:
    """Consecutive entries of the flattened embeddings that share a key and a scale.

    Attributes:
        begin: The first entry.
        count: How many.
        first: The draw that belongs to the first entry.
        words: The generator's key.
        rounding_stream: Where stochastic rounding takes its draws.
    """

    begin: int
    count: int
    first: int
    words: tuple[int, int]
    rounding_stream: int
