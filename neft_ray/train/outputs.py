"""What rank 0 writes of a trial beside its checkpoints: metrics, and losses by row."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from neft_ray.errors import StorageError
from neft_ray.strategy.base import Engine
from neft_ray.tracking.points import MetricsLog, node_points_file
from neft_ray.train.metrics import RowLosses


@contextmanager
def metrics_log(engine: Engine, folder: Path) -> Iterator[Any]:
    """Yield `log(step, metrics, own)`: rank 0 writes both, another node's first worker its own."""
    node, first = int(os.environ.get("NODE_RANK", 0)), os.environ.get("LOCAL_RANK", "0") == "0"
    if engine.rank > 0 and not (node and first):
        yield lambda step, metrics, own=None: None
        return
    log = MetricsLog(node_points_file(folder, node if engine.rank else 0))

    def write(step: int, metrics: dict[str, float], own: dict[str, float] | None = None) -> None:
        log.log(step, ({} if engine.rank else metrics) | (own or {}))

    try:
        yield write
    finally:
        log.close()


def save_rows(engine: Engine, folder: Path, step: int, rows: RowLosses | None) -> None:
    """Keep the report split's losses by row, all or nothing; rank 0 only.

    Raises:
        StorageError: If the disk is full or not writable.
    """
    if engine.rank > 0 or rows is None:
        return
    folder = folder / "report_rows"
    unfinished = folder / f".step-{step:06d}.npz"
    try:
        folder.mkdir(exist_ok=True)
        np.savez(unfinished, sample_ids=rows.sample_ids, losses=rows.losses, counts=rows.counts)
        unfinished.rename(folder / f"step-{step:06d}.npz")
    except OSError as error:
        raise StorageError.of(folder, error) from error
