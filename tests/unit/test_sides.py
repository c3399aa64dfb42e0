"""Which model a reference means: the best, a trial, an arm's best, a folder; at which step."""

import json

import pytest

from neft_ray.config.evaluation import EvaluationConfig
from neft_ray.errors import UserError
from neft_ray.pipeline import sides
from neft_ray.pipeline.evaluate import Evaluation, Request
from neft_ray.pipeline.sides import find_side
from neft_ray.run_directory import RunDirectory
from neft_ray.train import stored
from tests.unit.report_runs import SyntheticRun


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A run with three trials whose exports are folders that name their step."""

    def export(run, record, config, target, remark):
        target.mkdir(parents=True)
        return int(target.name.removeprefix("step-"))

    monkeypatch.setattr(sides, "export_trial", export)
    made = SyntheticRun(tmp_path / "runs" / "one")
    for arm, losses in (
        ("treatment", (4.0, 3.5)),
        ("treatment", (4.0, 3.1)),
        ("control", (4.0, 3.3)),
    ):
        number = made.trial(arm, 0 if arm == "control" else 5, select=losses)
        made.run.trial(number).mkdir(parents=True, exist_ok=True)
        config = made.config.trial.model_dump_json()
        (made.run.trial(number) / "config.json").write_text(config)
        checkpoint(made, number, 10)
        checkpoint(made, number, 20)
    made.journal.close()
    return made


def checkpoint(made, number, step):
    folder = stored.folder_of(made.run.checkpoints(number), step)
    folder.mkdir(parents=True)
    (folder / "state.json").write_text("{}")


def side(made, reference):
    found = find_side(reference, made.run.root.parent, "question")
    return found.short, found.step


def test_references_mean_trials(made):
    assert side(made, "one") == side(made, "latest:best") == ("t001", 20)
    assert side(made, "one:treatment") == ("t001", 20)
    assert side(made, "one:control") == ("t002", 20)
    assert side(made, "one:t000") == ("t000", 20)


def test_the_published_model_is_the_best_one(made):
    made.run.best_model.mkdir()
    (made.run.best_model / "neft_ray.json").write_text(json.dumps({"trial": "t000"}))
    found = find_side("one", made.run.root.parent, "question")
    assert (found.short, found.model.path) == ("t000", str(made.run.best_model))


def test_a_trial_that_went_on_is_exported_again(made):
    assert side(made, "one:t000") == ("t000", 20)
    stored.delete(made.run.checkpoints(0), 20)
    assert side(made, "one:t000") == ("t000", 10), "of the checkpoints that are left"
    folders = sorted(path.name for path in (made.run.root / "models" / "t000").iterdir())
    assert folders == ["step-000010", "step-000020"]
    stored.delete(made.run.checkpoints(0), 10)
    assert side(made, "one:t000") == ("t000", 20), "no checkpoint is left, but what was exported"


def test_the_other_arm_is_the_control_or_for_a_control_the_treatment(made):
    storage = made.run.root.parent
    assert find_side("one", storage, "question").other_arm == f"{made.run.root}:control"
    assert find_side("one:control", storage, "question").other_arm == f"{made.run.root}:treatment"
    assert find_side("builtin:base", storage, "question").other_arm is None


def test_a_folder_and_an_address_in_a_bucket_may_have_colons(made, tmp_path, monkeypatch):
    odd = tmp_path / "try:2"
    made.run.root.parent.rename(odd)
    control = find_side(f"{odd / 'one'}:control", tmp_path, "question")
    assert (control.short, find_side(control.other_arm, tmp_path, "question").short) == (
        "t002",
        "t001",
    )
    assert find_side(f"{odd / 'one'}", tmp_path, "question").short == "t001"
    asked = []

    def find_run(reference, storage):
        asked.append(reference)
        return RunDirectory(odd / "one")

    monkeypatch.setattr(sides, "find_run", find_run)
    assert find_side("s3://bucket/runs/one:t000", tmp_path, "question").short == "t000"
    assert find_side("s3://bucket/runs/one", tmp_path, "question").short == "t001"
    assert asked == ["s3://bucket/runs/one"] * 2


def test_a_trial_of_which_nothing_is_left_is_trained_again_where_the_others_were(made, monkeypatch):
    asked = []

    def rebuild(run, record, address):
        asked.append((record.number, address))
        checkpoint(made, record.number, 20)

    monkeypatch.setattr(sides, "rebuild_trial", rebuild)
    storage = made.run.root.parent
    find_side("one:t000", storage, "question", rebuild=True, address="ray://head")
    assert not asked, "its checkpoints are left"
    for step in (10, 20):
        stored.delete(made.run.checkpoints(1), step)
    with pytest.raises(UserError, match="no checkpoint of t001 is left"):
        find_side("one:t001", storage, "question")
    found = find_side("one:t001", storage, "question", rebuild=True, address="ray://head")
    assert asked == [(1, "ray://head")] and found.step == 20


def test_what_cannot_be_found_is_told(made, tmp_path):
    with pytest.raises(UserError, match="has no trial t009; its trials are t000 to t002"):
        side(made, "one:t009")
    with pytest.raises(UserError, match="no such run"):
        side(made, "two")
    with pytest.raises(UserError, match="no chat template; say how it was tuned: --set template="):
        find_side("builtin:base", tmp_path)


def test_two_models_of_one_name_are_refused_before_either_answers(tmp_path):
    folders = [tmp_path / name / "best_model" for name in ("one", "other")]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    request = Request(str(folders[0]), "builtin:tales", str(folders[1]), tmp_path)
    config = EvaluationConfig(template="question")
    with pytest.raises(UserError, match=r"best_model: is the name of both .*; rename a folder"):
        Evaluation(request, config, None, None).run()
    assert not list(tmp_path.glob("evaluation/**"))
