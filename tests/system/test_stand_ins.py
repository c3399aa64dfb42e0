"""Every recipe runs as a stand-in, from its data to an exported model that is evaluated."""

import json
import math

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from neft_ray.config.load import load_sweep
from neft_ray.config.recipes import recipes
from neft_ray.journal import COMPLETED, STOPPED, read_records
from neft_ray.run_directory import find_runs
from tests.system.runs import neft_ray

IN_SHORT = "paper/llama2-7b-alpaca"
OF_THEIR_OWN = ("quickstart", "controls", "alpaca-260k")
"""Small already."""


def cases():
    for recipe in recipes():
        if recipe.name not in OF_THEIR_OWN:
            marks = [] if recipe.name == IN_SHORT else [pytest.mark.slow]
            yield pytest.param(recipe, marks=marks, id=recipe.name)


@pytest.mark.parametrize("recipe", list(cases()))
def test_a_recipe_runs_as_a_stand_in_to_its_end(recipe, tmp_path):
    done = neft_ray(
        *("sweep", recipe.name, "--stand-in", "--set", f"storage={tmp_path}"), cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = find_runs(tmp_path)
    given, made = load_sweep(recipe.file), load_sweep(run.config_file)
    records = list(read_records(run.journal_file).values())
    assert all(record.status in (COMPLETED, STOPPED) for record in records)
    assert all(
        math.isfinite(report.metrics["select_loss"]) for r in records for report in r.reports
    )
    assert {record.arm for record in records} == set(given.sweep.arms)
    finalists = [record for record in records if record.phase == "finalist"]
    assert len(finalists) == 2 * len(given.sweep.arms)
    assert all("answer_words" in record.reports[-1].metrics for record in finalists)
    assert made.strategy == given.strategy and made.noise == given.noise
    swaps = run.manifest["stand_in"]
    assert swaps and all(f"stand-in {swap}" in done.stdout for swap in swaps)
    assert json.loads((run.report / "results.json").read_text())["headline"].startswith(
        "A stand-in"
    )
    prompts = tmp_path / "prompts.json"
    prompts.write_text(json.dumps([{"instruction": "Who sold the lamp?"}]))
    asked = ("evaluate", "latest", "--on", prompts, "--set", "decoding.max_new_tokens=8")
    evaluated = neft_ray(*asked, "--storage", tmp_path)
    assert evaluated.returncode == 0, evaluated.stdout + evaluated.stderr
    assert list((run.root / "evaluation" / "prompts").glob("t*-against-t*/index.html"))
    model = AutoModelForCausalLM.from_pretrained(run.best_model)
    assert model.config.vocab_size == len(AutoTokenizer.from_pretrained(run.best_model))
