"""What is gathered of a run: budgets, the best trial, what went wrong, whether it has finished."""

import math

import pytest

from neft_ray.errors import UserError
from neft_ray.report import gather
from neft_ray.tracking.points import MetricsLog
from tests.unit.report_runs import ALPHA, RATE, SyntheticRun, small_run


def test_a_driven_trial_is_running(root):
    synthetic = SyntheticRun(root)
    synthetic.trial(status=None)
    run = synthetic.done()
    with run.owned():
        assert gather(run).trials[0].status == "running"
    assert gather(run).trials[0].status == "interrupted"


def test_budgets_count_steps_spent_and_saved(root):
    synthetic = SyntheticRun(root, num_trials=3)
    synthetic.trial()
    synthetic.trial(select=(4,), status="stopped")
    number = synthetic.trial(select=(4,), status="diverged", reason="loss is nan")
    log = MetricsLog(synthetic.run.trial(number) / "metrics.jsonl")
    log.log(13, {"train_loss": math.nan})
    log.close()
    arm = gather(synthetic.done()).treatment
    assert (len(arm.trials), arm.num_planned, len(arm.cut)) == (3, 3, 1)
    assert (arm.steps, arm.full_steps, arm.saved_steps) == (40 + 10 + 13, 120, 30)


def test_a_grid_is_planned_without_what_the_control_fixes(root):
    space = {ALPHA: {"choice": [5, 10]}, RATE: {"choice": [1e-3, 2e-3, 3e-3]}}
    run = SyntheticRun(root, space=space, searcher={"kind": "grid"}, num_trials=None).done()
    results = gather(run)
    assert (results.treatment.num_planned, results.control.num_planned) == (6, 3)


def test_a_run_is_finished_when_its_journal_says_so(root, tmp_path):
    assert gather(small_run(root)).is_finished
    assert not gather(small_run(tmp_path / "b", finished=False)).is_finished


def test_all_trials_diverged_is_a_finished_run_without_a_best_trial(root):
    synthetic = SyntheticRun(root, num_trials=1)
    for arm in ("treatment", "control"):
        synthetic.trial(arm, select={10: math.nan}, status="diverged", reason="loss is nan")
    results = gather(synthetic.done(finished=True))
    assert results.is_finished
    assert (results.best, results.treatment.best) == (None, None)
    assert "none of its trials has a finite select loss" in results.no_lift_reason


def test_problems_carry_their_reasons(root):
    synthetic = SyntheticRun(root)
    synthetic.trial()
    synthetic.trial(crashes=("node lost", "node lost"))
    synthetic.trial(status="failed", reason="out of memory", crashes=("worker died",))
    assert [trial.problem for trial in gather(synthetic.done()).with_problems] == [
        "crashed 2× (node lost)",
        "out of memory; crashed 1× (worker died)",
    ]


def test_objective_at_end_ranks_by_the_last_loss(root):
    synthetic = SyntheticRun(root, objective={"at": "end"})
    synthetic.trial(select=(4, 3.0, 3.5, 3.9))
    synthetic.trial(select=(4, 3.6, 3.5, 3.4))
    results = gather(synthetic.done())
    assert results.treatment.best.name == results.best.name == "t001"
    assert results.treatment.best_report.step == 40


def test_a_trial_that_diverged_in_training_has_no_loss_at_the_end(root):
    synthetic = SyntheticRun(root, objective={"at": "end"})
    synthetic.trial(select=(3.0, 2.0), status="diverged", reason="the training loss is not finite")
    synthetic.trial(select=(4, 3.6, 3.5, 3.4))
    results = gather(synthetic.done())
    assert results.best.name == "t001"
    assert results.trials[0].record.objective("end") == math.inf
    assert results.trials[0].record.objective("best") == 2.0


def test_rungs_are_those_of_asha(root, tmp_path):
    assert gather(small_run(root)).rungs == (10, 20)
    assert gather(small_run(tmp_path / "b", scheduler={"kind": "none"})).rungs == ()


def test_a_damaged_journal_is_a_clear_error(root):
    run = small_run(root)
    lines = run.journal_file.read_bytes().split(b"\n")
    run.journal_file.write_bytes(b"\n".join([lines[0], b"{torn", *lines[1:]]))
    with pytest.raises(UserError, match="is damaged"):
        gather(run)
