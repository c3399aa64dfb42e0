"""Keys of the space are settings of the trial, with values that these take; grids."""

import pytest

from neft_ray.config.trial import TrialConfig
from tests.unit.config_files import EXAMPLE, GRID, RANGE, changed, problems


def space(line):
    """Return what is wrong with a line of the space, in place of the learning rate's."""
    where = "x.yaml:19: sweep.space."
    found = problems(changed((RANGE, line)))
    assert all(problem.startswith(where) for problem in found)
    return [problem.removeprefix(where) for problem in found]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("optimizer.learning_rte: {choice: [1]}", "did you mean 'optimizer.learning_rate'?"),
        ("training.learning_rate: {choice: [1]}", "did you mean 'optimizer.learning_rate'?"),
        ("data.split.sede: {choice: [1]}", "did you mean 'data.split.seed'?"),
        ("learning_rate: {choice: [1]}", "did you mean 'optimizer.learning_rate'?"),
        ("noise: {choice: [1]}", "did you mean"),
        ("batch.zzz: {choice: [1]}", "known: batch.size_examples, batch.micro_tokens, batch.kind"),
        ("model.path.x: {choice: [1]}", "did you mean 'model.path'?"),
    ],
)
def test_a_key_that_is_no_setting_of_the_trial_is_refused(line, found):
    (problem,) = space(line)
    assert problem.startswith(f"{line.split(':')[0]}: not a setting of the trial; {found}")


@pytest.mark.parametrize("key", ["training.seed", "training.eval_every_steps"])
def test_what_all_trials_share_cannot_be_searched(key):
    (problem,) = space(f"{key}: {{choice: [50]}}")
    assert problem.startswith(f"{key}: must be the same in all trials; write it under `training`")


@pytest.mark.parametrize(
    "line",
    [
        "optimizer.learning_rate: {choice: [1e-4, 1, 2e-4]}",
        "optimizer.clip_norm: {choice: [null, 1]}",
        "optimizer.weight_decay: {int_range: [0, 2]}",
        "training.epochs: {int_range: [1, 3]}",
        "model.dtype: {choice: [float32, bfloat16]}",
        "optimizer.beta2: {uniform: [0.9, 0.999]}",
    ],
)
def test_values_that_their_setting_takes_are_accepted(line):
    assert space(line) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (
            "optimizer.weight_decay: {choice: [0, '1', -1, true, 0.5]}",
            [
                "optimizer.weight_decay: got the text '1'; write a number at least 0",
                "optimizer.weight_decay: got -1; write a number at least 0",
                "optimizer.weight_decay: got true; write a number at least 0",
            ],
        ),
        (
            "training.epochs: {choice: [1, 5.0]}",
            ["training.epochs: got 5.0; write a whole number at least 1"],
        ),
        (
            "optimizer.beta1: {uniform: [0.5, 1]}",
            ["optimizer.beta1: got 1.0; write a number at least 0 and below 1"],
        ),
        (
            "training.epochs: {int_range: [0, 3]}",
            ["training.epochs: got 0; write a whole number at least 1"],
        ),
        (
            "model.dtype: {choice: [float32, flaot32]}",
            ["model.dtype: got the text 'flaot32'; did you mean 'float32'?"],
        ),
        (
            "training.epochs: {uniform: [1, 3]}",
            [
                "training.epochs: `uniform` draws real numbers; use `int_range` or `choice`: "
                "training.epochs is a whole number at least 1"
            ],
        ),
        (
            "batch.kind: {loguniform: [1, 3]}",
            [
                "batch.kind: `loguniform` draws real numbers; use `int_range` or `choice`: "
                "batch.kind is padded or bucketed or packed"
            ],
        ),
    ],
)
def test_values_of_the_space_are_typed_and_bounded_by_their_setting(line, found):
    assert space(line) == found


def test_every_point_of_a_grid_is_built_for_both_arms(monkeypatch):
    built = []
    monkeypatch.setattr(TrialConfig, "with_values", lambda trial, values: built.append(values))
    line = "optimizer.learning_rate: {choice: [1e-4, 2e-4]}"
    assert problems(changed((RANGE, line)), *GRID) == []
    rates = (1e-4, 2e-4)
    assert [(at["noise.alpha"], at["optimizer.learning_rate"]) for at in built] == [
        *((alpha, rate) for alpha in (5, 10, 15) for rate in rates),
        *((0, rate) for rate in rates),
    ]


def test_a_bad_point_of_a_grid_is_found():
    line = "optimizer.learning_rate: {choice: [1e-4, 2e-4, -1]}"
    assert problems(changed((RANGE, line)), *GRID) == [
        "x.yaml:19: sweep.space.optimizer.learning_rate: got -1; write a number above 0"
    ]


def test_a_grid_needs_choices_and_no_number_of_trials():
    assert problems(EXAMPLE, GRID[0]) == [
        "x.yaml:19: sweep.space.optimizer.learning_rate: `loguniform` cannot be listed in a grid; "
        "use `choice`, or `searcher: {kind: random}`",
        "x.yaml:24: sweep.num_trials: a grid has as many trials as points; remove num_trials",
    ]


@pytest.mark.parametrize(("size", "refused"), [(6666, False), (6667, True)])
def test_a_grid_of_more_than_20000_points_is_refused(size, refused):
    line = f"data.split.seed: {{choice: {list(range(size))}}}"
    found = problems(changed((RANGE, line)), *GRID)
    assert found == refused * [
        "x.yaml:17: sweep.space: a grid of 20001 points, more than 20000; "
        "list fewer choices, or use `searcher: {kind: random}`"
    ]


def test_other_searches_need_a_number_of_trials():
    assert problems(changed(("  num_trials: 16\n", ""))) == [
        "x.yaml:16: sweep.num_trials: missing; write how many trials optuna search runs in each arm"
    ]
