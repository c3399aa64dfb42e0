"""The files that workers keep of a trial, each written by one of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from neft_ray.run_in_bucket import ANSWERS_FILE
from neft_ray.strategy.base import Engine
from neft_ray.tracking.points import POINTS_FILE, MetricsLog, node_points_file
from neft_ray.working_copy import Chosen, matching


def own_files(rank: int) -> Chosen:
    """Choose the files of a trial's folder that this worker writes."""
    node, first = _node()
    names = [f"log-{rank}.txt"]
    if rank == 0:
        names += [POINTS_FILE, "report_rows/step-*", ANSWERS_FILE]
    elif node and first:
        names.append(node_points_file(Path(), node).name)
    return matching(*names)


def _node() -> tuple[int, bool]:
    """Return the node's number among those of the trial, and whether this is its first worker."""
    return int(os.environ.get("NODE_RANK", 0)), os.environ.get("LOCAL_RANK", "0") == "0"


@contextmanager
def metrics_log(engine: Engine, folder: Path) -> Iterator[Any]:
    """Yield `log(step, metrics, own)`: rank 0 writes both, another node's first worker its own."""
    node, first = _node()
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
