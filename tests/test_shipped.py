"""What ships works: every sweep file loads and plans."""

from importlib import resources
from pathlib import Path

import pytest

from neft_ray.config.load import load_sweep
from neft_ray.plan import make_plan

ROOT = Path(__file__).parent.parent
SWEEPS = sorted((ROOT / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.name)
def test_a_shipped_sweep_loads_and_plans(file):
    plan = make_plan(load_sweep(file), num_steps=100)
    assert plan.arms and all(arm.num_trials for arm in plan.arms)
    assert file.read_text().startswith("# yaml-language-server: $schema=../docs/sweep.schema.json")


def test_sweep_files_are_in_the_package():
    inside = resources.files("neft_ray") / "sweeps"
    assert {file.name for file in inside.iterdir()} == {file.name for file in SWEEPS}
