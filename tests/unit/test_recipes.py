"""Recipes: found by name, described by heads that agree with their files and docs/paper.md."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from neft_ray.cli.app import app
from neft_ray.config.load import load_sweep
from neft_ray.config.recipes import find_sweep_file, folder, recipes
from tools import paper

NAMED = {recipe.name: recipe for recipe in recipes()}
PRICED = [recipe for recipe in recipes() if "size" in recipe.facts]
PAPER = [recipe for recipe in recipes() if recipe.name.startswith("paper/")]


def test_a_recipe_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = folder() / "paper" / "llama2-7b-alpaca.yaml"
    assert find_sweep_file("paper/llama2-7b-alpaca") == expected
    assert find_sweep_file("paper/llama2-7b-alpaca.yaml") == expected


def test_a_file_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("quickstart.yaml").write_text("mine")
    assert find_sweep_file("quickstart.yaml") == Path("quickstart.yaml")


@pytest.mark.parametrize("given", ["nothing", "../pyproject", "/etc/passwd", "paper"])
def test_what_is_no_recipe_stays_as_it_was_given(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_sweep_file(given) == Path(given)


def test_commands_take_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["validate", "quickstart", "ablations/distribution"])
    assert result.exit_code == 0, result.output
    assert result.output.count(": ok") == 2


def test_the_list_has_every_recipe_with_its_figures():
    listed = CliRunner().invoke(app, ["recipes"], env={"COLUMNS": "300"}).output
    assert all(name in listed for name in NAMED)
    assert "29.79 → 64.69" in listed
    found = CliRunner().invoke(app, ["recipes", "ablations/"], env={"COLUMNS": "300"}).output
    assert "ablations/epochs" in found and "paper/" not in found


@pytest.mark.parametrize("recipe", recipes(), ids=lambda recipe: recipe.name)
def test_a_recipe_is_named_as_its_file_and_says_what_it_is(recipe):
    assert load_sweep(recipe.file).name == Path(recipe.name).name
    assert len(recipe.title) > 10


@pytest.mark.parametrize("recipe", PRICED, ids=lambda recipe: recipe.name)
def test_the_cost_in_a_head_follows_from_its_file(recipe):
    assert recipe.facts["cost"] == paper.cost_text(recipe), "run `python -m tools.paper`"
    assert {"memory", "node"} <= recipe.facts.keys()
    assert "p5_spot" in recipe.facts["node"]
    assert "p5_spot:" in (paper.PAGE.parents[1] / "clusters" / "aws.yaml").read_text()


def test_the_page_has_the_table_of_the_heads():
    text = paper.PAGE.read_text()
    assert text == paper.page(text), "run `python -m tools.paper`"
    assert all(f"`{recipe.name}`" in text for recipe in PAPER)


def test_rows_of_the_paper_have_its_hyper_parameters():
    assert len(PAPER) >= 11
    for recipe in PAPER:
        config = load_sweep(recipe.file)
        assert "paper" in recipe.facts
        assert config.sweep.space["noise.alpha"].corners == (5, 10, 15)
        assert config.sweep.control == {"noise.alpha": 0}
        assert config.model.dtype == "bfloat16"
        if config.model.quantization is not None:
            assert config.training.epochs == 1
            continue
        large = "70b" in recipe.name
        assert config.strategy.kind == "fsdp" and config.training.epochs == 3
        assert config.optimizer.learning_rate == (2e-5 if large else 5e-5)
        assert config.optimizer.weight_decay == (0.1 if large else 0)
        assert config.batch.size_examples == (64 if large else 128)
        assert config.data.max_length_tokens == (2048 if large else 512)
        assert (config.optimizer.schedule, config.optimizer.clip_norm) == ("cosine", 1)
        assert config.optimizer.warmup_fraction == 0.03


def test_figures_that_are_not_verified_say_so():
    for recipe in PAPER:
        figures = recipe.facts["paper"]
        verified = re.search(r"abstract|leaderboard", figures)
        assert verified or "second-hand" in figures or figures.startswith("unknown"), recipe.name
