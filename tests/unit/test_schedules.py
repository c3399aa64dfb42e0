"""Schedules map progress to a factor; a warm-up goes before any of them."""

import math
from itertools import pairwise

import pytest

from neft_ray.schedules import SCHEDULES, warmed_up

GRID = [i / 100 for i in range(101)]
every_schedule = pytest.mark.parametrize("name", SCHEDULES)


@every_schedule
def test_factor_starts_at_one_never_rises_and_stays_within_0_and_1(name):
    factors = [SCHEDULES[name](progress) for progress in GRID]
    assert factors[0] == 1.0
    assert all(0 <= later <= earlier <= 1 for earlier, later in pairwise(factors))


@pytest.mark.parametrize(
    ("name", "quarter", "half", "end"),
    [
        ("constant", 1.0, 1.0, 1.0),
        ("linear", 0.75, 0.5, 0.0),
        ("cosine", (1 + math.sqrt(0.5)) / 2, 0.5, 0.0),
    ],
)
def test_factor_has_the_value_of_its_formula(name, quarter, half, end):
    factors = [SCHEDULES[name](progress) for progress in (0.25, 0.5, 1.0)]
    assert factors == pytest.approx([quarter, half, end], abs=1e-12)


@every_schedule
def test_warm_up_rises_in_a_straight_line_then_the_whole_schedule_follows(name):
    factor = warmed_up(SCHEDULES[name], 0.2)
    assert [factor(p) for p in (0.0, 0.05, 0.1)] == pytest.approx([0.0, 0.25, 0.5])
    followed = [factor(0.2 + 0.8 * progress) for progress in GRID]
    assert followed == pytest.approx([SCHEDULES[name](progress) for progress in GRID])


@every_schedule
def test_no_warm_up_is_the_schedule_itself(name):
    factor = warmed_up(SCHEDULES[name], 0.0)
    assert [factor(p) for p in GRID] == [SCHEDULES[name](p) for p in GRID]
