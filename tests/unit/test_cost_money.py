"""What slots cost for as long as they are held, and budgets that are too small."""

import pytest

from neft_ray.cost.estimate import budget_problems, estimate
from tests.unit.cost_runs import SPEED, planned


def test_slots_cost_for_as_long_as_they_are_held():
    config, plan = planned(
        "workers={num: 2, gpus: 1, cpus: 4}",
        "sweep.price={dollars_per_gpu_hour: 3, dollars_per_cpu_hour: 0.1}",
    )
    found = estimate(plan, config, 4, SPEED)
    assert found.hours == (420 + 320 + 30) / 3600
    assert found.gpu_hours == found.hours * 4 * 2
    assert found.dollars == pytest.approx(found.hours * 4 * 2 * (3 + 4 * 0.1))
    assert estimate(plan, planned()[0], 4, SPEED).dollars is None, "never an invented price"
    listed, plan = planned("workers={num: 2, gpus: 1}", "sweep.price.instance=p5.48xlarge")
    assert estimate(plan, listed, 4, SPEED).dollars == pytest.approx(found.hours * 4 * 2 * 6.88)


def test_a_budget_below_one_round_and_the_finalists_is_refused():
    asha = "sweep.scheduler={kind: asha, grace_steps: 10, eta: 2}"
    round_hours = (4 * (20 + 10) + 4 * (10 + 10) + 3 * (210 + 110) + 30) / 3600
    for hours, refused in ((round_hours * 1.01, False), (round_hours * 0.99, True)):
        config, plan = planned(asha, f"sweep.budget.hours={hours}")
        problems = list(budget_problems(config, plan, 1, SPEED))
        assert bool(problems) == refused
    assert "sweep.budget.hours" in str(problems[0]) and "raise it" in str(problems[0])
