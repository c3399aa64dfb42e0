"""The plan of a sweep: trials at every rung, steps, and what symmetric noise costs."""

import pytest

from neft_ray.config.load import parse_sweep
from neft_ray.errors import UserError
from neft_ray.plan import check_first_rung, make_plan
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


@pytest.mark.parametrize(
    ("scheduler", "at_rungs", "steps"),
    [
        ("{kind: halving, grace_steps: 10, eta: 2}", [16, 8, 4, 2], 16 * 10 + 80 + 80 + 80 + 20),
        ("{kind: asha, grace_steps: 10, eta: 2, promote: true}", [16, 8, 4, 2], 420),
        ("{kind: asha, grace_tokens: 400, eta: 2}", [16, 8], 16 * 40 + 8 * 40 + 4 * 20),
        ("{kind: hyperband, grace_steps: 50, eta: 2}", [8], 8 * 50 + 4 * 50 + 8 * 100),
        ("{kind: pbt, interval_steps: 50}", [], 1600),
    ],
)
def test_trials_at_each_rung_are_those_that_the_rule_lets_through(scheduler, at_rungs, steps):
    overrides = [f"sweep.scheduler={scheduler}", "training.eval_every_steps=10"]
    config = parse_sweep(EXAMPLE, "x.yaml", overrides)
    arm = make_plan(config, num_steps=100, num_tokens=1000).arms[0]
    assert (list(arm.trials_at_rung), arm.steps) == (at_rungs, steps)


@pytest.mark.parametrize(
    ("scheduler", "key"),
    [
        ("{kind: asha, grace_steps: 100}", "grace_steps: 100, and a trial ends at 100"),
        ("{kind: asha, grace_steps: 200, promote: true}", "grace_steps: 200"),
        ("{kind: halving, grace_tokens: 1000}", "grace_tokens: 1,000, and a trial ends at 1,000"),
        ("{kind: median, grace_steps: 100}", "grace_steps"),
        ("{kind: pb2, interval_steps: 100}", "interval_steps"),
    ],
)
def test_a_scheduler_that_never_compares_is_refused(scheduler, key):
    config = parse_sweep(EXAMPLE, "x.yaml", [f"sweep.scheduler={scheduler}"])
    with pytest.raises(UserError, match=rf"sweep\.scheduler\.{key}") as refused:
        check_first_rung(config, num_steps=100, num_tokens=1000)
    assert "`scheduler: {kind: none}`" in str(refused.value)
    check_first_rung(config, num_steps=201, num_tokens=1001)


def test_the_points_that_constraints_leave_out_are_counted():
    overrides = [
        "sweep.space={noise.alpha: {choice: [5, 15]}, optimizer.weight_decay: {choice: [0, 0.1]}}",
        "sweep.searcher={kind: grid}",
        "sweep.num_trials=null",
        "sweep.constraints=['noise.alpha < 10 or optimizer.weight_decay > 0']",
    ]
    plan = make_plan(parse_sweep(EXAMPLE, "x.yaml", overrides), num_steps=100)
    found = {arm.name: (arm.num_trials, arm.num_left_out) for arm in plan.arms}
    assert found == {"treatment": (3, 1), "control": (2, 0)}
