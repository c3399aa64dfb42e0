"""The file of metrics that each node keeps of a trial."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from neft_ray.strategy.base import Engine
from neft_ray.tracking.points import MetricsLog, node_points_file


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
