"""First values of a sweep file: in the space, with what they need, within the constraints."""

import pytest

from tests.unit.config_files import EXAMPLE, GRID, LISTED, RANGE, changed, problems


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


def test_a_first_value_that_breaks_a_constraint_is_refused():
    rule = 'sweep.constraints=["noise.alpha < 12"]'
    assert problems(EXAMPLE, rule, "sweep.first=[{noise.alpha: 5}]") == []
    (found,) = problems(EXAMPLE, rule, "sweep.first=[{noise.alpha: 15}]")
    assert found.endswith("sweep.first[0]: breaks a constraint; change one of the two")
