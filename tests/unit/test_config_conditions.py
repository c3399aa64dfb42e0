"""Conditions of a sweep file: under which values of one key another is drawn."""

import pytest

from neft_ray.config.arm_space import ArmSpace, num_trials
from neft_ray.config.load import dump_sweep, parse_sweep
from neft_ray.plan import make_plan
from tests.unit.config_files import GRID, LISTED, RANGE, changed, problems


def space(line):
    """Return what is wrong with a line of the space, after those of α and the learning rate."""
    found = problems(changed((RANGE, f"{RANGE}\n    {line}")))
    assert all(problem.startswith("x.yaml:20: sweep.space.") for problem in found)
    return [problem.removeprefix("x.yaml:20: sweep.space.") for problem in found]


@pytest.mark.parametrize(
    ("when", "found"),
    [
        ("{noise.alpha: 5}", []),
        ("{noise.alpha: [5.0, 15]}", []),
        ("{noise.alpha: 5, optimizer.learning_rate: 1e-4}", []),
        (
            "{noise.alpha: [5, 7]}",
            [
                "7 is not among the values of noise.alpha, `choice: [5, 10, 15]`; "
                "write one of them, or widen that domain"
            ],
        ),
        (
            "{optimizer.learning_rate: 1}",
            [
                "1 is not among the values of optimizer.learning_rate, "
                "`loguniform: [1e-05, 0.0002]`; "
                "write one of them, or widen that domain"
            ],
        ),
        (
            "{noise.alpha: true}",
            [
                "true is not among the values of noise.alpha, "
                "`choice: [5, 10, 15]`; "
                "write one of them, or widen that domain"
            ],
        ),
        (
            "{noise.alhpa: 5}",
            ["not a setting of the trial; did you mean 'noise.alpha'?"],
        ),
        (
            "{noise.symmetric: true}",
            ["is not searched; add it to sweep.space above noise.schedule"],
        ),
        ("{noise.schedule: linear}", ["depends on itself; name another key"]),
    ],
)
def test_a_condition_names_keys_drawn_before_and_values_they_have(when, found):
    got = space(f"noise.schedule: {{choice: [linear, cosine], when: {when}}}")
    assert [problem.split(": ", 1)[1] for problem in got] == found


def test_conditions_in_a_circle_are_refused():
    one = "noise.schedule: {choice: [linear, cosine], when: {noise.symmetric: true}}"
    other = "noise.symmetric: {choice: [true, false], when: {noise.schedule: linear}}"
    found = problems(changed((RANGE, f"{RANGE}\n    {one}\n    {other}")))
    assert found == [
        "x.yaml:20: sweep.space.noise.schedule.when.noise.symmetric: noise.symmetric is drawn "
        "after noise.schedule; write noise.symmetric above noise.schedule, and no `when` "
        "in a circle"
    ]


@pytest.mark.parametrize("when", ["{}", "5", "{noise.alpha: []}", "{noise.alpha: {a: 5}}"])
def test_a_condition_has_keys_and_values(when):
    assert space(f"noise.schedule: {{choice: [linear], when: {when}}}")


def test_a_grid_has_each_point_once_whatever_is_conditional():
    text = changed(
        (
            RANGE,
            f"{LISTED}\n    noise.schedule: {{choice: [linear, cosine], "
            "when: {noise.alpha: [5, 10], optimizer.learning_rate: 1e-4}}",
        )
    )
    config = parse_sweep(text, "x.yaml", GRID)
    points = ArmSpace.of(config, "treatment").all_points
    marks = [tuple(point.items()) for point in points]
    assert len(marks) == len(set(marks)) == num_trials(config, "treatment") == 3 + 1 + 2 * 2
    assert all(
        ("noise.schedule" in point)
        == (point["noise.alpha"] != 15 and point["optimizer.learning_rate"] == 1e-4)
        for point in points
    )
    assert num_trials(config, "control") == 2, "the control's α is 0, so nothing else is drawn"
    assert [arm.num_trials for arm in make_plan(config, 100).arms] == [8, 2]


def test_a_bad_value_under_a_condition_is_found():
    found = space("noise.warmup_fraction: {choice: [0.1, 2], when: {noise.alpha: 15}}")
    assert found == ["noise.warmup_fraction: got 2; write a number at least 0 and below 1"]


def test_conditions_survive_being_written():
    config = parse_sweep(
        changed(
            (
                RANGE,
                f"{LISTED}\n    noise.schedule: {{choice: [linear], "
                "when: {noise.alpha: [5, 10]}}",
            )
        ),
        "x.yaml",
    )
    assert parse_sweep(dump_sweep(config), "dumped") == config
