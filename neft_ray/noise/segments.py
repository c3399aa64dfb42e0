"""Where the sequences of a micro-batch lie: padded rows, packed documents, shards of either."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


class NoiseError(RuntimeError):
    """The noise did not act as configured, or cannot."""


@dataclass(frozen=True)
class Segment:
    """One sequence, or a shard of one, in one row of a micro-batch [B, T].

    Attributes:
        row: In [0, B).
        start: Its first column.
        length: Tokens that lie here.
        sample_id: Stable index of the sequence in the data set; the noise is keyed by it.
        copy: Which of several runs of the same sequence in one optimizer step this is.
        offset: Position in the whole sequence of the first token that lies here.
        total: Tokens of the whole sequence where this is a shard of it; None where it is whole.
    """

    row: int
    start: int
    length: int
    sample_id: int
    copy: int = 0
    offset: int = 0
    total: int | None = None

    @property
    def whole_length(self) -> int:
        """The sequence's own length: the L of α/√(L·d)."""
        return self.length if self.total is None else self.total


@dataclass(frozen=True)
class Segments:
    """The sequences of a micro-batch, in any order; what belongs to none is padding.

    Attributes:
        step: Optimizer step, counted from 1.
        num_rows: B.
        parts: The sequences, those without tokens left out.
    """

    step: int
    num_rows: int
    parts: tuple[Segment, ...]

    @classmethod
    def padded(
        cls, step: int, sample_ids: Sequence[int], lengths: Sequence[int], copy: int = 0
    ) -> Segments:
        """Describe right-padded rows.

        Args:
            step: Optimizer step, counted from 1.
            sample_ids: [B] the sequence of each row.
            lengths: [B] real tokens of each row; 0 where a row is all padding.
            copy: See `Segment`.
        """
        parts = tuple(
            Segment(row, 0, length, sample_id, copy)
            for row, (sample_id, length) in enumerate(zip(sample_ids, lengths, strict=True))
            if length > 0
        )
        return cls(step, len(lengths), parts)

    @classmethod
    def joined(
        cls, step: int, sample_ids: Sequence[int], lengths: Sequence[int], copy: int = 0
    ) -> Segments:
        """Describe one row in which sequences lie one after another.

        Args:
            step: Optimizer step, counted from 1.
            sample_ids: [R] the sequences.
            lengths: [R] their tokens; 0 where there are none.
            copy: See `Segment`.
        """
        ends = accumulate(lengths)
        parts = tuple(
            Segment(0, end - length, length, sample_id, copy)
            for end, sample_id, length in zip(ends, sample_ids, lengths, strict=True)
            if length > 0
        )
        return cls(step, 1, parts)

    @classmethod
    def packed(
        cls,
        step: int,
        positions_BT: Tensor,
        sample_ids: Sequence[int],
        mask_BT: Tensor | None = None,
        copy: int = 0,
    ) -> Segments:
        """Describe packed rows, in which every document restarts the positions.

        Args:
            step: Optimizer step, counted from 1.
            positions_BT: Position ids; a new document where they do not rise.
            sample_ids: The documents, row by row from the left.
            mask_BT: 0 on padding; None where there is none.
            copy: See `Segment`.

        Raises:
            NoiseError: If there are more or fewer documents than sample ids.
        """
        found = spans(positions_BT, mask_BT)
        if len(found) != len(sample_ids):
            raise NoiseError(
                f"{len(sample_ids)} sample ids for a micro-batch of {len(found)} documents: "
                "give one for each restart of the position ids, row by row"
            )
        parts = tuple(
            Segment(*span, sample_id, copy)
            for span, sample_id in zip(found, sample_ids, strict=True)
        )
        return cls(step, len(positions_BT), parts)

    def shard(self, start: int, stop: int) -> Segments:
        """Return the part in columns [start, stop), as one rank of sequence parallelism has it.

        Each piece keeps its sequence's whole length and knows its offset, so that the shards'
        noises are the pieces of the whole sequence's noise.
        """
        pieces = []
        for part in self.parts:
            begin, end = max(part.start, start), min(part.start + part.length, stop)
            if begin < end:
                moved = {"start": begin - start, "length": end - begin}
                offset = part.offset + begin - part.start
                pieces.append(replace(part, **moved, offset=offset, total=part.whole_length))
        return replace(self, parts=tuple(pieces))

    def check(self, num_rows: int, num_columns: int) -> None:
        """Refuse embeddings [B, T, d] that are not those described.

        Raises:
            NoiseError: If B differs or a sequence ends beyond T.
        """
        end = max((part.start + part.length for part in self.parts), default=0)
        if num_rows != self.num_rows or end > num_columns:
            raise NoiseError(
                f"{self.num_rows} rows of up to {end} tokens were announced, but the embedding "
                f"gave {num_rows} of {num_columns}: announce the micro-batch that is run"
            )


def spans(positions_BT: Tensor | None, mask_BT: Tensor | None) -> list[tuple[int, int, int]]:
    """Return (row, first column, length) of every sequence, row by row from the left.

    Args:
        positions_BT: Position ids; a sequence starts where they do not rise. None: they do rise.
        mask_BT: 0 on padding, left or right; a sequence starts where the value changes, so that
            packed documents may also be numbered here. None: no padding.
    """
    given = next(tensor for tensor in (mask_BT, positions_BT) if tensor is not None)
    starts = np.zeros(given.shape, dtype=np.bool_)
    starts[:, 0] = True
    real: NDArray[np.bool_] = np.ones(given.shape, dtype=np.bool_)
    if mask_BT is not None:
        mask = mask_BT.cpu().numpy().astype(np.int64)
        real = mask != 0
        starts[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    if positions_BT is not None:
        positions = positions_BT.cpu().numpy()
        starts[:, 1:] |= positions[:, 1:] <= positions[:, :-1]
    found = []
    for row in range(len(starts)):
        begins = np.flatnonzero(starts[row])
        ends = np.append(begins[1:], starts.shape[1])
        found += [
            (row, int(begin), int(end - begin))
            for begin, end in zip(begins, ends, strict=True)
            if real[row, begin]
        ]
    return found
