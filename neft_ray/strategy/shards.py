"""Reads torch's sharded checkpoints file by file; they are data alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.planner import LoadPlan, LoadPlanner, ReadItem
from torch.futures import Future

from neft_ray.strategy.base import reading
from neft_ray.strategy.data_alone import IndexUnpickler

INDEX_FILE = ".metadata"
"""Says what lies where."""


class Reader(FileSystemReader):
    """Names the file that is not what it should be."""

    def __init__(self, folder: Path) -> None:
        """Read the index, on every rank.

        Raises:
            UserError: If it cannot be read.
        """
        super().__init__(folder)
        file = folder / INDEX_FILE
        with reading(file), file.open("rb") as stream:
            self._index: Metadata = IndexUnpickler(stream).load()
            if not isinstance(self._index, Metadata):
                raise ValueError("it is no index")

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """Return the index; torch would read it here, and trust it."""
        return self._index

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        """Read the shards of this rank."""
        items: dict[str, list[ReadItem]] = {}
        for item in plan.items:
            name = self.storage_data[item.storage_index].relative_path
            items.setdefault(name, []).append(item)
        for name, of_file in items.items():
            with reading(Path(self.path) / name):
                super().read_data(replace(plan, items=of_file), planner)
        done: Future[None] = Future()
        done.set_result(None)
        return done
