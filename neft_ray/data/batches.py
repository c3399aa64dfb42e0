"""The rows of every optimizer step, and how a step is cut into micro-batches.

Which rows a step holds depends on (seed, step) alone. Ranks, token budgets and buckets only
decide in which micro-batch a row is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neft_ray.config.trial import BatchConfig
from neft_ray.data.tokenized import TokenizedData


@dataclass(frozen=True)
class MicroBatch:
    """Rows for one forward: right-padded, or packed one after another into one.

    Attributes:
        tokens_BT: Token ids, 0 where padded.
        targets_BT: True where a token is a target of the loss; never on padding.
        sample_ids: [R] stable row indices; R is B where rows are padded.
        lengths: [R] real tokens per row.
        is_packed: Whether B is 1 and the rows lie one after another.
    """

    tokens_BT: Tensor
    targets_BT: Tensor
    sample_ids: tuple[int, ...]
    lengths: tuple[int, ...]
    is_packed: bool = False

    @property
    def packed_lengths(self) -> tuple[int, ...] | None:
        """The lengths where rows are packed, else None."""
        return self.lengths if self.is_packed else None

    def inputs(self, device: torch.device) -> tuple[Tensor, Tensor, tuple[int, ...] | None]:
        """Return what the model's loss is called with."""
        return self.tokens_BT.to(device), self.targets_BT.to(device), self.packed_lengths


class StepOrder:
    """The rows of every optimizer step, shuffled anew each epoch.

    Attributes:
        steps_per_epoch: Optimizer steps of one epoch; the last may hold fewer rows.
    """

    def __init__(self, rows: Sequence[int], size_examples: int, seed: int) -> None:
        self._rows = np.asarray(rows)
        self._size = size_examples
        self._seed = seed
        self._shuffled: tuple[int, NDArray[np.int64]] | None = None
        self.steps_per_epoch = -(-len(self._rows) // size_examples)

    def rows(self, step: int) -> list[int]:
        """Return the sample ids of a step, counted from 1."""
        epoch, index = divmod(step - 1, self.steps_per_epoch)
        order = self._order(epoch)
        return [int(row) for row in order[index * self._size : (index + 1) * self._size]]

    def rows_since_epoch(self, num_steps: int) -> NDArray[np.int64]:
        """Return the sample ids of the epoch's steps so far, after `num_steps` steps in all."""
        epoch, index = divmod(num_steps, self.steps_per_epoch)
        return self._order(epoch)[: index * self._size]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """Return an epoch's order; the last one is kept, for it takes long to shuffle millions."""
        if self._shuffled is None or self._shuffled[0] != epoch:
            order = np.random.default_rng((self._seed, epoch)).permutation(self._rows)
            self._shuffled = epoch, order
        return self._shuffled[1]


def share_of_rank(data: TokenizedData, rows: Sequence[int], rank: int, world: int) -> list[int]:
    """Return a rank's part of a step: rows dealt out by length, so that the work is even."""
    if world == 1:
        return list(rows)
    by_length = sorted(range(len(rows)), key=lambda i: (-data.length(rows[i]), i))
    mine = []
    for position, index in enumerate(by_length):
        turn, place = divmod(position, world)
        if (place if turn % 2 == 0 else world - 1 - place) == rank:
            mine.append(index)
    return [rows[index] for index in sorted(mine)]


def micro_batches(data: TokenizedData, rows: Sequence[int], config: BatchConfig) -> list[list[int]]:
    """Cut rows into micro-batches of at most `micro_tokens`: rows × longest length, or packed rows.

    A single row longer than that makes a micro-batch of its own.
    """
    order = list(rows)
    if config.kind == "bucketed":
        order.sort(key=data.length)
    cuts = []
    start = 0
    while start < len(order):
        end, longest, total = start, 0, 0
        while end < len(order):
            length = data.length(order[end])
            longest, total = max(longest, length), total + length
            slots = total if config.kind == "packed" else longest * (end + 1 - start)
            if end > start and slots > config.micro_tokens:
                break
            end += 1
        cuts.append(order[start:end])
        start = end
    return cuts


def batches_of_rank(
    data: TokenizedData, rows: Sequence[int], config: BatchConfig, rank: int, world: int
) -> list[MicroBatch]:
    """Return a rank's micro-batches of some rows: equally many on every rank.

    Where parameters are sharded a forward is a collective, so a rank that needs fewer than the
    others ends with fillers. All ranks know all lengths: they agree without a word.
    """
    cuts = [micro_batches(data, share_of_rank(data, rows, r, world), config) for r in range(world)]
    is_packed = config.kind == "packed"
    batches = [(pack if is_packed else collate)(data, cut) for cut in cuts[rank]]
    num_short = max(map(len, cuts)) - len(batches)
    return batches + [filler(rows[0], is_packed) for _ in range(num_short)]


def filler(sample_id: int, is_packed: bool = False) -> MicroBatch:
    """Return a micro-batch of one padding token: no real token, no target, so no loss or noise."""
    tokens = torch.zeros((1, 1), dtype=torch.int64)
    targets = torch.zeros_like(tokens, dtype=torch.bool)
    return MicroBatch(tokens, targets, (sample_id,), (0,), is_packed)


def pack(data: TokenizedData, rows: Sequence[int]) -> MicroBatch:
    """Lay rows one after another."""
    where = np.concatenate([np.arange(data.offsets[row], data.offsets[row + 1]) for row in rows])
    tokens, targets = (
        torch.from_numpy(found[where][None]) for found in (data.tokens, data.supervised)
    )
    lengths = tuple(data.length(row) for row in rows)
    return MicroBatch(tokens.long(), targets, tuple(rows), lengths, is_packed=True)


def collate(data: TokenizedData, rows: Sequence[int]) -> MicroBatch:
    """Right-pad rows to their longest."""
    lengths = tuple(data.length(row) for row in rows)
    tokens = np.zeros((len(rows), max(lengths)), dtype=np.int64)
    targets = np.zeros(tokens.shape, dtype=np.bool_)
    for index, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        start = data.offsets[row]
        tokens[index, :length] = data.tokens[start : start + length]
        targets[index, :length] = data.supervised[start : start + length]
    return MicroBatch(torch.from_numpy(tokens), torch.from_numpy(targets), tuple(rows), lengths)
