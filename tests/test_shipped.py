"""What ships works: every sweep file loads and plans."""

from importlib import resources
from pathlib import Path

import pytest

from neft_ray.config.load import load_sweep
from neft_ray.plan import make_plan

ROOT = Path(__file__).parent.parent
SWEEPS = sorted((ROOT / "sweeps").rglob("*.yaml"))


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: str(file.relative_to(ROOT / "sweeps")))
def test_a_shipped_sweep_loads_and_plans(file):
    plan = make_plan(load_sweep(file), num_steps=100)
    assert plan.arms and all(arm.num_trials for arm in plan.arms)
    up = "../" * len(file.relative_to(ROOT).parent.parts)
    assert file.read_text().startswith(
        f"# yaml-language-server: $schema={up}docs/sweep.schema.json\n"
    )


def test_sweep_files_are_in_the_package():
    with resources.as_file(resources.files("neft_ray") / "sweeps") as inside:
        found = {file.relative_to(inside) for file in inside.rglob("*.yaml")}
    assert found == {file.relative_to(ROOT / "sweeps") for file in SWEEPS}
    assert Path("paper/llama2-7b-alpaca.yaml") in found
