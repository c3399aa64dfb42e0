"""Every step's learning rate, and which parameters decay."""

import math

import pytest
import torch
from torch import nn

from neft_ray.config.trial import OptimizerConfig
from neft_ray.optim import build_optimizer, learning_rate_at
from tests.unit.trial_runs import build_engine, small_config

NUM_STEPS = 99


def rate(step, **settings) -> float:
    config = OptimizerConfig(learning_rate=2.0, **settings)
    return learning_rate_at(config, step, NUM_STEPS)


def test_warm_up_reaches_the_full_rate_and_the_cosine_ends_near_0():
    at = {step: rate(step, warmup_fraction=0.2, schedule="cosine") for step in range(1, 100)}
    assert at[1] == pytest.approx(2.0 * 1 / 20)
    assert at[10] == pytest.approx(2.0 * 10 / 20)
    assert at[20] == pytest.approx(2.0)
    assert at[60] == pytest.approx(1.0)
    assert at[99] == pytest.approx(1 - math.cos(math.pi / 80))
    assert max(at.values()) == at[20]


def test_linear_falls_in_a_straight_line():
    at = [rate(step, warmup_fraction=0.0, schedule="linear") for step in (1, 50, 99)]
    assert at == pytest.approx([1.98, 1.0, 0.02])


def test_constant_stays_after_the_warm_up():
    at = [rate(step, warmup_fraction=0.03, schedule="constant") for step in (1, 3, 50, 99)]
    assert at == pytest.approx([2 / 3, 2.0, 2.0, 2.0])


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
@pytest.mark.parametrize("num_steps", [1, 2, 7])
def test_no_step_is_wasted_on_a_rate_of_0(schedule, num_steps):
    config = OptimizerConfig(learning_rate=2.0, warmup_fraction=0.5, schedule=schedule)
    assert all(0 < learning_rate_at(config, s, num_steps) <= 2 for s in range(1, num_steps + 1))


def test_weight_decay_pulls_on_matrices_and_on_nothing_else():
    module = nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 3))
    for parameter in module.parameters():
        parameter.data.fill_(1.0)
        parameter.grad = torch.zeros_like(parameter)
    config = OptimizerConfig(learning_rate=0.5, weight_decay=0.1)
    build_optimizer(module, config).step()
    values = {name: p.unique().tolist() for name, p in module.named_parameters()}
    shrunk = [pytest.approx(0.95)]
    assert values == {
        "0.weight": shrunk,
        "1.weight": [1.0],
        "1.bias": [1.0],
        "2.weight": shrunk,
        "2.bias": [1.0],
    }


def test_every_setting_reaches_the_optimizer():
    config = OptimizerConfig(learning_rate=0.5, beta1=0.8, beta2=0.9, epsilon=1e-3)
    for group in build_optimizer(nn.Linear(2, 2), config).param_groups:
        assert (group["lr"], group["betas"], group["eps"]) == (0.5, (0.8, 0.9), 1e-3)


def test_frozen_parameters_are_left_out_and_tied_ones_come_once():
    engine = build_engine(small_config())
    engine.plain.embedding.weight.requires_grad_(False)
    groups = build_optimizer(engine.plain, OptimizerConfig()).param_groups
    held = [id(p) for group in groups for p in group["params"]]
    assert len(held) == len(set(held)) == len(list(engine.plain.parameters())) - 1
