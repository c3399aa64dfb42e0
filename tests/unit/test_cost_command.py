"""What `plan` says of time, money, disk and evaluations, and what it refuses."""

import re
from dataclasses import asdict

import numpy as np
import pytest

from neft_ray.cli.planning import Asked
from neft_ray.cli.planning import plan as plan_command
from neft_ray.config.load import dump_sweep
from neft_ray.cost.evaluation import evaluation_share
from neft_ray.data.split import Split
from neft_ray.errors import UserError
from neft_ray.sweep.driver import DataCache
from tests.unit.sweep_runs import sweep_config

GRID = {"searcher": {"kind": "random"}, "num_trials": 4, "scheduler": {"kind": "none"}}


def run_plan(tmp_path, capsys, *overrides, **options):
    config = sweep_config(**GRID)
    file = tmp_path / "x.yaml"
    file.write_text(dump_sweep(config))
    storage = f"storage={tmp_path}/runs"
    overrides = [storage, "workers.cpus=1", *overrides]
    plan_command(file=file, **asdict(Asked(overrides=overrides, **options)))
    return " ".join(capsys.readouterr().out.split())


def test_plan_says_that_it_does_not_know_until_it_has_measured(tmp_path, capsys):
    told = run_plan(tmp_path, capsys, slots=2)
    assert "time unknown: no run here did the same work; --measure" in told
    assert "2 trials at a time" in told and "are free" in told
    told = run_plan(tmp_path, capsys, slots=2, measure=True)
    assert "(5 steps, timed now, without the start of a slot)" in told
    assert "the first result after" in told and "unknown dollars (set sweep.price)" in told


def test_plan_says_how_often_to_evaluate(tmp_path, capsys):
    told = run_plan(tmp_path, capsys, "training.eval_every_steps=1", slots=1)
    enough = int(re.search(r"with training.eval_every_steps: (\d+) they would be a tenth", told)[1])
    data = DataCache(tmp_path / "runs" / "cache").data(sweep_config(**GRID).trial)
    lengths = np.diff(data.offsets)
    trained = 3 * lengths[data.rows(Split.TRAIN)].sum() / 3  # 320 rows are 3 steps of 128
    evaluated = lengths[data.rows(Split.SELECT)].sum()
    for steps in (enough - 1, enough):
        changes = {"training.eval_every_steps": steps, "training.train_loss_rows": 0}
        trial = sweep_config(**GRID).trial.with_values(changes | {"training.epochs": 100})
        found = evaluation_share(trial, data)
        assert found.share == pytest.approx(evaluated / (evaluated + steps * trained))
    told = run_plan(tmp_path, capsys, f"training.eval_every_steps={enough}", slots=1)
    assert "of a trial's operations" in told and "they would be" not in told


def test_plan_refuses_what_does_not_fit(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("neft_ray.cost.forecast.free_bytes", lambda storage: 1000.0)
    with pytest.raises(UserError) as refused:
        run_plan(tmp_path, capsys, "sweep.budget.hours=1e-6", slots=1, measure=True)
    text = str(refused.value)
    assert "1.0 kB are free" in text and "sweep.budget.hours" in text


def test_measuring_several_workers_is_refused(tmp_path, capsys):
    with pytest.raises(UserError, match="measures one worker"):
        run_plan(tmp_path, capsys, "workers.num=2", slots=1, measure=True)
