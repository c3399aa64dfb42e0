"""What a strategy holds: parameters, gradients and optimizer, by the number of workers."""

import pytest

from neft_ray.config.strategy import DdpConfig, DeepspeedConfig, FsdpConfig
from neft_ray.memory.held import Setting
from neft_ray.memory.ledgers import LEDGERS, peak
from neft_ray.memory.predict import STRATEGIES
from neft_ray.memory.recorder import ROOT, Moment
from neft_ray.memory.trace import Group, Trace
from neft_ray.strategy.registry import STRATEGIES as REGISTRY


def a_trace(num_layers=6, layer=10**9, root=10**8):
    """A model in which every part has a size that no other has; no activations."""
    groups = {ROOT: Group(root, root)} | {i: Group(layer, layer) for i in range(num_layers)}
    forward = [Moment(False, g, {}) for g in [ROOT, *range(num_layers), ROOT]]
    made, backward = {}, [Moment(True, ROOT, {})]
    for g in [*reversed(range(num_layers)), ROOT]:
        backward.append(Moment(True, g, dict(made)))
        made[g] = groups[g].trained
        backward.append(Moment(True, g, dict(made)))
    return Trace(num_layers * layer + root, root // 2, 0, groups, forward + backward)


def test_every_strategy_has_a_ledger():
    assert LEDGERS.keys() == REGISTRY.keys()


def test_a_copy_is_four_times_its_parameters_in_float32():
    held = peak(a_trace(), Setting(DdpConfig(), 1, accumulates=False))
    numel = a_trace().total.all
    assert (held.parameters, held.gradients, held.optimizer) == (4 * numel, 4 * numel, 8 * numel)
    assert held.buffers == held.activations == 0


@pytest.mark.parametrize("accumulates", [False, True])
@pytest.mark.parametrize("name", ["fsdp", "zero 1", "zero 2", "zero 3"])
def test_more_workers_hold_less_each(name, accumulates):
    sizes = [
        peak(a_trace(), Setting(STRATEGIES[name], world, accumulates)).total
        for world in (2, 4, 8, 16)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1]


@pytest.mark.parametrize("accumulates", [False, True])
def test_a_higher_stage_holds_less(accumulates):
    names = ["ddp", "zero 1", "zero 2", "zero 3"]
    sizes = [peak(a_trace(), Setting(STRATEGIES[n], 8, accumulates)).total for n in names]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 4


def test_fsdp_keeps_whole_gradients_between_micro_steps_and_shards_otherwise():
    total, world = a_trace().total, 8
    often = peak(a_trace(), Setting(FsdpConfig(), world, accumulates=True))
    once = peak(a_trace(), Setting(FsdpConfig(), world, accumulates=False))
    assert often.gradients >= 4 * total.trained
    assert once.gradients < 4 * (total.trained / world + a_trace().groups[0].trained)
    assert once.parameters == often.parameters == 4 * total.all / world


def test_fsdp_that_gathers_once_holds_the_model():
    strategy = FsdpConfig(reshard_after_forward=False)
    held = peak(a_trace(), Setting(strategy, 8, accumulates=False))
    assert held.buffers >= 4 * a_trace().total.all


@pytest.mark.parametrize("stage", [1, 2])
def test_zero_reduces_a_copy_of_a_bucket_of_at_most_two_gigabytes(stage):
    for trace, size in ((a_trace(), 2 * 10**9), (a_trace(2, 10**6, 10**6), 12 * 10**6)):
        strategy = DeepspeedConfig(zero_stage=stage)
        assert peak(trace, Setting(strategy, 2, accumulates=True)).buffers == 2 * size


def test_bfloat16_parameters_take_half():
    half = Setting(DeepspeedConfig(zero_stage=1, params_dtype="bfloat16"), 2, accumulates=False)
    whole = Setting(DeepspeedConfig(zero_stage=1), 2, accumulates=False)
    assert peak(a_trace(), half).parameters == peak(a_trace(), whole).parameters / 2
    assert peak(a_trace(), half).optimizer == peak(a_trace(), whole).optimizer
