"""What a worker does for a finalist beside training: report rows, answers, embedding dropout."""

import json

import pytest

from neft_ray import worker
from neft_ray.order import Order
from neft_ray.run_in_bucket import ANSWERS_FILE
from neft_ray.strategy.models import BaseModels
from neft_ray.working_copy import Pushing
from tests.unit.trial_runs import random_data
from tests.unit.worker_runs import EVERY, STEPS, Link, curve, run_trial, trial_config


@pytest.fixture(scope="module")
def finalist(tmp_path_factory):
    """A finalist's folder and what it reported, by step."""
    folder = tmp_path_factory.mktemp("finalist") / "trial"
    folder.mkdir()
    data = folder.parent / "data"
    random_data().save(data)
    reports = {}

    class Noting(Link):
        def report(self, engine, number, state):
            reports[state.step] = state.metrics
            return False

    config = trial_config({"data.max_length_tokens": 10})
    order = Order(1, config.canonical_json, str(folder), str(data), True, 3)
    ended = worker.run_trial(order, Noting(folder), BaseModels(), Pushing(folder))
    return folder, reports, ended


def test_answers_are_generated_at_the_end_and_reported_there(finalist):
    folder, reports, ended = finalist
    assert ended == ("completed", "")
    with_answers = [step for step, metrics in reports.items() if "answer_words" in metrics]
    assert (list(reports), with_answers) == ([EVERY, 2 * EVERY, STEPS], [STEPS])
    assert len((folder / ANSWERS_FILE).read_text(encoding="utf-8").splitlines()) == 3


def test_answers_are_among_the_points_that_trackers_get(finalist):
    points = (finalist[0] / "metrics.jsonl").read_text().splitlines()
    found = [json.loads(point) for point in points if "answer_words" in point]
    assert [point["step"] for point in found] == [STEPS]


def test_a_trial_of_the_search_answers_nothing(tmp_path):
    run_trial(tmp_path / "trial", trial_config())
    assert not (tmp_path / "trial" / ANSWERS_FILE).exists()
    assert "answer_words" not in (tmp_path / "trial" / "metrics.jsonl").read_text()


def losses(folder, config):
    run_trial(folder, config)
    return [value for _, key, value in curve(folder) if key == "train_loss"]


def test_a_trials_embedding_dropout_acts_and_depends_on_no_micro_batch(tmp_path):
    dropout = {"model.embedding_dropout": 0.3, "noise.alpha": 0.0}
    plain = losses(tmp_path / "plain", trial_config({"noise.alpha": 0.0}))
    whole = losses(tmp_path / "whole", trial_config(dropout | {"batch.micro_tokens": 400}))
    cut = losses(tmp_path / "cut", trial_config(dropout | {"batch.micro_tokens": 31}))
    assert whole == pytest.approx(cut, rel=1e-5)
    assert all(abs(one - other) > 1e-3 for one, other in zip(plain, whole, strict=True))
