"""What ships works: every sweep file loads and plans, and every command in the README parses."""

import re
import shlex
from importlib import resources
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from neft_ray.cli.app import app
from neft_ray.config.load import load_sweep
from neft_ray.plan import make_plan

ROOT = Path(__file__).parent.parent
SWEEPS = sorted((ROOT / "sweeps").rglob("*.yaml"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"^(?:\s*|\| `)(neft-ray [^`#|\n]*)", re.MULTILINE)


def commands(page: Path) -> list[str]:
    text = page.read_text().replace("\\\n", " ")
    return [found.strip() for found in COMMAND.findall(text)]


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_on_a_page_parses(page):
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    for line in commands(page):
        for variant in line.replace("[", "").replace("]", "").replace("…", "").split(" | "):
            _, name, *arguments = shlex.split(variant)
            command = group.commands.get(name.rstrip(","))
            assert command is not None, line
            options = {opt for param in command.params for opt in param.opts}
            unknown = {a for a in arguments if a.startswith("--")} - options
            assert not unknown, line


def test_the_readme_has_commands_to_parse():
    assert len(commands(PAGES[0])) > 8
