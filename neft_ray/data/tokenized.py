"""Tokenized data on disk: written once, memory-mapped by every worker."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neft_ray.data.split import Split
from neft_ray.errors import bad_input

ARRAYS = ("tokens", "supervised", "offsets", "splits")
SUMMARY = "summary.json"
FILES = {*(f"{name}.npy" for name in ARRAYS), SUMMARY}


@dataclass(frozen=True)
class TokenizedData:
    """Token sequences with their loss mask and split. A sample id is a row's index here.

    Attributes:
        tokens: [N] token ids of all rows, one after another.
        supervised: [N] whether a token is a target of the loss.
        offsets: [R + 1] where each row begins in `tokens`.
        splits: [R] a `Split` per row.
        summary: Counts of kept, dropped and truncated rows, and the content hash.
    """

    tokens: NDArray[np.int32]
    supervised: NDArray[np.bool_]
    offsets: NDArray[np.int64]
    splits: NDArray[np.int8]
    summary: dict[str, Any]

    def rows(self, split: Split) -> NDArray[np.int64]:
        """Return the sample ids of a split, in file order."""
        return np.flatnonzero(self.splits == split)

    def length(self, sample_id: int) -> int:
        """Return the number of tokens of a row."""
        return int(self.offsets[sample_id + 1] - self.offsets[sample_id])

    def num_targets(self, sample_ids: Sequence[int]) -> int:
        """Return the number of supervised tokens of some rows."""
        return sum(
            int(self.supervised[self.offsets[i] : self.offsets[i + 1]].sum()) for i in sample_ids
        )

    def save(self, folder: Path) -> None:
        """Write the arrays to a new folder, all or nothing; another process may do the same.

        Raises:
            UserError: If the disk is full or not writable.
        """
        partial = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
        try:
            partial.mkdir(parents=True)
            for name in ARRAYS:
                np.save(partial / f"{name}.npy", getattr(self, name))
            (partial / SUMMARY).write_text(json.dumps(self.summary, indent=2))
            partial.rename(folder)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            if not folder.exists():
                remedy = "free space, or choose another storage"
                raise bad_input(folder, f"cannot be written: {error}", remedy) from error

    @classmethod
    def load(cls, folder: Path) -> TokenizedData:
        """Memory-map the arrays of a folder written by `save`."""
        arrays: dict[str, Any] = {
            name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS
        }
        return cls(**arrays, summary=json.loads((folder / SUMMARY).read_text()))
