"""Loading sweep files: messages, `--set`, and back to YAML."""

import pickle
import subprocess
import sys

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from neft_ray.config.load import dump_sweep, load_sweep, parse_sweep
from neft_ray.config.space import Choice, LogUniform
from neft_ray.errors import UserError
from tests.unit.config_files import EXAMPLE, FILE, changed, problems


def test_the_example_of_the_design_loads_as_written():
    sweep = load_sweep(FILE)
    assert sweep.name == "alpaca"
    assert sweep.optimizer.learning_rate == 5e-5
    assert sweep.noise.alpha == 5.0
    assert sweep.sweep.space == {
        "noise.alpha": Choice(choice=(5, 10, 15)),
        "optimizer.learning_rate": LogUniform(loguniform=(1e-5, 2e-4)),
    }
    assert sweep.sweep.finalists.seeds == (0, 1, 2, 3, 4)
    assert sweep.trial.config_hash == load_sweep(FILE).trial.config_hash


def test_an_option_replaces_one_value():
    sweep = parse_sweep(EXAMPLE, "x.yaml", ["noise.alpha=15", "model.dtype=float32"])
    assert (sweep.noise.alpha, sweep.model.dtype) == (15.0, "float32")
    assert sweep.noise.distribution == "uniform"


def test_the_last_option_wins():
    assert parse_sweep(EXAMPLE, "x", ["noise.alpha=1", "noise.alpha=2"]).noise.alpha == 2.0


def test_an_option_makes_the_sections_above_it():
    text = changed(("mlflow: {uri: null, experiment: alpaca}", "# no mlflow"))
    assert parse_sweep(text, "x", ["mlflow.experiment=e"]).mlflow.experiment == "e"


@pytest.mark.parametrize(
    "option",
    [
        "sweep.space={noise.alpha: {choice: [1, 2]}, optimizer.learning_rate: {choice: [1e-4]}}",
        "sweep.space.noise.alpha={choice: [1, 2]}",
        "sweep.space.noise.alpha.choice=[1, 2]",
    ],
)
def test_an_option_reaches_dotted_keys_of_the_space(option):
    space = parse_sweep(EXAMPLE, "x", [option]).sweep.space
    assert list(space) == ["noise.alpha", "optimizer.learning_rate"]
    assert space["noise.alpha"] == Choice(choice=(1, 2))


def test_an_option_reaches_dotted_keys_of_the_control_arm():
    assert parse_sweep(EXAMPLE, "x", ["sweep.control.noise.alpha=1"]).sweep.control == {
        "noise.alpha": 1
    }


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("noise.alpha=-1", "noise.alpha: got -1; write a number at least 0"),
        ("noise.alhpa=3", "noise.alhpa: unknown key; did you mean 'alpha'?"),
        ("noise={alhpa: 3}", "noise.alhpa: unknown key; did you mean 'alpha'?"),
        (
            "sweep.scheduler={kind: asha}",
            "sweep.scheduler: needs one of grace_steps and grace_tokens; "
            "write how long no trial is cut",
        ),
        (
            "sweep.space.noise.alpha={choice: [-1]}",
            "sweep.space.noise.alpha: got -1; write a number at least 0",
        ),
        (
            "sweep.space.noise.alhpa={choice: [1]}",
            "sweep.space.noise.alhpa: not a setting of the trial; did you mean 'noise.alpha'?",
        ),
        ("name.x=1", "name.x: name is not a section; set name as a whole"),
        ("noise={alpha: 1, alpha: 2}", "noise.alpha: written twice, first on line 1; keep one"),
    ],
)
def test_a_problem_of_an_option_names_the_option(option, message):
    assert problems(EXAMPLE, option) == [f"--set {option}: {message}"]


@pytest.mark.parametrize("option", ["noise.alpha", "=3", "noise.alpha=", ""])
def test_an_option_without_key_or_value_is_refused(option):
    assert problems(EXAMPLE, option) == [f"--set {option}: not a setting; write --set key=value"]


def test_problems_of_file_and_options_come_together():
    text = changed(("name: alpaca", "name: my sweep"))
    found = problems(text, "oops", "noise.alpha=[", "batch.kind=paded")
    assert [problem.split(": ")[0] for problem in found] == [
        "x.yaml:1",
        "--set batch.kind=paded",
        "--set oops",
        "--set noise.alpha=[",
    ]


def test_an_option_can_mend_the_file():
    text = changed(("noise: {alpha: 5,", "noise: {alpha: -5,"))
    assert parse_sweep(text, "x.yaml", ["noise.alpha=5"]) == load_sweep(FILE)


def test_a_dumped_config_loads_back_equal():
    sweep = load_sweep(FILE)
    assert parse_sweep(dump_sweep(sweep), "dumped") == sweep


WORDS = st.sampled_from(["no", "1e-4", "5", "null", "0o7", "a: b", "#", "é\n\n α", "~", "'", "<<"])


@settings(max_examples=40, derandomize=True, deadline=None, database=None)
@given(text=WORDS | st.text(min_size=1), values=st.lists(st.floats(1e-9, 1e9), min_size=1))
def test_any_text_and_number_survives_dump_and_load(text, values):
    sweep = load_sweep(FILE)
    data = sweep.data.model_copy(update={"template": text})
    choice = Choice(choice=tuple(dict.fromkeys(values)))
    search = sweep.sweep.model_copy(update={"space": {"noise.alpha": choice}})
    sweep = sweep.model_copy(update={"data": data, "sweep": search})
    dumped = dump_sweep(sweep)
    assert parse_sweep(dumped, "dumped") == sweep
    assert yaml.safe_load(dumped) == sweep.model_dump(mode="json"), "a YAML 1.1 reader differs"


def test_a_file_that_cannot_be_read_is_one_problem(tmp_path):
    def message(path):
        with pytest.raises(UserError) as error:
            load_sweep(path)
        return str(error.value).replace(str(tmp_path), "DIR")

    (tmp_path / "latin.yaml").write_bytes(b"name: a\nstorage: \xe9\n")
    (tmp_path / "large.yaml").write_bytes(b"#" * 1_000_001)
    missing = "name a sweep file that exists"
    assert message(tmp_path / "no.yaml") == f"DIR/no.yaml: No such file or directory; {missing}"
    assert message(tmp_path) == f"DIR: Is a directory; {missing}"
    assert message(tmp_path / "latin.yaml") == (
        "DIR/latin.yaml:2: not UTF-8 text; save the file as UTF-8"
    )
    assert message(tmp_path / "large.yaml") == (
        "DIR/large.yaml: larger than 1000000 bytes; name a sweep file, not data"
    )


def test_the_error_crosses_a_process_boundary():
    with pytest.raises(UserError) as error:
        parse_sweep("a: 1", "x.yaml")
    assert pickle.loads(pickle.dumps(error.value)).problems == error.value.problems


def test_loading_a_file_imports_no_framework():
    code = (
        "import sys; from pathlib import Path; from neft_ray.config.load import load_sweep; "
        f"load_sweep(Path({str(FILE)!r})); "
        "print({'torch', 'ray', 'transformers', 'mlflow', 'datasets', 'numpy'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
