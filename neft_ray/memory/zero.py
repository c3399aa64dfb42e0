"""What DeepSpeed's stages hold at each moment of a traced step."""

from __future__ import annotations

from collections.abc import Iterator

from neft_ray.config.strategy import DeepspeedConfig
from neft_ray.memory.held import FLOAT, MOMENTS, Held, Setting
from neft_ray.memory.recorder import ROOT
from neft_ray.memory.trace import SMALL_ELEMENTS, Trace
from neft_ray.strategy.zero_setup import reduce_bucket_elements

ZERO_LIVE_ELEMENTS = 10**9
"""DeepSpeed's `stage3_max_live_parameters`: so many stay gathered once they were."""


def zero(trace: Trace, setting: Setting) -> Iterator[Held]:
    """Stages of DeepSpeed."""
    assert isinstance(setting.strategy, DeepspeedConfig)
    if setting.strategy.zero_stage == 3:
        return _zero_3(trace, setting)
    return _zero_1_2(trace, setting, setting.strategy.zero_stage)


def _zero_1_2(trace: Trace, setting: Setting, stage: int) -> Iterator[Held]:
    """Whole parameters; the optimizer updates a float32 copy of its part of them.

    A bucket is made at the first gradient of a step (`setup_buckets` in stage_1_and_2.py) and
    copied to be reduced. Stage 1 keeps gradients until the step. Stage 2 moves each into the bucket
    at once and keeps this worker's part of them. The part of the step before is still there at
    times, in a cycle of references: it is counted.
    """
    total, size, world = trace.total, setting.size, setting.world
    parameters = size * total.all
    optimizer = (1 + MOMENTS) * FLOAT * total.trained / world
    bucket = size * reduce_bucket_elements(total.trained)
    whole, share = size * total.trained, size * total.trained / world
    for moment in trace.moments:
        made = sum(moment.made.values())
        has_bucket = made or (setting.accumulates and stage == 1)
        between = whole if stage == 1 else share
        gradients = between if setting.accumulates else size * made * (stage == 1)
        inside = moment.activations - moment.logits
        buffers = bucket if has_bucket else 0
        yield Held(parameters, gradients, optimizer, inside, moment.logits, buffers)
    waiting = share + (whole - bucket if stage == 1 else share * setting.accumulates)
    yield Held(parameters, waiting, optimizer, 0, 0, 2 * bucket)
    in_float32 = FLOAT * total.trained / world
    yield Held(parameters, share + in_float32, optimizer, 0, 0, bucket)


def _zero_3(trace: Trace, setting: Setting) -> Iterator[Held]:
    """Shards of everything, and what stays gathered (stage3.py, partition_parameters.py).

    Parameters of at most 10⁵ elements stay gathered for good, and are gathered into one buffer and
    copied while the layers run; of the others at most 10⁹ elements stay gathered until the backward
    is over, but for the embedding, which comes last. A full bucket is joined to be scattered.
    """
    total, size, world = trace.total, setting.size, setting.world
    parameters = size * total.all / world
    optimizer = (1 + MOMENTS) * FLOAT * total.trained / world
    share = size * total.trained / world
    bucket = size * reduce_bucket_elements(total.trained)
    small, embedding = size * trace.small, size * trace.embedding
    at_once = small - (embedding if trace.embedding <= SMALL_ELEMENTS else 0)
    large = size * min(total.all - trace.small, ZERO_LIVE_ELEMENTS)
    if world == 1:
        small = at_once = large = embedding = 0
    for moment in trace.moments:
        twice = at_once if moment.group != ROOT and not moment.backward else 0
        inside = moment.activations - moment.logits
        buffers = bucket + small + large + twice
        yield Held(parameters, share, optimizer, inside, moment.logits, buffers)
    last = small if trace.embedding <= SMALL_ELEMENTS else small + embedding
    sending = bucket + bucket + setting.copied(bucket) + last
    if not setting.gloo:
        sending += bucket / world
    yield Held(parameters, share, optimizer, 0, 0, sending)
    in_float32 = FLOAT * total.trained / world
    yield Held(parameters, share + in_float32, optimizer, 0, 0, bucket + small)
