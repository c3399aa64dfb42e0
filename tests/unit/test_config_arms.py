"""The arms of a sweep file: the control, and further controls on request."""

import pytest

from neft_ray.config.load import parse_sweep
from tests.unit.config_files import EXAMPLE, changed, problems

LINE = "control: {noise.alpha: 0}"


def of(controls):
    """Return what is wrong with further controls, without the place."""
    where = "x.yaml:21: sweep.controls."
    found = problems(changed((LINE, f"{LINE}\n  controls: {controls}")))
    assert all(problem.startswith(where) for problem in found), found
    return [problem.removeprefix(where) for problem in found]


ALL = (
    "{gaussian: {noise.distribution: gaussian}, "
    "dropout: {noise.alpha: 0, model.embedding_dropout: 0.1}, "
    "weight-decay_2: {noise.alpha: 0, optimizer.weight_decay: 0.1}}"
)


def test_every_control_on_request_is_an_arm():
    assert of(ALL) == []
    config = parse_sweep(changed((LINE, f"{LINE}\n  controls: {ALL}")), "x.yaml", ())
    assert list(config.sweep.arms) == [
        *("treatment", "control", "gaussian", "dropout", "weight-decay_2"),
    ]
    assert config.sweep.arms["dropout"] == {"noise.alpha": 0, "model.embedding_dropout": 0.1}


@pytest.mark.parametrize(
    ("controls", "found"),
    [
        (
            "{control: {optimizer.weight_decay: 0.1}}",
            "control: 'control' is the name of another arm; "
            "choose another name; the control arm itself is `sweep.control`",
        ),
        (
            "{treatment: {optimizer.weight_decay: 0.1}}",
            "treatment: 'treatment' is the name of another arm; "
            "choose another name; the control arm itself is `sweep.control`",
        ),
        (
            "{'a b/c': {optimizer.weight_decay: 0.1}}",
            "a b/c: the text 'a b/c' cannot name an arm; use up to 40 letters, digits, _ and -",
        ),
        (
            "{decay: {optimizer.weight_dcay: 0.1}}",
            "decay.optimizer.weight_dcay: not a setting of the trial; "
            "did you mean 'optimizer.weight_decay'?",
        ),
        (
            "{decay: {optimizer.weight_decay: -0.1}}",
            "decay.optimizer.weight_decay: got -0.1; write a number at least 0",
        ),
        (
            "{dropout: {model.embedding_dropout: 1}}",
            "dropout.model.embedding_dropout: got 1; write a number at least 0 and below 1",
        ),
        (
            "{decay: {training.seed: 3}}",
            "decay.training.seed: must be the same in all trials; write it under `training`; "
            "`sweep.finalists.seeds` lists further seeds",
        ),
        (
            "{decay: {optimizer.weight_decay: 0, noise.distribution: uniform}}",
            "decay: its trials are those of the treatment arm; "
            "fix another value, or remove this control",
        ),
        (
            "{plain: {noise.alpha: 0.0, optimizer.weight_decay: 0}}",
            "plain: its trials are those of the control arm; "
            "fix another value, or remove this control",
        ),
        (
            "{one: {optimizer.weight_decay: 1}, two: {optimizer.weight_decay: 1.0}}",
            "two: its trials are those of the one arm; fix another value, or remove this control",
        ),
        ("{empty: {}}", "empty: got an empty section; write a section of `key: value` lines"),
    ],
)
def test_a_control_that_means_nothing_is_refused(controls, found):
    assert of(controls) == [found]


def test_a_control_may_be_set_from_the_command_line():
    option = "sweep.controls.decay.optimizer.weight_decay=0.1"
    config = parse_sweep(EXAMPLE, "x.yaml", (option,))
    assert config.sweep.arms["decay"] == {"optimizer.weight_decay": 0.1}
    (found,) = problems(EXAMPLE, option.replace("0.1", "x"))
    assert "sweep.controls.decay.optimizer.weight_decay: got the text 'x'" in found


@pytest.mark.parametrize(
    ("change", "key"), [("alpha: 5", "noise.alpha"), ("learning_rate: 1e-4", None)]
)
def test_no_change_on_the_way_undoes_what_an_arm_fixes(change, key):
    options = ["sweep.space={optimizer.beta1: {choice: [0.5, 0.9]}}", "sweep.control.noise.alpha=0"]
    found = problems(EXAMPLE, *options, f"changes=[{{after_step: 10, {change}}}]")
    assert len(found) == (key is not None)
    assert all(f"changes[0].alpha: replaces {key}, which the sweep" in said for said in found)


def test_rules_of_the_whole_sweep_see_what_a_further_control_fixes():
    controls = "controls: {half: {model.dtype: float32}}"
    text = changed((LINE, f"{LINE}\n  {controls}"))
    found = problems(text, "strategy={kind: fsdp, params_dtype: bfloat16}")
    assert [problem.split("; ")[0] for problem in found] == [
        "--set strategy={kind: fsdp, params_dtype: bfloat16}: strategy.params_dtype: "
        "bfloat16 parameters cannot be computed with in float32"
    ]
