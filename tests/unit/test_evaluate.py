"""An evaluation of two models: whose measures are whose."""

import json
import shutil
from pathlib import Path

import pytest

from neft_ray.config.evaluation import EvaluationConfig
from neft_ray.model import resolve_path
from neft_ray.pipeline import evaluate
from neft_ray.pipeline.evaluate import Evaluation, Request
from neft_ray.run_directory import find_run
from neft_ray.working_copy import here
from tests.unit.report_runs import SyntheticRun

SETTINGS = {"template": "question", "max_prompts": 2, "decoding": {"max_new_tokens": 4}}


class View:
    """Nobody looks."""

    def progress(self, what, num_done, num):
        pass

    def confirm(self, what):
        return False


@pytest.fixture
def evaluated(tmp_path):
    """Evaluate a model against another one on two prompts."""
    prompts = tmp_path / "people.json"
    rows = [{"instruction": f"What did {name} do?"} for name in ("Mia", "Leo")]
    prompts.write_text(json.dumps(rows))

    def run(what, against, storage=tmp_path):
        request = Request(str(what), str(prompts), str(against), storage)
        config = EvaluationConfig.model_validate(SETTINGS)
        return Evaluation(request, config, None, View()).run()

    return run


def tuned(folder):
    """A run that has ended and left a model."""
    made = SyntheticRun(folder)
    made.trial()
    made.run.trial(0).mkdir(parents=True)
    (made.run.trial(0) / "config.json").write_text(made.config.trial.model_dump_json())
    shutil.copytree(Path(resolve_path("builtin:base")), made.run.best_model)
    (made.run.best_model / "neft_ray.json").write_text(json.dumps({"trial": "t000"}))
    return made.done(finished=True)


def test_trials_of_two_runs_may_have_the_same_number_and_values(evaluated, tmp_path, monkeypatch):
    for name in ("one", "two"):
        tuned(tmp_path / name)
    monkeypatch.setattr(evaluate, "write_report", lambda run: None)
    found = evaluated("one", "two")
    assert set(found.measures) == {"one-t000", "two-t000"}


def test_of_a_run_in_a_bucket_the_evaluation_lies_there_too(
    evaluated, machine, place, monkeypatch, tmp_path
):
    monkeypatch.setattr(evaluate, "write_report", lambda run: run.report.mkdir(exist_ok=True))
    tuned(tmp_path / "other")
    run = tuned(here(place) / "one")
    with run.owned():
        run.config_file.write_text("name: one")
    evaluated("one", tmp_path / "other", here(place))
    replies = next(run.root.glob("evaluation/people/t000/replies.jsonl"))
    machine("second")
    there = find_run("one", here(place)).root / replies.relative_to(run.root)
    assert there != replies and there.read_text() == replies.read_text()
    assert list(there.parents[1].glob("*-against-*/index.html"))
    machine("first")
    with replies.open("a") as file:
        file.write("more, of a process that was killed before it could push\n")
    find_run("one", here(place))
    assert "more, of a process" in replies.read_text()
