"""What a person reads about a faulty sweep file."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.config_files import EXAMPLE, changed, problems

FAULTS = [
    (
        ("name: alpaca", "name: my sweep"),
        "x.yaml:1: name: got the text 'my sweep'; use letters, digits, dots, dashes and "
        "underscores; a letter or digit first, 100 at most",
    ),
    (
        ("dtype: bfloat16", "dtype: flaot32"),
        "x.yaml:3: model.dtype: got the text 'flaot32'; did you mean 'float32'?",
    ),
    (
        ("  train: tatsu-lab/alpaca\n", "\n"),
        "x.yaml:4: data.train: missing; write a text that is not empty",
    ),
    (
        ("max_length_tokens: 512", "max_length_tokens: 4"),
        "x.yaml:8: data.max_length_tokens: got 4; write a whole number at least 8",
    ),
    (
        ("noise: {alpha: 5,", "noise: {alhpa: 5,"),
        "x.yaml:10: noise.alhpa: unknown key; did you mean 'alpha'?",
    ),
    (
        ("learning_rate: 5e-5", "learning_rate: '5e-5'"),
        "x.yaml:11: optimizer.learning_rate: got the text '5e-5'; write a number above 0",
    ),
    (
        ("warmup_fraction: 0.03", "warmup_fraction: 1"),
        "x.yaml:11: optimizer.warmup_fraction: got 1; write a number at least 0 and below 1",
    ),
    (
        ("clip_norm: 1}", "clip_norm: .inf}"),
        "x.yaml:11: optimizer.clip_norm: got inf, which is not finite; "
        "write a number above 0 or null",
    ),
    (
        ("size_examples: 128", "size_examples: 1.5"),
        "x.yaml:12: batch.size_examples: got 1.5; write a whole number at least 1",
    ),
    (
        ("strategy: {kind: ddp}", "strategy: {kind: dpp}"),
        "x.yaml:14: strategy.kind: unknown kind 'dpp'; did you mean 'ddp'?",
    ),
    (
        ("workers: {num: 8, gpus: 1, cpus: 4}", "workers: 8"),
        "x.yaml:15: workers: got 8; write a section with the keys num, gpus, cpus, "
        "timeout_seconds, grow_after_seconds",
    ),
    (
        ("noise.alpha: {choice: [5, 10, 15]}", "noise.alpha: {chioce: [5, 10, 15]}"),
        "x.yaml:18: sweep.space.noise.alpha: unknown kind of range 'chioce'; "
        "did you mean 'choice'?",
    ),
    (
        ("{loguniform: [1e-5, 2e-4]}", "{loguniform: [1e-5, 2e-4], choice: [1]}"),
        "x.yaml:19: sweep.space.optimizer.learning_rate: got a section; write a section with "
        "exactly one of choice, uniform, loguniform, int_range",
    ),
    (
        ("control: {noise.alpha: 0}", "control: {}"),
        "x.yaml:20: sweep.control: got an empty section; "
        "write a section of `key: value` lines or null",
    ),
    (
        ("at: best}", "at: bset}"),
        "x.yaml:21: sweep.objective.at: got the text 'bset'; did you mean 'best'?",
    ),
    (
        ("{kind: optuna, seed: 0}", "{kind: optnua, seed: 0}"),
        "x.yaml:22: sweep.searcher.kind: unknown kind 'optnua'; did you mean 'optuna'?",
    ),
    (
        ("{kind: asha, grace_steps: 100, eta: 4}", "{kind: asha, eta: 4}"),
        "x.yaml:23: sweep.scheduler: needs one of grace_steps and grace_tokens; "
        "write how long no trial is cut",
    ),
    (
        ("num_trials: 16", "num_trials: true"),
        "x.yaml:24: sweep.num_trials: got true; write a whole number at least 1 or null",
    ),
    (
        ("seeds: [0, 1, 2, 3, 4]", "seeds: [0, 1, 2, 1]"),
        "x.yaml:25: sweep.finalists.seeds: 1 is listed twice; list every value once",
    ),
    (
        ("mlflow: {uri: null, experiment: alpaca}", "mlflow: {uri: null, uri: null}"),
        "x.yaml:26: mlflow.uri: written twice, first on line 26; keep one",
    ),
]


@pytest.mark.parametrize(("change", "message"), FAULTS)
def test_a_problem_names_line_key_value_and_remedy(change, message):
    assert problems(changed(change)) == [message]


@settings(max_examples=60, derandomize=True, deadline=None, database=None)
@given(st.lists(st.sampled_from(FAULTS), min_size=1, unique=True))
def test_all_problems_are_reported_together_in_the_order_of_the_file(faults):
    found = problems(changed(*(change for change, _ in faults)))
    assert sorted(found) == sorted(message for _, message in faults)
    lines = [int(problem.split(":")[1]) for problem in found]
    assert lines == sorted(lines)


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        (
            ("{loguniform: [1e-5, 2e-4]}", "[1e-5, 2e-4]"),
            [
                "x.yaml:19: sweep.space.optimizer.learning_rate: got a list of 2; write a section "
                "with exactly one of choice, uniform, loguniform, int_range"
            ],
        ),
        (
            ("{loguniform: [1e-5, 2e-4]}", "{loguniform: [1e-5]}"),
            [
                "x.yaml:19: sweep.space.optimizer.learning_rate.loguniform: got a list of 1; "
                "write [low, high], each a number above 0"
            ],
        ),
        (
            ("{choice: [5, 10, 15]}", "{choice: [5, [10], {}]}"),
            [
                "x.yaml:18: sweep.space.noise.alpha.choice[1]: got a list of 1; "
                "write true or false or a whole number or a number or a text or null",
                "x.yaml:18: sweep.space.noise.alpha.choice[2]: got an empty section; "
                "write true or false or a whole number or a number or a text or null",
            ],
        ),
        (
            ("{kind: optuna, seed: 0}", "optuna"),
            [
                "x.yaml:22: sweep.searcher: got the text 'optuna'; "
                "write a section with a `kind`: grid, random, quasi_random, optuna, bohb"
            ],
        ),
        (
            ("{kind: optuna, seed: 0}", "{seed: 0}"),
            [
                "x.yaml:22: sweep.searcher.kind: missing; "
                "write a section with a `kind`: grid, random, quasi_random, optuna, bohb"
            ],
        ),
        (
            ("strategy: {kind: ddp}", "learning_rate: 1\nnosie: {alpha: 5}"),
            [
                "x.yaml:14: learning_rate: unknown key; did you mean 'optimizer.learning_rate'?",
                "x.yaml:15: nosie: unknown key; did you mean 'noise'?",
            ],
        ),
        (
            ("strategy: {kind: ddp}", "strategy: {kind: ddp}\nkeep_checkpoints: 1"),
            ["x.yaml:15: keep_checkpoints: unknown key; did you mean 'sweep.keep_checkpoints'?"],
        ),
        (
            ("{kind: asha, grace_steps: 100, eta: 4}", "{kind: none, eta: 4}"),
            ["x.yaml:23: sweep.scheduler.eta: not a key of this kind; known: kind"],
        ),
    ],
)
def test_wrong_shapes_are_explained_in_plain_words(change, messages):
    assert problems(changed(change)) == messages


@pytest.mark.parametrize(
    ("num", "message"),
    [
        ("[8, 4]", "workers.num: the least, 8, is more than the most, 4; write [4, 8]"),
        ("[0, 4]", "workers.num[0]: got 0; write a whole number at least 1"),
    ],
)
def test_a_range_of_workers_goes_from_the_least_to_the_most(num, message):
    found = problems(changed(("workers: {num: 8, ", f"workers: {{num: {num}, ")))
    assert found[-1] == f"x.yaml:15: {message}"


def test_a_worker_has_whole_gpus_or_a_part_of_one():
    assert problems(EXAMPLE, "workers.gpus=2") == problems(EXAMPLE, "workers.gpus=0.5") == []
    (found,) = problems(EXAMPLE, "workers.gpus=1.5")
    assert found.endswith("workers.gpus: 1.5 is neither whole GPUs nor a part of one; round it")


def test_a_name_that_is_too_long_is_told_what_a_name_is():
    (found,) = problems(EXAMPLE, f"name={'a' * 101}")
    assert found.endswith("a letter or digit first, 100 at most")


def test_a_value_that_cannot_be_read_is_one_problem():
    assert problems(changed(("{alpha: 5,", "{alpha: !mine 5,"))) == [
        "x.yaml:10: noise.alpha: cannot use the tag '!mine' of '5'; write a plain value"
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.yaml:1: empty; write `key: value` lines"),
        ("- a\n- b\n", "x.yaml:1: got a list of 2; write `key: value` lines"),
        ("name: a\n\tb: c\n", "x.yaml:2: a tab where YAML wants spaces; indent with spaces"),
    ],
)
def test_a_text_that_is_no_section_is_one_problem(text, message):
    assert problems(text) == [message]
