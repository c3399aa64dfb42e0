"""What this node has, and how busy it is: `system/<node>/…`, named as MLflow's own monitor does."""

from __future__ import annotations

import os
import re
import socket
import time

import psutil

INTERVAL_SECONDS = 5.0
MEGABYTE = 1e6


class SystemMetrics:
    """Samples the node's load, at most once per interval."""

    def __init__(self, node: str | None = None) -> None:
        """Start to measure.

        Args:
            node: What the node is called; None: its host name. Part of every metric's name, so
                that nodes do not overwrite each other.
        """
        self._prefix = "system/" + re.sub(r"[^\w.-]+|^\W+", "-", node or socket.gethostname())
        psutil.cpu_percent()  # the first call starts the measurement
        self._last = time.monotonic()

    def due(self) -> dict[str, float]:
        """Return a sample, or nothing if the last one is too recent."""
        now = time.monotonic()
        if now - self._last < INTERVAL_SECONDS:
            return {}
        self._last = now
        memory = psutil.virtual_memory()
        sample = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / MEGABYTE,
            "system_memory_usage_percentage": memory.percent,
            "process_memory_usage_megabytes": psutil.Process().memory_info().rss / MEGABYTE,
            "disk_usage_percentage": psutil.disk_usage("/").percent,
        }
        return {f"{self._prefix}/{name}": value for name, value in sample.items()}


def host_memory_bytes() -> int:
    """Return this node's memory, used or not."""
    return int(psutil.virtual_memory().total)


def num_cores() -> int:
    """Return the cores this process may use."""
    return len(os.sched_getaffinity(0))
