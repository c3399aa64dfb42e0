"""Constraints of a sweep file: arithmetic that can hold, and what a space has left then."""

import pytest

from neft_ray.config.arm_space import ArmSpace, num_trials
from neft_ray.config.constraints import Constraint, Unusable
from neft_ray.config.load import parse_sweep
from tests.unit.config_files import EXAMPLE, GRID, LISTED, RANGE, changed, problems


def loaded(*options):
    return parse_sweep(changed((RANGE, LISTED)), "x.yaml", options)


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
