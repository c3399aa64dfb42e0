"""Conditions, first values and constraints of a sweep file."""

import pytest

from neft_ray.config.arm_space import ArmSpace, num_trials
from neft_ray.config.constraints import Constraint, Unusable
from neft_ray.config.load import dump_sweep, parse_sweep
from neft_ray.plan import make_plan
from tests.unit.config_files import EXAMPLE, changed, problems

RANGE = "optimizer.learning_rate: {loguniform: [1e-5, 2e-4]}"
LISTED = "optimizer.learning_rate: {choice: [1e-5, 1e-4]}"
GRID = ("sweep.searcher={kind: grid}", "sweep.num_trials=null")


def space(line):
    """Return what is wrong with a line of the space, after those of α and the learning rate."""
    found = problems(changed((RANGE, f"{RANGE}\n    {line}")))
    assert all(problem.startswith("x.yaml:20: sweep.space.") for problem in found)
    return [problem.removeprefix("x.yaml:20: sweep.space.") for problem in found]


def loaded(*options):
    return parse_sweep(changed((RANGE, LISTED)), "x.yaml", options)


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


@pytest.mark.parametrize(
    ("first", "found"),
    [
        ("paper", []),
        ("[]", []),
        ("[{noise.alpha: 5}, {optimizer.learning_rate: 1e-4}]", []),
        (
            "[{noise.alpha: 5}, {noise.alpha: 7}]",
            [
                "sweep.first[1].noise.alpha: 7 is not among the values of noise.alpha, "
                "`choice: [5, 10, 15]`; "
                "write one of them, or widen that domain"
            ],
        ),
        (
            "[{optimizer.learning_rate: 1}]",
            [
                "sweep.first[0].optimizer.learning_rate: 1 is not among the values of "
                "optimizer.learning_rate, `loguniform: [1e-05, 0.0002]`; "
                "write one of them, or widen that domain"
            ],
        ),
        (
            "[{optimizer.beta1: 0.5}]",
            ["sweep.first[0].optimizer.beta1: is not searched; add it to sweep.space"],
        ),
        (
            "[{noise.alhpa: 5}]",
            ["sweep.first[0].noise.alhpa: not a setting of the trial; did you mean 'noise.alpha'?"],
        ),
    ],
)
def test_first_values_are_of_the_space(first, found):
    option = f"sweep.first={first}"
    assert problems(EXAMPLE, option) == [f"--set {option}: {problem}" for problem in found]


def test_a_first_value_under_a_condition_comes_with_what_it_needs():
    line = "noise.schedule: {choice: [linear], when: {noise.alpha: [5, 10]}}"
    text = changed((RANGE, f"{RANGE}\n    {line}"))
    assert problems(text, "sweep.first=[{noise.alpha: 5, noise.schedule: linear}]") == []
    (found,) = problems(text, "sweep.first=[{noise.schedule: linear}]")
    assert found.endswith(
        "sweep.first[0].noise.schedule: is drawn only where noise.alpha is 5 or 10; "
        "write noise.alpha beside it"
    )


def test_of_several_conditions_only_the_one_that_fails_is_named():
    domain = "{choice: [linear], when: {noise.alpha: 5, optimizer.beta1: 0.5}}"
    lines = f"{RANGE}\n    optimizer.beta1: {{choice: [0.5, 0.9]}}\n    noise.schedule: {domain}"
    (found,) = problems(
        changed((RANGE, lines)), "sweep.first=[{noise.alpha: 5, noise.schedule: linear}]"
    )
    assert found.endswith("only where optimizer.beta1 is 0.5; write optimizer.beta1 beside it")


def test_a_grid_has_no_first_values():
    found = problems(changed((RANGE, LISTED)), *GRID, "sweep.first=paper")
    assert found == [
        "--set sweep.first=paper: sweep.first: a grid tries all its points; remove first"
    ]


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ("optimizer.learning_rate * noise.alpha < 0.001", None),
        ("optimizer.beta1 < optimizer.beta2", None),
        ("5 <= noise.alpha <= 10 or not optimizer.learning_rate > 1e-4", None),
        ("max(noise.alpha, 1) ** 2 < 101", None),
        ("batch.kind == 'bucketed'", None),
        ("noise.alpha <", "cannot be read: invalid syntax"),
        ("noise.alpha", "is no comparison"),
        ("noise.alpha * 2", "is no comparison"),
        ("1 < 2", "names no setting of the trial"),
        ("noise.alhpa < 3", "noise.alhpa: not a setting of the trial; did you mean 'noise.alpha'?"),
        ("alpha < 3", "alpha: not a setting of the trial; did you mean 'noise.alpha'?"),
        ("open(noise.alpha) < 3", "calls what is no function here"),
        ("noise.alpha.__class__ < 3", "noise.alpha.__class__: not a setting of the trial"),
        ("[noise.alpha for x in y] < 3", "is more than arithmetic and comparisons"),
        ("(lambda: noise.alpha) < 3", "is more than arithmetic and comparisons"),
        ("batch.kind * 0.5 < 3", "cannot be computed where batch.kind = bucketed"),
        ("1 / noise.alpha < 3", "cannot be computed where noise.alpha = 0: "),
        (
            "optimizer.learning_rate * noise.alpha < 0",
            "fewer than 3 in 3000 draws of the treatment",
        ),
        ("noise.alpha > 0", "fewer than 3 in 3000 draws of the control arm keep them"),
    ],
)
def test_constraints_are_arithmetic_over_the_trials_keys_that_can_hold(rule, found):
    got = problems(EXAMPLE, f'sweep.constraints=["{rule}"]')
    assert (found is None) == (not got)
    if found is not None:
        assert len(got) == len({*got})
        assert ": sweep.constraints" in got[0] and found in got[0] and "; " in got[0]


def test_a_constraint_meets_the_base_value_only_where_a_trial_keeps_it():
    rank = "sweep.space.model.lora.rank={choice: [4, 8]"
    rule = "sweep.constraints=['model.lora.rank * optimizer.learning_rate < 1']"
    assert problems(EXAMPLE, rank + "}", rule) == []
    (found,) = problems(EXAMPLE, rank + ", when: {noise.alpha: 5}}", rule)
    assert "cannot be computed where model.lora.rank = None" in found


def test_a_grid_leaves_out_what_breaks_a_constraint_and_counts_it():
    rule = "optimizer.learning_rate * noise.alpha < 0.001"
    config = loaded(*GRID, f"sweep.constraints=[{rule}]")
    space = ArmSpace.of(config, "treatment")
    assert (len(space.allowed_points), space.num_left_out) == (4, 2)
    assert num_trials(config, "treatment") == 4
    (found,) = problems(
        changed((RANGE, LISTED)),
        *GRID,
        "sweep.constraints=['noise.alpha > 20']",
        "sweep.control=null",
        "noise.alpha=30",
    )
    assert "no point of the treatment arm keeps them; narrow sweep.space" in found


def test_a_first_value_that_breaks_a_constraint_is_refused():
    rule = 'sweep.constraints=["noise.alpha < 12"]'
    assert problems(EXAMPLE, rule, "sweep.first=[{noise.alpha: 5}]") == []
    (found,) = problems(EXAMPLE, rule, "sweep.first=[{noise.alpha: 15}]")
    assert found.endswith("sweep.first[0]: breaks a constraint; change one of the two")


def test_a_listed_space_has_no_more_trials_than_points():
    config = loaded("sweep.num_trials=100")
    assert [num_trials(config, arm) for arm in config.sweep.arms] == [6, 2]
    assert num_trials(loaded("sweep.num_trials=4"), "treatment") == 4


@pytest.mark.parametrize("text", ["9 ** 9 ** 9 ** 9 < noise.alpha", "'a' * 10**9 < noise.alpha"])
def test_no_constraint_runs_away(text):
    with pytest.raises(Unusable, match="cannot be computed where"):
        Constraint.parse(text).holds({"noise.alpha": 5})


def test_deep_expressions_are_refused_not_followed():
    with pytest.raises(Unusable):
        Constraint.parse("(" * 5000 + "noise.alpha" + ")" * 5000 + " < 3")
