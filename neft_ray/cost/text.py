"""Sizes and times as people read them."""

from __future__ import annotations

UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
MINUTE, HOUR = 60.0, 3600.0


def size_text(num_bytes: float) -> str:
    """Return a size, such as `1.2 GB`."""
    for size, unit in UNITS:
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes:.0f} B"


def time_text(seconds: float) -> str:
    """Return a duration, such as `12 s`, `4 min` or `2.5 h`."""
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds / MINUTE:.0f} min" if seconds < 2 * HOUR else f"{seconds / HOUR:.1f} h"
