"""Rules over several settings of a sweep file: rungs, arms, budgets, what is weighed."""

import pytest

from tests.unit.config_files import EXAMPLE, changed, problems


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
