"""Schedules: progress in [0, 1] to a factor in [0, 1], for the learning rate and for α."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

Schedule = Callable[[float], float]


def constant(progress: float) -> float:
    """Stay at 1."""
    return 1.0


def linear(progress: float) -> float:
    """Fall from 1 to 0 in a straight line."""
    return 1.0 - progress


def cosine(progress: float) -> float:
    """Fall from 1 to 0 along half a cosine (Loshchilov & Hutter, arXiv 1608.03983)."""
    return 0.5 * (1.0 + math.cos(math.pi * progress))


SCHEDULES: Mapping[str, Schedule] = {"constant": constant, "linear": linear, "cosine": cosine}


def warmed_up(schedule: Schedule, warmup_fraction: float) -> Schedule:
    """Rise in a straight line over `warmup_fraction` of the progress, then follow `schedule`.

    Args:
        schedule: What follows the rise; it sees the rest of the progress as [0, 1].
        warmup_fraction: In [0, 1); 0 means no rise.
    """

    def factor(progress: float) -> float:
        if progress < warmup_fraction:
            return progress / warmup_fraction
        return schedule((progress - warmup_fraction) / (1.0 - warmup_fraction))

    return factor
