"""An evaluation of two models: whose measures are whose."""

import json
import shutil
from pathlib import Path

import pytest

from neft_ray.config.evaluation import EvaluationConfig
from neft_ray.model import resolve_path
from neft_ray.pipeline import evaluate
from neft_ray.pipeline.evaluate import Evaluation, Request
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

    def run(what, against):
        request = Request(str(what), str(prompts), str(against), tmp_path)
        config = EvaluationConfig.model_validate(SETTINGS)
        return Evaluation(request, config, None, View()).run()

    return run


def test_trials_of_two_runs_may_have_the_same_number_and_values(evaluated, tmp_path, monkeypatch):
    for name in ("one", "two"):
        made = SyntheticRun(tmp_path / name)
        made.trial()
        made.run.trial(0).mkdir(parents=True)
        (made.run.trial(0) / "config.json").write_text(made.config.trial.model_dump_json())
        shutil.copytree(Path(resolve_path("builtin:base")), made.run.best_model)
        (made.run.best_model / "neft_ray.json").write_text(json.dumps({"trial": "t000"}))
        made.done(finished=True)
    monkeypatch.setattr(evaluate, "write_report", lambda run: None)
    found = evaluated("one", "two")
    assert set(found.measures) == {"one-t000", "two-t000"}
