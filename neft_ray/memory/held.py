"""What each strategy holds at each moment of a traced step: the arithmetic of sharding.

Where a number comes from is said beside it. `docs/memory.md` holds them against measurement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

from neft_ray.config.strategy import DdpConfig, DeepspeedConfig, FsdpConfig, StrategyConfig
from neft_ray.memory.trace import ROOT, Moment, Trace
from neft_ray.strategy.zero_setup import reduce_bucket_elements

FLOAT = 4
"""Bytes of what the optimizer updates."""
HALF = 2
MOMENTS = 2
"""AdamW keeps two numbers beside each parameter."""
ZERO_LIVE_ELEMENTS = 10**9
"""DeepSpeed's `stage3_max_live_parameters`: so many stay gathered once they were."""


@dataclass(frozen=True)
class Held:
    """Bytes on one worker at one moment.

    Attributes:
        parameters: Whole or in shards, beside the optimizer's own copy.
        gradients: Complete ones, whole or in shards.
        optimizer: AdamW's moments, and ZeRO's float32 copy of what it updates.
        activations: What the forward keeps and the backward makes, but for the loss head.
        logits: The same of the loss head.
        buffers: Gathered parameters, and buckets in which gradients are sent.
    """

    parameters: float = 0
    gradients: float = 0
    optimizer: float = 0
    activations: float = 0
    logits: float = 0
    buffers: float = 0

    @property
    def total(self) -> float:
        """All of it."""
        return sum(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True)
class Setting:
    """How a trial runs.

    Attributes:
        strategy: How it is spread.
        world: Its workers.
        accumulates: Whether some worker needs more than one micro-step for a step.
    """

    strategy: StrategyConfig
    world: int
    accumulates: bool

    @property
    def size(self) -> int:
        """Bytes of a parameter that forward and backward see."""
        strategy = self.strategy
        halved = not isinstance(strategy, DdpConfig) and strategy.params_dtype == "bfloat16"
        return HALF if halved else FLOAT


def peak(trace: Trace, setting: Setting) -> Held:
    """Return what a worker holds at the fullest moment of a step, host and device together."""
    return max(_LEDGERS[setting.strategy.kind](trace, setting), key=lambda held: held.total)


def _ddp(trace: Trace, setting: Setting) -> Iterator[Held]:
    """Whole copies of everything; with several workers, buckets as large as the gradients."""
    total = trace.total
    parameters, moments = FLOAT * total.all, MOMENTS * FLOAT * total.trained
    buckets = FLOAT * total.trained if setting.world > 1 else 0
    for moment in trace.moments:
        made = total.trained if setting.accumulates else sum(moment.made.values())
        inside = moment.activations - moment.logits
        yield Held(parameters, FLOAT * made, moments, inside, moment.logits, buckets)


def _fsdp(trace: Trace, setting: Setting) -> Iterator[Held]:
    """Shards, and groups gathered one after another.

    A group is gathered into one buffer and copied out of it (torch/distributed/fsdp/_fully_shard).
    In the forward the buffer stays until the next group is copied out; in the backward the next
    group is gathered ahead. Gradients that are accumulated are whole: they are scattered in the
    last micro-step.
    """
    assert isinstance(setting.strategy, FsdpConfig)
    total, world = trace.total, setting.world
    shards = FLOAT * total.all / world
    moments = MOMENTS * FLOAT * total.trained / world
    ends = _ends(trace.moments)
    finished: set[int] = set()
    for index, moment in enumerate(trace.moments):
        ended = index in ends
        unsent = [g for g in trace.groups if g not in finished]
        gradients = sum(FLOAT * trace.groups[g].trained / world for g in finished)
        gradients += sum(FLOAT * moment.made.get(g, 0) for g in unsent)
        if setting.accumulates:
            gradients += sum(FLOAT * trace.groups[g].trained for g in unsent)
        buffers = _gathered(trace, setting, moment)
        inside = moment.activations - moment.logits
        yield Held(shards, gradients, moments, inside, moment.logits, buffers)
        if ended:
            finished.add(moment.group)
            buffers += FLOAT * trace.groups[moment.group].trained  # joined, to be scattered
            yield Held(shards, gradients, moments, inside, moment.logits, buffers)


def _gathered(trace: Trace, setting: Setting, moment: Moment) -> float:
    """Return the bytes of what FSDP2 has gathered."""
    assert isinstance(setting.strategy, FsdpConfig)
    layers = sorted(g for g in trace.groups if g != ROOT)
    size = {g: setting.size * group.all for g, group in trace.groups.items()}
    group, root = moment.group, size[ROOT]
    if not moment.backward and group == ROOT and not moment.activations:
        return 2 * root
    kept = 0.0
    if not setting.strategy.reshard_after_forward:
        kept = sum(size[g] for g in layers if g != group)
    if group == ROOT:
        return root + kept + (size[layers[-1]] if layers else 0)
    ahead = group - 1 if moment.backward else group
    return root + kept + size[group] + size.get(ahead if ahead >= 0 else group, 0)


def _ends(moments: list[Moment]) -> set[int]:
    """Return where the backward of a group is over."""
    places = {m.group: i for i, m in enumerate(moments) if m.backward}
    return set(places.values())


def _zero(trace: Trace, setting: Setting) -> Iterator[Held]:
    """Stages of DeepSpeed."""
    assert isinstance(setting.strategy, DeepspeedConfig)
    if setting.strategy.zero_stage == 3:
        return _zero_3(trace, setting)
    return _zero_1_2(trace, setting, setting.strategy.zero_stage)


def _zero_1_2(trace: Trace, setting: Setting, stage: int) -> Iterator[Held]:
    """Whole parameters; the optimizer updates a float32 copy of its part of them.

    A bucket is made at the first gradient of a step (`setup_buckets` in stage_1_and_2.py). Stage 1
    keeps gradients and bucket until the step; stage 2 moves each gradient into the bucket at once
    and keeps, between micro-steps, its part of them alone.
    """
    total, size, world = trace.total, setting.size, setting.world
    parameters = size * total.all
    optimizer = (1 + MOMENTS) * FLOAT * total.trained / world
    bucket = size * reduce_bucket_elements(total.trained)
    share = size * total.trained / world
    for moment in trace.moments:
        made = sum(moment.made.values())
        has_bucket = made or (setting.accumulates and stage == 1)
        if stage == 1:
            gradients = size * (total.trained if setting.accumulates else made)
        else:
            gradients = share if setting.accumulates else 0
        inside = moment.activations - moment.logits
        buffers = bucket if has_bucket else 0
        yield Held(parameters, gradients, optimizer, inside, moment.logits, buffers)
    # The step: this worker's part from the bucket, again flat in float32, and what was accumulated.
    gradients = share + FLOAT * total.trained / world
    gradients += share if setting.accumulates and stage == 2 else 0
    yield Held(parameters, gradients, optimizer, 0, 0, bucket)


def _zero_3(trace: Trace, setting: Setting) -> Iterator[Held]:
    """Shards of everything, and what stays gathered: all of a model of under 10⁹ parameters."""
    total, size, world = trace.total, setting.size, setting.world
    parameters = size * total.all / world
    optimizer = (1 + MOMENTS) * FLOAT * total.trained / world
    share = size * total.trained / world
    elements = reduce_bucket_elements(total.trained)
    gathered = size * min(total.all, ZERO_LIVE_ELEMENTS) if world > 1 else 0
    for moment in trace.moments:
        buffers = size * elements + gathered
        inside = moment.activations - moment.logits
        yield Held(parameters, share, optimizer, inside, moment.logits, buffers)
    # A full bucket is joined into one tensor and scattered into another.
    sending = size * elements * (2 + 1 / world) + gathered
    yield Held(parameters, share, optimizer, 0, 0, sending)
    yield Held(
        parameters, share + FLOAT * total.trained / world, optimizer, 0, 0, size * elements
    )


_LEDGERS: dict[str, Callable[[Trace, Setting], Iterator[Held]]] = {
    "ddp": _ddp,
    "fsdp": _fsdp,
    "deepspeed": _zero,
}
