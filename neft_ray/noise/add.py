"""Adds scaled noise to embeddings in place, chunk by chunk, without losing it to rounding.

float32 takes the sum as it is. A sum in bfloat16 or float16 is rounded stochastically, up with a
chance equal to how far up it lies, so that the noise is there on average however small it is
beside the embedding; the random bits come from a stream of the same key.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import torch
from torch import Tensor

from neft_ray.noise.draws import DISTRIBUTIONS, NOISE, Draws, draw
from neft_ray.noise.segments import NoiseError
from neft_ray.noise.stretch import EXACT, STOCHASTIC, Stretch

CHUNK_ENTRIES = 2**16
"""Large enough for few calls, small enough for the cache: a quarter of a megabyte of float32."""


def add_noise(
    x_E: Tensor, stretches: Sequence[Stretch], scale_S: Tensor, distribution: str
) -> None:
    """Add noise to a flattened, contiguous tensor, in place.

    Args:
        x_E: The embeddings of a micro-batch as one row of entries.
        stretches: [S] which do not overlap; the rest of the entries stay as they are.
        scale_S: float32 [S], what unit noise is multiplied by.
        distribution: A name in `DISTRIBUTIONS`.

    Raises:
        NoiseError: If the dtype is none of float64, float32, bfloat16, float16.
    """
    if x_E.dtype not in (*EXACT, *STOCHASTIC):
        known = ", ".join(str(dtype).removeprefix("torch.") for dtype in (*EXACT, *STOCHASTIC))
        raise NoiseError(f"embeddings of {x_E.dtype} cannot be noised: use one of {known}")
    if x_E.is_cuda and x_E.dtype != torch.float64 and find_spec("triton") is not None:
        from neft_ray.noise.kernel import add_noise as fused

        fused(x_E, stretches, scale_S, distribution)
        return
    for stretch, scale in zip(stretches, scale_S.tolist(), strict=True):
        entries = x_E[stretch.begin : stretch.begin + stretch.count]
        draws = Draws(stretch.words, NOISE, stretch.first)
        chances = None
        if x_E.dtype in STOCHASTIC:
            chances = Draws(stretch.words, stretch.rounding_stream, stretch.first)
        for chunk in torch.split(entries, CHUNK_ENTRIES):
            noise = DISTRIBUTIONS[distribution](draws.take(len(chunk))).to(chunk.device)
            _add_to_chunk(chunk, noise.mul_(scale), chances)


def unit_noise(stretch: Stretch, count: int, distribution: str, device: torch.device) -> Tensor:
    """Return the unit noise of a stretch's first entries: float32 [count], variance 1/3."""
    draws = draw(stretch.words, NOISE, stretch.first, count)
    return DISTRIBUTIONS[distribution](draws).to(device)


def _add_to_chunk(chunk: Tensor, noise: Tensor, chances: Draws | None) -> None:
    """Add noise, which is overwritten; `chances` decide where a sum is rounded to."""
    if chances is None:
        chunk.add_(noise)
        return
    dropped_bits, factor = STOCHASTIC[chunk.dtype]
    dropped = (1 << dropped_bits) - 1
    chance = chances.take(len(chunk)).view(torch.uint16).to(chunk.device, torch.int32)
    if dropped_bits < 16:
        chance.bitwise_and_(dropped)
    exact = noise.add_(chunk)
    if factor != 1:
        exact.mul_(factor)
    word = exact.view(torch.int32)
    word.add_(chance).bitwise_and_(~dropped)
    if factor != 1:
        exact.mul_(1 / factor)
    chunk.copy_(exact)
