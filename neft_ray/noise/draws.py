"""Keyed random draws, the same on every device, and the distributions made of them.

The generator is Philox-4×64 (Salmon et al., SC 2011): the i-th draw of a key is computed from
(key, i) alone, so that any shard or chunk of a sequence's noise is had without the rest of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

DRAWS_PER_BLOCK = 16
"""One counter value gives four 64-bit words, and each of these four 16-bit draws."""
NUM_VALUES = 2**16

NOISE = 0
"""The stream of a key that the noise is made of; stochastic rounding reads stream 1 + copy."""

Distribution = Callable[[Tensor], Tensor]
"""int16 draws, all 65,536 values equally likely, to new float32 with mean 0 and variance 1/3."""


@dataclass(frozen=True)
class Key:
    """What a sequence's noise is a pure function of. Every number is in [0, 2⁶⁴)."""

    seed: int
    step: int
    sample_id: int
    copy: int = 0

    @property
    def words(self) -> tuple[int, int]:
        """The generator's key: 128 well-mixed bits."""
        numbers = (self.seed, self.step, self.sample_id, self.copy)
        entropy = np.array(numbers, dtype=np.uint64).view(np.uint32)
        low, high = np.random.SeedSequence(entropy.tolist()).generate_state(2, np.uint64)
        return int(low), int(high)


class Draws:
    """The draws of a stream one after another, on the CPU."""

    def __init__(self, words: tuple[int, int], stream: int, first: int) -> None:
        """Begin with draw number `first`."""
        block, skipped = divmod(first, DRAWS_PER_BLOCK)
        key = np.array(words, dtype=np.uint64)
        counter = np.array([block, stream, 0, 0], dtype=np.uint64)
        # numpy raises the counter before it computes a block: its first block has counter 1.
        self._generator = np.random.Philox(key=key, counter=counter)
        self._rest = np.empty(0, np.int16)
        self.take(skipped)

    def take(self, count: int) -> Tensor:
        """Return the next draws: int16 [count]."""
        num_words = -(-(count - len(self._rest)) // 4)
        drawn = self._generator.random_raw(num_words).view(np.int16)
        if len(self._rest):
            drawn = np.concatenate([self._rest, drawn])
        self._rest = drawn[count:]
        return torch.from_numpy(drawn[:count])


def draw(words: tuple[int, int], stream: int, first: int, count: int) -> Tensor:
    """Return draws `first` to `first + count` of a stream: int16 [count], on the CPU."""
    return Draws(words, stream, first).take(count)


def uniform(draws: Tensor) -> Tensor:
    """U(−1, 1), the paper's: the midpoints of 65,536 equal intervals."""
    return draws.to(torch.float32).add_(0.5).mul_(2.0**-15)


def gaussian(draws: Tensor) -> Tensor:
    """N(0, 1/3): the midpoint quantiles of 65,536 equally likely intervals, at most 4.33 σ."""
    index = draws.to(torch.int32).add_(NUM_VALUES // 2)
    return _normal_quantiles(str(draws.device)).index_select(0, index.flatten()).view(draws.shape)


def bernoulli(draws: Tensor) -> Tensor:
    """±1/√3 with equal chances, SymNoise's (arXiv 2312.01523)."""
    return draws.bitwise_right_shift(15).to(torch.float32).mul_(2 * 3**-0.5).add_(3**-0.5)


DISTRIBUTIONS: Mapping[str, Distribution] = {
    "uniform": uniform,
    "gaussian": gaussian,
    "bernoulli": bernoulli,
}


@cache
def _normal_quantiles(device: str) -> Tensor:
    """Return float32 [65536], rising, antisymmetric, of variance 1/3 over the table."""
    upper = torch.arange(NUM_VALUES // 2, dtype=torch.float64).add_(0.5).div_(NUM_VALUES)
    upper = torch.special.ndtri(upper + 0.5)
    upper /= upper.square().mean().mul(3).sqrt()
    return torch.cat([-upper.flip(0), upper]).to(device, torch.float32)


@cache
def table(distribution: str, device: str) -> Tensor:
    """Return a distribution's value at each of the draws −32768 … 32767: float32 [65536]."""
    draws = torch.arange(-NUM_VALUES // 2, NUM_VALUES // 2, dtype=torch.int32).to(torch.int16)
    return DISTRIBUTIONS[distribution](draws).to(device)
