"""Dropout of embedding entries, keyed like the noise: a regulariser to compare the noise with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from neft_ray.config.trial import TrialConfig
from neft_ray.noise.draws import NUM_VALUES, Key, draw
from neft_ray.noise.hook import EmbeddingNoise
from neft_ray.noise.segments import Segment, Segments

DROPOUT = 2**32
"""The stream of a key that dropout is drawn from, apart from the noise's and its rounding's."""


@contextmanager
def regularised(embedding: nn.Module, config: TrialConfig) -> Iterator[EmbeddingNoise]:
    """Put a trial's noise and embedding dropout on its embedding for the duration of a block.

    Yields:
        The noise, to which every training forward is to be announced.
    """
    seed = config.training.seed
    noise = EmbeddingNoise.of(config.noise, seed)
    dropout = EmbeddingDropout(config.model.embedding_dropout, seed, noise)
    with dropout.attached(embedding), noise.attached(embedding):
        yield noise


class EmbeddingDropout:
    """Sets embedding entries to 0 in training forwards, and scales the others up.

    Which ones is a pure function of (seed, optimizer step, sample id, copy): of no rank, no
    micro-batch and no other use of randomness. Where the sequences lie, it reads off the noise
    beside it, to which every training forward is announced, α = 0 included.
    """

    def __init__(self, chance: float, seed: int, noise: EmbeddingNoise) -> None:
        """Prepare; `attached` puts it on an embedding.

        Args:
            chance: Of an entry to become 0, in [0, 1); rounded to a multiple of 2⁻¹⁶.
            seed: In [0, 2⁶⁴).
            noise: What the forwards are announced to.
        """
        self._num_dropped = round(chance * NUM_VALUES)
        self._seed = seed
        self._noise = noise

    @contextmanager
    def attached(self, embedding: nn.Module) -> Iterator[None]:
        """Hook `embedding` for the duration of a `with` block; do so before the noise is attached.

        The noise is then added to what is left, and none of it is dropped.
        """
        if self._num_dropped == 0:
            yield
            return
        handle = embedding.register_forward_hook(self._hook)
        try:
            yield
        finally:
            handle.remove()

    def _hook(self, module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        segments = self._noise.announced
        if segments is None or not (module.training and torch.is_grad_enabled()):
            return output
        segments.check(*output.shape[:2])
        return output * self._factors(segments, output)

    def _factors(self, segments: Segments, output: Tensor) -> Tensor:
        """Return 0 or the scale for every entry, 1 on padding: like `output` [B, T, d]."""
        factors = torch.ones(output.shape, dtype=output.dtype)
        scale = NUM_VALUES / (NUM_VALUES - self._num_dropped)
        for part in segments.parts:
            kept = self._kept(segments.step, part, output.shape[2])
            factors[part.row, part.start : part.start + part.length] = kept.to(output.dtype) * scale
        return factors.to(output.device)

    def _kept(self, step: int, part: Segment, width: int) -> Tensor:
        """Return which entries of a sequence stay: bool [length, d]."""
        words = Key(self._seed, step, part.sample_id, part.copy).words
        draws = draw(words, DROPOUT, part.offset * width, part.length * width)
        return (draws >= self._num_dropped - NUM_VALUES // 2).view(part.length, width)
