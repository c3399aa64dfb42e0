"""What the pages tell a reader to type exists: commands, options, make's targets, YAML keys."""

import re
import shlex
from contextlib import suppress

import pytest
import typer
import yaml
from typer.testing import CliRunner

from neft_ray.cli.app import app
from neft_ray.cli.examples import EXAMPLES
from neft_ray.config.cluster import load_cluster
from neft_ray.config.load import load_sweep
from tests.pages import ROOT, blocks, find_command, mentioned, merged, pages, typed, variants

PAGES = pages()
BASE = yaml.compose("""
name: page
model: {path: builtin:base, dtype: bfloat16}
data: {train: builtin:tales}
training: {eval_every_steps: 10}
workers: {num: 1, gpus: 1}
sweep:
  space: {noise.alpha: {choice: [0, 5, 10, 15]}, optimizer.learning_rate: {loguniform: [1e-5, 0.1]}}
  num_trials: 8
""")
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
living_page = pytest.mark.parametrize(
    "page",
    [
        page for page in PAGES if page.name not in ("LOG.md", "changelog.md")
    ],  # they tell of the past
    ids=lambda page: str(page.relative_to(ROOT)),
)


@every_page
def test_a_command_in_a_block_is_understood_by_the_program(page):
    for words in typed(page, "neft-ray"):
        command, arguments = find_command(words)
        with suppress(typer.Exit):  # --version and --help end there
            command.make_context(words[1], list(arguments))  # raises what a person would be told


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_on_a_help_page_is_understood_by_the_program(name, monkeypatch):
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    shown = CliRunner().invoke(app, [*name.split(), "--help"]).stdout
    for line in EXAMPLES[name]:
        words = shlex.split(line.split(" > ")[0])
        command, arguments = find_command(words)
        command.make_context(name, list(arguments))
        assert command.name == name.split()[-1]
        assert line in shown


def test_every_command_for_people_has_an_example():
    commands = set(typer.main.get_command(app).commands) - {"data", "head", "spot"}
    assert commands | {"data inspect"} == set(EXAMPLES)


@living_page
def test_a_command_in_a_sentence_has_its_name_and_options(page):
    for words in mentioned(page, "neft-ray"):
        if words[1].isupper():  # `neft-ray COMMAND --help`
            continue
        command, arguments = find_command([word.rstrip(",…") for word in words])
        known = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
        given = {word for word in arguments if word.startswith("--")} - {"--help"}
        assert not given - known, words


@living_page
def test_a_target_of_make_exists(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = {words[1] for words in (*typed(page, "make"), *mentioned(page, "make"))}
    assert not named - targets


@every_page
def test_yaml_on_a_page_is_accepted(page, tmp_path):
    """A whole file as it is; a section laid over a whole file; several values one by one."""
    for block in blocks(page, "yaml"):
        for node in variants(yaml.compose(block)):
            keys = {key.value for key, _ in node.value}
            file = tmp_path / "page.yaml"
            if "metadata" in keys:
                ray = "cluster_name: page\nprovider: {type: aws}\n"
                file.write_text(ray + yaml.serialize(node, allow_unicode=True))
                load_cluster(file)
                continue
            is_whole = {"name", "model", "data", "sweep"} <= keys
            whole = node if is_whole else merged(BASE, node)
            file.write_text(yaml.serialize(whole, allow_unicode=True))
            load_sweep(file)


def test_the_pages_have_commands_targets_and_yaml_to_check():
    assert sum(len(typed(page, "neft-ray")) for page in PAGES) > 40
    assert sum(len(mentioned(page, "neft-ray")) for page in PAGES) > 40
    assert sum(len(blocks(page, "yaml")) for page in PAGES) > 10
    assert sum(len(typed(page, "make")) for page in PAGES) > 5


def test_make_alone_prints_its_targets():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)[0] == "help"
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    assert phony == re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE)


def test_the_tour_of_the_code_names_every_part_of_the_package_and_no_other():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.split("| layer |")[1].split("How a sweep runs")[0]
    named = {name.rstrip("/") for name in re.findall(r"`([a-z_]+(?:/|\.py))`", table)}
    found = {path.parent.name for path in (ROOT / "neft_ray").glob("*/__init__.py")}
    found |= {path.name for path in (ROOT / "neft_ray").glob("*.py")} - {"__init__.py"}
    assert named == found
