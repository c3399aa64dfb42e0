"""Rules over several settings of a sweep file."""

import pytest

from neft_ray.config.trial import TrialConfig
from tests.unit.config_files import EXAMPLE, changed, problems

GRID = ("sweep.searcher={kind: grid}", "sweep.num_trials=null")
RANGE = "optimizer.learning_rate: {loguniform: [1e-5, 2e-4]}"


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


@pytest.mark.parametrize("kind", ["asha", "median"])
@pytest.mark.parametrize(
    ("grace", "nearest"), [(120, "100 or 150"), (30, "50"), (50, None), (200, None)]
)
def test_rungs_fall_on_evaluations(kind, grace, nearest):
    found = problems(EXAMPLE, f"sweep.scheduler={{kind: {kind}, grace_steps: {grace}}}")
    assert [problem.split("grace_steps: ")[-1] for problem in found] == (
        [f"{grace} is no multiple of training.eval_every_steps, 50; write {nearest}"]
        if nearest
        else []
    )


@pytest.mark.parametrize(
    ("control", "found"),
    [
        ("noise.alpha: -1", ["noise.alpha: got -1; write a number at least 0"]),
        ("noise.alpha: 'x'", ["noise.alpha: got the text 'x'; write a number at least 0"]),
        (
            "noise.alhpa: 0",
            ["noise.alhpa: not a setting of the trial; did you mean 'noise.alpha'?"],
        ),
        ("noise.length: padded", []),
        (
            "noise.length: own",
            [
                "noise.length: the text 'own' is also the only value of the treatment arm; "
                "fix another value, or search this key"
            ],
        ),
    ],
)
def test_the_control_arm_fixes_valid_values_that_differ(control, found):
    where = "x.yaml:20: sweep.control."
    assert problems(changed(("control: {noise.alpha: 0}", f"control: {{{control}}}"))) == [
        where + problem for problem in found
    ]


def test_the_control_arm_cannot_have_its_own_seed():
    (found,) = problems(EXAMPLE, "sweep.control={training.seed: 1}")
    assert "sweep.control.training.seed: must be the same in all trials" in found


@pytest.mark.parametrize(
    ("choices", "refused"), [("[0]", True), ("[0.0]", True), ("[0, 5]", False)]
)
def test_a_treatment_arm_with_only_the_control_value_is_refused(choices, refused):
    found = problems(changed(("{choice: [5, 10, 15]}", f"{{choice: {choices}}}")))
    assert found == refused * [
        "x.yaml:20: sweep.control.noise.alpha: 0 is also the only value of the treatment arm; "
        "give sweep.space.noise.alpha other choices"
    ]


def test_rules_are_checked_beside_problems_elsewhere():
    options = (
        "model.dtype=x",
        "sweep.scheduler.grace_steps=70",
        "noise.alpha=x",
        "sweep.space.optimizer.beta1={choice: [2]}",
        "sweep.slots=0",
    )
    found = problems(EXAMPLE, *options)
    assert len(found) == len(options)
    for problem, option in zip(found, options, strict=True):
        assert problem.startswith(f"--set {option}: {option.split('=')[0]}: ")


@pytest.mark.parametrize(
    "options",
    [
        ("training.eval_every_steps=0",),
        ("training.eval_evry_steps=25", "sweep.scheduler.grace_steps=70"),
        ("sweep.searcher=3", "sweep.num_trials=null"),
        ("sweep.sercher={kind: grid}", "sweep={space: {noise.alpha: {choice: [1]}}, sercher: {}}"),
        ("sweep.space.noise.alpha=7", "sweep.control.noise.alpha=5"),
        ("sweep.space={noise.alhpa: {choice: [5]}}", "sweep.control.noise.alpha=5"),
    ],
)
def test_no_rule_is_applied_to_settings_in_doubt(options):
    assert len(problems(EXAMPLE, *options)) == 1


def test_the_padded_length_is_that_of_padded_rows():
    options = ["noise.length=padded", "batch.kind=packed"]
    (said,) = problems(EXAMPLE, *options)
    assert "packed rows have no padding to count; write length: own" in said
    assert not problems(EXAMPLE, options[0]) and not problems(EXAMPLE, options[1])


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["budget.dollars=5"], ["sweep.budget.dollars: nothing has a price; write sweep.price"]),
        (["budget.dollars=5", "price.dollars_per_cpu_hour=0.1", "gpus=0"], []),
        (["price.dollars_per_cpu_hour=0.1", "price.dollars_per_gpu_hour=0"], []),
        (["price.dollars_per_cpu_hour=0.1"], ["the price of cores, and the workers' GPUs have"]),
        (["price.dollars_per_gpu_hour=2", "gpus=0"], ["is the price of GPUs, and workers.gpus"]),
        (["budget.dollars=5", "price.instance=g5.xlarge"], []),
        (["price.instance=g5.xlarge", "price.dollars_per_gpu_hour=1"], ["both give a price"]),
        (["price.instance=g5.xlagre"], ["did you mean 'g5.xlarge'?"]),
        (["budget.gpu_hours=5", "gpus=0"], ["no GPU is used: workers.gpus is 0"]),
        (["price.instance=g5.xlarge", "gpus=0"], ["is the price of GPUs, and workers.gpus is 0"]),
    ],
)
def test_a_budget_is_of_something_that_can_be_counted(options, found):
    named = [f"workers.{o}" if o.startswith("gpus") else f"sweep.{o}" for o in options]
    said = problems(EXAMPLE, *named)
    assert len(said) == len(found)
    assert all(part in whole for part, whole in zip(found, said, strict=True)), said


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["objective.weights={answer_repetition: 2}"], []),
        (["objective.weights={answer_words: 0.1}"], ["add `answer_words: min` or"]),
        (["objective.weights={answer_repetition: -1}"], ["write a number above 0"]),
        (
            ["objective.weights={answer_repetition: 2}", "finalists.generated_rows=0"],
            ["no finalist answers anything that could be weighed"],
        ),
        (
            ["objective.weights={answer_repetition: 2}", "finalists.num=0"],
            ["no finalist answers anything that could be weighed"],
        ),
    ],
)
def test_what_is_weighed_is_measured(options, found):
    said = problems(EXAMPLE, *(f"sweep.{option}" for option in options))
    assert len(said) == len(found), said
    assert all(part in whole for part, whole in zip(found, said, strict=True)), said
