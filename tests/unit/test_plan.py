"""The plan of a sweep is honest about what symmetric noise costs."""

import pytest

from neft_ray.config.load import parse_sweep
from neft_ray.plan import make_plan
from tests.unit.config_files import EXAMPLE


@pytest.mark.parametrize(
    ("overrides", "treatment", "control"),
    [
        ([], 1, 1),
        (["noise.symmetric=true"], 2, 1),
        (["sweep.space.noise.symmetric={choice: [true, false]}"], 2, 1),
        (["noise.symmetric=true", "sweep.control={optimizer.weight_decay: 0.5}"], 2, 2),
        (["noise.symmetric=true", "sweep.control={noise.symmetric: false}"], 2, 1),
    ],
)
def test_symmetric_noise_runs_every_row_twice(overrides, treatment, control):
    plan = make_plan(parse_sweep(EXAMPLE, "x.yaml", overrides), num_steps=100)
    assert [arm.forwards_per_row for arm in plan.arms] == [treatment, control]
