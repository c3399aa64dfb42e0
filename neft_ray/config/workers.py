"""The `workers` section: the processes that train one trial together."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from neft_ray.config.base import Count, NonNegative, Section, broken_rule

_PARTS = 10_000
"""In such parts of a GPU Ray counts."""


def _in_order(num: int | tuple[int, int]) -> int | tuple[int, int]:
    if isinstance(num, tuple) and num[0] > num[1]:
        what = f"the least, {num[0]}, is more than the most, {num[1]}"
        raise broken_rule(what, f"write [{num[1]}, {num[0]}]")
    return num


def _whole_or_part(gpus: float) -> float:
    if gpus > 1 and gpus != int(gpus):
        raise broken_rule(f"{gpus:g} is neither whole GPUs nor a part of one", "round it")
    return gpus


class WorkersConfig(Section):
    """The processes that train one trial together."""

    num: Annotated[Count | tuple[Count, Count], AfterValidator(_in_order)] = 1
    """Or `[least, most]`: a trial starts with as many as there is room for, and goes on with more
    or fewer as machines come and go, from a checkpoint of that very step. Its rows and its noise
    are the same with any number; its curve is, within rounding."""
    gpus: Annotated[NonNegative, AfterValidator(_whole_or_part)] = 0.0
    """GPUs of one worker: a whole number, or a part of one that trials share."""
    cpus: Count = 1
    """CPU cores, and torch threads, of one worker."""
    timeout_seconds: Annotated[int, Field(ge=10)] = 1800
    """How long a worker waits for another one before the group is started anew. Longer than one
    worker needs to write a checkpoint."""
    grow_after_seconds: Count = 60
    """How long a trial of `[least, most]` workers trains before it is started anew with more."""

    def on_gpus(self, num: float) -> int:
        """Return how many workers that want GPUs fit on so many; a part of one is on one alone."""
        free, wanted = round(num * _PARTS), max(1, round(self.gpus * _PARTS))
        if wanted >= _PARTS:
            return free // wanted
        whole, rest = divmod(free, _PARTS)
        return whole * (_PARTS // wanted) + rest // wanted

    @property
    def least(self) -> int:
        """Workers that a trial cannot do without."""
        return self.num[0] if isinstance(self.num, tuple) else self.num

    @property
    def most(self) -> int:
        """Workers that a trial has at most."""
        return self.num[1] if isinstance(self.num, tuple) else self.num
