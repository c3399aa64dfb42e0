"""The strategies by their kind: the fullest moment of a traced step, by the arithmetic of sharding.

Where a number comes from is said beside it; docs/memory.md holds them against measurement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from neft_ray.memory.fsdp import fsdp
from neft_ray.memory.held import FLOAT, MOMENTS, Held, Setting
from neft_ray.memory.trace import Trace
from neft_ray.memory.zero import zero


def moments(trace: Trace, setting: Setting) -> Iterator[Held]:
    """Yield what a worker holds from moment to moment of a step, host and device together."""
    return LEDGERS[setting.strategy.kind](trace, setting)


def peak(trace: Trace, setting: Setting) -> Held:
    """Return what a worker holds at the fullest moment of a step, host and device together."""
    return max(moments(trace, setting), key=lambda held: held.total)


def ddp(trace: Trace, setting: Setting) -> Iterator[Held]:
    """Whole copies of everything; with several workers, buckets as large as the gradients."""
    total = trace.total
    parameters, moments = FLOAT * total.all, MOMENTS * FLOAT * total.trained
    buckets = FLOAT * total.trained if setting.world > 1 else 0
    for moment in trace.moments:
        made = total.trained if setting.accumulates else sum(moment.made.values())
        inside = moment.activations - moment.logits
        yield Held(parameters, FLOAT * made, moments, inside, moment.logits, buckets)


LEDGERS: dict[str, Callable[[Trace, Setting], Iterator[Held]]] = {
    "ddp": ddp,
    "fsdp": fsdp,
    "deepspeed": zero,
}
