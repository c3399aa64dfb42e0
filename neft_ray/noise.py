"""NEFTune's noise (arXiv 2310.05914, Algorithm 1) as an exact, keyed forward hook.

During a training forward, ε ~ U(−1, 1) scaled by α/√(L·d) is added to the token embeddings of
every sequence; L is that sequence's own length and d the embedding width, so that the expected
norm of one sequence's noise is α/√3 whatever L and d. Padding stays untouched.

The noise of a sequence is a pure function of (seed, optimizer step, sample id): independent of
rank, micro-batch, call order and every other consumer of randomness.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

DRAWS_PER_WORD = 4  # a 64-bit word is viewed as four 16-bit draws
INT16_SCALE = 2.0**-15


class NoiseError(RuntimeError):
    """The noise did not act as configured."""


@dataclass(frozen=True)
class Segments:
    """Where the sequences of a right-padded micro-batch [B, T] lie, and what they are.

    Attributes:
        step: Optimizer step, counted from 1.
        sample_ids: [B] stable index of each row in the tokenized data set.
        lengths: [B] real tokens of each row.
    """

    step: int
    sample_ids: Sequence[int]
    lengths: Sequence[int]


def unit_noise(shape: tuple[int, int], seed: int, step: int, sample_id: int) -> Tensor:
    """Return U(−1, 1) noise for one sequence.

    Args:
        shape: (L, d), tokens and embedding width.
        seed: The trial's seed.
        step: Optimizer step, counted from 1.
        sample_id: Stable index of the row in the data set.

    Returns:
        float32 [L, d], 65,536 equally likely values symmetric about 0, variance 1/3.
    """
    count = shape[0] * shape[1]
    key = np.random.SeedSequence((seed, step, sample_id))
    words = np.random.SFC64(key).random_raw(-(-count // DRAWS_PER_WORD))
    draws = torch.from_numpy(words.view(np.int16)[:count]).view(shape)
    return draws.to(torch.float32).add_(0.5).mul_(INT16_SCALE)


class EmbeddingNoise:
    """Adds the noise to one embedding's output, in the forwards announced with `on`.

    Attributes:
        alpha: The paper's α; may be changed between steps.
    """

    def __init__(self, alpha: float, seed: int, length: Literal["own", "padded"] = "own") -> None:
        self.alpha = alpha
        self._seed = seed
        self._length = length
        self._segments: Segments | None = None
        self._handle: RemovableHandle | None = None
        self._num_fired = 0
        self._relative_norms: list[Tensor] = []

    def attach(self, embedding: nn.Module) -> None:
        """Hook `embedding`, whose output is [B, T, d]; attaching again moves the hook."""
        self.detach()
        self._handle = embedding.register_forward_hook(self._hook)

    def detach(self) -> None:
        """Remove the hook, if there is one."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    @contextmanager
    def attached(self, embedding: nn.Module) -> Iterator[EmbeddingNoise]:
        """Hook `embedding` for the duration of a `with` block, whatever happens in it."""
        self.attach(embedding)
        try:
            yield self
        finally:
            self.detach()

    @contextmanager
    def on(self, segments: Segments) -> Iterator[None]:
        """Announce exactly one training forward of the micro-batch described by `segments`.

        Raises:
            NoiseError: If α > 0 and the hooked embedding did not run exactly once.
        """
        self._segments, self._num_fired = segments, 0
        try:
            yield
        finally:
            self._segments = None
        if self.alpha > 0 and self._num_fired != 1:
            raise NoiseError(
                f"α is {self.alpha} but the noise fired {self._num_fired} times in one forward: "
                "the hooked embedding is not the one this model reads its tokens with"
            )

    def pop_relative_norm(self) -> float | None:
        """Return the mean over sequences of ‖noise‖₂·√3/α since the last call; 1 is exact.

        Measured on what the embeddings became, so that noise lost to rounding shows. None where
        nothing was noised.
        """
        norms, self._relative_norms = self._relative_norms, []
        return float(torch.stack(norms).mean()) if norms else None

    @torch.no_grad()
    def _hook(self, module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        segments = self._segments
        if segments is None or not module.training or self.alpha == 0:
            return output
        self._num_fired += 1
        padded_length, width = output.shape[1:]
        for row, sample_id, own_length in zip(
            output, segments.sample_ids, segments.lengths, strict=True
        ):
            length = own_length if self._length == "own" else padded_length
            if length == 0:
                continue
            noise = unit_noise((length, width), self._seed, segments.step, sample_id)
            scale = self.alpha / math.sqrt(length * width)
            real = row[:length]
            noised = (real.float() + noise.to(real.device) * scale).to(real.dtype)
            added = noised.float() - real.float()
            self._relative_norms.append(added.norm() * (math.sqrt(3) / self.alpha))
            real.copy_(noised)
        return output
