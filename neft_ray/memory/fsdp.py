"""What FSDP2 holds at each moment of a traced step."""

from __future__ import annotations

from collections.abc import Iterator

from neft_ray.config.strategy import FsdpConfig
from neft_ray.memory.held import FLOAT, MOMENTS, Held, Setting
from neft_ray.memory.recorder import ROOT, Moment
from neft_ray.memory.trace import Trace


def fsdp(trace: Trace, setting: Setting) -> Iterator[Held]:
    """Shards, and groups gathered one after another (torch/distributed/fsdp/_fully_shard).

    A group is gathered into one buffer and copied out of it. In the forward the buffer stays until
    the next group is copied out; in the backward the next group is gathered ahead. When a group's
    backward is over, its gradients are joined in a buffer, which stays until the next group's are.
    Gradients that are accumulated are whole: they are scattered in the last micro-step.
    """
    total, world = trace.total, setting.world
    shards = FLOAT * total.all / world
    moments = MOMENTS * FLOAT * total.trained / world
    trained = {g: FLOAT * group.trained for g, group in trace.groups.items()}
    ends = _ends(trace.moments)
    finished: list[int] = []
    for index, moment in enumerate(trace.moments):
        group, inside = moment.group, moment.activations - moment.logits
        sharded = sum(trained[g] for g in finished) / world
        new = {g: FLOAT * moment.made.get(g, 0) for g in trained if g not in finished}
        old = sum(trained[g] for g in new) if setting.accumulates else 0
        whole = sum(new.values()) + old
        gathered = _gathered(trace, setting, index)
        kept = trained[finished[-1]] if finished else 0
        yield Held(shards, sharded + whole, moments, inside, moment.logits, gathered + kept)
        if index not in ends:
            continue
        freed = setting.size * trace.groups[group].all
        if setting.accumulates:
            whole -= new[group]  # they were added to the old ones
        joined = gathered - freed + trained[group]
        yield Held(shards, sharded + whole, moments, inside, moment.logits, joined)
        finished.append(group)
        before = trace.moments[index - 1].made.get(group, 0)
        last = FLOAT * (moment.made.get(group, 0) - before)  # autograd still holds it
        whole += last - trained[group]
        sharded += trained[group] / world
        sending = joined + setting.copied(trained[group])
        yield Held(shards, sharded + whole, moments, inside, moment.logits, sending)


def _gathered(trace: Trace, setting: Setting, index: int) -> float:
    """Return the bytes of what FSDP2 has gathered at one of the moments."""
    assert isinstance(setting.strategy, FsdpConfig)
    moment, before = trace.moments[index], trace.moments[:index]
    layers = sorted(g for g in trace.groups if g != ROOT)
    size = {g: setting.size * group.all for g, group in trace.groups.items()}
    group, root = moment.group, size[ROOT]
    if index == 0:  # the root's buffer stays while the first layer is gathered and copied
        return 2 * (root + size.get(0, 0))
    if group == ROOT and moment.backward and any(m.backward and m.group == 0 for m in before):
        return root
    last = len(layers) if group == ROOT else group
    kept = 0 if setting.strategy.reshard_after_forward else sum(size[g] for g in layers[:last])
    if group == ROOT:
        return root + (kept or size.get(last - 1, 0))
    ahead = max(group - 1, 0) if moment.backward else group
    return root + size[group] + (kept if kept and moment.backward else kept + size[ahead])


def _ends(moments: list[Moment]) -> set[int]:
    """Return where the backward of a group is over."""
    places = {m.group: i for i, m in enumerate(moments) if m.backward}
    return set(places.values())
