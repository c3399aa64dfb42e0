"""Which finalists the lift compares, at which steps, and which it leaves out."""

import numpy as np
import pytest

from neft_ray.report import gather
from neft_ray.report.lift import HELPS, NO_EVIDENCE
from tests.unit.report_runs import COUNTS, SyntheticRun, small_run


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
