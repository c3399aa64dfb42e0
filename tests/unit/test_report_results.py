"""What is gathered of a run, and the tables it becomes."""

import csv
import json
import math

import numpy as np
import pytest

from neft_ray.errors import UserError
from neft_ray.report import gather
from neft_ray.report.document import results_json
from neft_ray.report.lift import HELPS, NO_EVIDENCE
from neft_ray.report.tables import evaluations_csv, trials_csv
from neft_ray.tracking.points import MetricsLog
from tests.unit.report_runs import ALPHA, COUNTS, RATE, SyntheticRun, small_run


@pytest.fixture
def root(tmp_path):
    return tmp_path / "run"


def test_lift_is_taken_at_the_best_select_step_and_at_the_end(root):
    lift = gather(small_run(root)).lift
    # select is lowest at step 20; report rows say 3.2 in both arms there, 3.3 and 3.5 at the end
    assert lift.at_best.difference == pytest.approx(0.0)
    assert lift.at_best.verdict == NO_EVIDENCE
    assert lift.at_end.seed_differences == pytest.approx((-0.202, -0.198, -0.202))
    assert lift.at_end.verdict == HELPS
    assert lift.against_early_stopping.difference == pytest.approx(0.1, abs=0.002)
    assert (lift.left_out, lift.at_end.num_rows) == ((), len(COUNTS))


def test_rows_are_matched_by_sample_id(root):
    synthetic = SyntheticRun(root)
    for seed in (1, 2):
        synthetic.pair(seed, {20: 3.0, 40: 3.0}, {20: 3.0, 40: 3.0})
        losses = np.array([1.0, 2.0, 3.0, 4.0])
        synthetic.save_rows(2 * seed - 2, 40, losses, ids=np.arange(4))
        synthetic.save_rows(
            2 * seed - 1, 40, losses[::-1], ids=np.arange(4)[::-1], counts=COUNTS[::-1]
        )
    assert gather(synthetic.done()).lift.at_end.interval == (0.0, 0.0)


def test_different_report_rows_are_not_compared(root):
    synthetic = SyntheticRun(root)
    synthetic.pair(1, {20: 3.0, 40: 3.0}, {20: 3.0, 40: 3.0})
    synthetic.save_rows(1, 40, np.ones(4), counts=COUNTS + 1)
    results = gather(synthetic.done())
    assert results.lift is None
    assert "different report rows" in results.no_lift_reason


def test_the_better_of_two_finalist_configurations_is_compared(root):
    synthetic = SyntheticRun(root, finalists={"num": 2, "seeds": [1, 2]})
    for seed in (1, 2):
        synthetic.pair(seed, {20: 3.3, 40: 3.3}, {20: 3.4, 40: 3.4}, rate=1e-3)
        better = (4, 3.4, 3.6, 3.7)
        synthetic.pair(seed, {20: 9.0, 40: 9.0}, {20: 9.5, 40: 9.5}, rate=2e-3, select=better)
    lift = gather(synthetic.done()).lift
    assert {trial.learning_rate for trial in (*lift.treatment, *lift.control)} == {2e-3}
    assert lift.at_end.difference == pytest.approx(-0.5)


def test_a_lucky_first_seed_does_not_choose_the_configuration(root):
    synthetic = SyntheticRun(root, finalists={"num": 2, "seeds": [1, 2]})
    for seed in (1, 2):
        synthetic.pair(seed, {20: 3.3, 40: 3.3}, {20: 3.4, 40: 3.4}, rate=1e-3)
    synthetic.trial(rate=2e-3, seed=1, rows={20: 3.0, 40: 3.0}, select=(3, 2, 2, 2))
    synthetic.trial(rate=2e-3, seed=2, rows={}, select=(3,), status=None)
    assert {trial.learning_rate for trial in gather(synthetic.done()).lift.treatment} == {1e-3}


def test_unfinished_pairs_are_left_out_and_named(root):
    synthetic = SyntheticRun(root)
    synthetic.pair(1, {20: 3.2, 40: 3.3}, {20: 3.2, 40: 3.5})
    synthetic.trial(seed=2, rows={20: 3.2}, select=(4, 3.5), status=None)
    results = gather(synthetic.done())
    assert not results.is_finished
    assert results.lift.at_end.seeds == (1,)
    assert results.lift.num_planned_seeds == 3
    assert results.lift.left_out == ("treatment run t002 (seed 2): interrupted",)


def test_a_driven_trial_is_running(root):
    synthetic = SyntheticRun(root)
    synthetic.trial(status=None)
    run = synthetic.done()
    with run.owned():
        assert gather(run).trials[0].status == "running"
    assert gather(run).trials[0].status == "interrupted"


def test_a_diverged_finalist_counts_at_its_best_step_only(root):
    synthetic = SyntheticRun(root)
    for seed in (1, 2):
        synthetic.pair(seed, {20: 3.0, 40: 3.0}, {20: 3.2, 40: 3.2})
    synthetic.trial("control", seed=3, rows={20: 3.2, 40: 3.2})
    synthetic.trial(
        seed=3, rows={20: 3.0}, select=(4, 3.5), status="diverged", reason="loss is nan"
    )
    lift = gather(synthetic.done()).lift
    assert (lift.at_best.seeds, lift.at_best.verdict) == ((1, 2, 3), HELPS)
    assert (lift.at_end.seeds, lift.at_end.verdict) == ((1, 2), NO_EVIDENCE)
    assert lift.at_end.num_treatment_diverged == 1
    assert lift.left_out == ("treatment run t005 (seed 3): diverged (loss is nan)",)


def test_rows_that_cannot_be_read_are_named(root):
    run = small_run(root)
    (run.trial(4) / "report_rows" / "step-000040.npz").write_bytes(b"PK\x03\x04 torn")
    (run.trial(5) / "report_rows" / "step-000020.npz").unlink()
    lift = gather(run).lift
    assert (lift.at_end.seeds, lift.at_best.seeds) == ((2, 3), (2, 3))
    assert [reason.split(": ")[1] for reason in lift.left_out] == [
        "report_rows/step-000040.npz cannot be read",
        "report_rows/step-000020.npz cannot be read",
    ]


@pytest.mark.parametrize(
    ("search", "reason"),
    [
        ({"control": None}, "no control arm"),
        ({}, "no finalists yet"),
        ({"finalists": {"num": 0}}, "sweep.finalists.num is 0"),
    ],
)
def test_without_finalists_of_both_arms_the_reason_is_given(root, search, reason):
    synthetic = SyntheticRun(root, **search)
    synthetic.trial()
    results = gather(synthetic.done())
    assert results.lift is None
    assert reason in results.no_lift_reason


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


def test_trials_csv_has_a_line_per_trial_and_every_value(root):
    results = gather(small_run(root))
    rows = list(csv.DictReader(trials_csv(results.trials).splitlines()))
    assert [row["trial"] for row in rows] == [trial.name for trial in results.trials]
    assert (rows[1]["status"], rows[1]["steps"], rows[1]["num_steps"]) == ("stopped", "10", "40")
    assert (rows[1][ALPHA], rows[2][ALPHA], float(rows[1][RATE])) == ("10", "0", 4e-3)
    assert (float(rows[4]["report_loss_at_best"]), float(rows[5]["report_loss_at_end"])) == (
        3.2,
        3.5,
    )


def test_evaluations_csv_has_a_line_per_report(root):
    results = gather(small_run(root))
    rows = list(csv.DictReader(evaluations_csv(results.trials).splitlines()))
    assert len(rows) == sum(len(trial.record.reports) for trial in results.trials)
    assert [float(row["select_loss"]) for row in rows[:4]] == [4.0, 3.5, 3.6, 3.7]
    assert rows[4]["decision"] == "stop"
    assert rows[0]["report_loss"] == ""


def test_results_json_is_strict_complete_and_equal_for_an_equal_run(root):
    synthetic = SyntheticRun(root)
    synthetic.trial(select={10: math.nan}, status="diverged", reason="loss is nan")
    synthetic.trial("control")
    synthetic.pair(1, {20: 3.2, 40: 3.3}, {20: 3.2, 40: 3.5})
    run = synthetic.done()
    text = results_json(gather(run))
    assert text == results_json(gather(run))

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    content = json.loads(text, parse_constant=refuse)
    assert content["trials"][0]["evaluations"][0]["metrics"]["select_loss"] is None
    assert content["lift"]["at_end"]["difference"] == pytest.approx(-0.2)
    assert content["lift"]["at_end"]["verdict"] == NO_EVIDENCE
    assert content["arms"]["control"]["fixed"] == {ALPHA: 0}
    assert content["config"]["sweep"]["num_trials"] == 2
    assert (content["finished"], content["format"]) == (False, 1)


def test_a_damaged_journal_is_a_clear_error(root):
    run = small_run(root)
    lines = run.journal_file.read_bytes().split(b"\n")
    run.journal_file.write_bytes(b"\n".join([lines[0], b"{torn", *lines[1:]]))
    with pytest.raises(UserError, match="is damaged"):
        gather(run)
