"""The JSON schema for editors."""

import json
from pathlib import Path

import jsonschema
import pytest

from neft_ray.config.arm_checks import SHARED_KEYS
from neft_ray.config.keys import TRIAL_KEYS
from neft_ray.config.schema import FILE, main, rendered, sweep_schema
from neft_ray.config.yaml_lines import Reading
from tests.unit.config_files import EXAMPLE

REPOSITORY = Path(__file__).parents[2]


def accepts(text):
    values = json.loads(json.dumps(Reading(text).values))
    return jsonschema.Draft202012Validator(sweep_schema()).is_valid(values)


def test_the_committed_schema_is_up_to_date():
    committed = (REPOSITORY / FILE).read_text(encoding="utf-8")
    assert committed == rendered(), "run `python -m neft_ray.config.schema`"


def test_the_command_writes_the_file(tmp_path, monkeypatch):
    (tmp_path / FILE).parent.mkdir()
    monkeypatch.chdir(tmp_path)
    main()
    assert (tmp_path / FILE).read_text(encoding="utf-8") == rendered()


def test_the_schema_is_valid_json_schema():
    jsonschema.Draft202012Validator.check_schema(sweep_schema())


def test_the_schema_accepts_the_example():
    assert accepts(EXAMPLE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("noise: {alpha: 5", "noise: {alhpa: 5"),
        ("alpha: 5,", "alpha: -5,"),
        ("noise.alpha: {choice", "noise.alhpa: {choice"),
        ("noise.alpha: {choice", "training.seed: {choice"),
        ("control: {noise.alpha", "control: {noise.alhpa"),
        ("{loguniform: [1e-5, 2e-4]}", "{loguniform: [1e-5, 2e-4], choice: [1]}"),
        ("{loguniform: [1e-5, 2e-4]}", "{loguniform: [1e-5]}"),
        ("kind: asha", "kind: ahsa"),
        ("name: alpaca", "nam: alpaca"),
    ],
)
def test_the_schema_refuses(old, new):
    assert old in EXAMPLE
    assert not accepts(EXAMPLE.replace(old, new))


def test_every_setting_of_a_trial_can_be_completed_and_is_described():
    schema = sweep_schema()
    space = schema["$defs"]["SearchConfig"]["properties"]["space"]["properties"]
    assert set(TRIAL_KEYS) - set(space) == set(SHARED_KEYS)
    assert space["noise.alpha"]["description"].startswith("The paper's α")
