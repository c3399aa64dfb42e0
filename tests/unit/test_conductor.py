"""The conductor: rungs, budgets of both arms, finalists."""

import math

import pytest

from tests.unit.sweep_runs import (
    ALPHA,
    NUM_STEPS,
    RATE,
    Simulation,
    loss_of,
    of,
    open_conductor,
    sweep_config,
)


@pytest.mark.parametrize("num_slots", [1, 3])
@pytest.mark.parametrize("seed", range(8))
def test_both_arms_spend_equal_budgets_to_within_one_trial(num_slots, seed, tmp_path):
    config = sweep_config(searcher={"kind": "random", "seed": seed}, num_trials=8)
    conductor = Simulation(config, tmp_path, num_slots, seed).run()
    steps = [sum(r.last_step for r in of(conductor, arm)) for arm in ("treatment", "control")]
    assert (
        abs(steps[0] - steps[1]) < NUM_STEPS
        or max(len(of(conductor, arm)) for arm in ("treatment", "control"))
        == 2 * config.sweep.num_trials
    )
    assert all(len(of(conductor, arm)) >= 8 for arm in ("treatment", "control"))


def test_an_arm_whose_trials_all_diverge_gets_no_endless_budget(tmp_path):
    def loss(config, step):
        return math.nan if config.noise.alpha else loss_of(config, step)

    conductor = Simulation(sweep_config(), tmp_path, num_slots=2, loss=loss).run()
    assert len(of(conductor, "treatment")) == 12
    assert {r.status for r in of(conductor, "treatment")} == {"diverged"}
    assert not of(conductor, "treatment", "finalist")
    assert conductor.best_trial().arm == "control"


def test_a_loss_that_is_not_finite_enters_no_rung(tmp_path):
    conductor = open_conductor(sweep_config(), tmp_path)
    trials = [conductor.next_trial() for _ in range(6)]
    first, second, third = [t.number for t in trials if t.arm == "treatment"]
    assert not conductor.report(first, 10, {"select_loss": 1.0})
    assert not conductor.report(second, 10, {"select_loss": math.inf})
    assert conductor.report(third, 10, {"select_loss": 2.0}), "it is the second of its rung"


def test_rungs_of_the_arms_are_their_own(tmp_path):
    conductor = open_conductor(sweep_config(), tmp_path)
    trials = [conductor.next_trial() for _ in range(2)]
    assert {t.arm for t in trials} == {"treatment", "control"}
    assert not conductor.report(trials[0].number, 10, {"select_loss": 1.0})
    assert not conductor.report(trials[1].number, 10, {"select_loss": 5.0})


def test_the_last_report_of_a_whole_trial_never_stops_it(tmp_path):
    config = sweep_config(scheduler={"kind": "asha", "grace_steps": 40, "eta": 2})
    conductor = open_conductor(config, tmp_path)
    trials = [conductor.next_trial() for _ in range(4)]
    for number, loss in zip([t.number for t in trials if t.arm == "control"], (1, 2), strict=True):
        assert not conductor.report(number, NUM_STEPS, {"select_loss": float(loss)})


def test_finalists_are_the_best_of_each_arm_on_paired_seeds(tmp_path):
    conductor = Simulation(sweep_config(), tmp_path, num_slots=2).run()
    for arm in ("treatment", "control"):
        done = [r for r in of(conductor, arm) if r.status == "completed"]
        best = min(done, key=lambda r: r.objective("best"))
        finalists = of(conductor, arm, "finalist")
        assert [(f.values, f.seed) for f in finalists] == [(best.values, 1), (best.values, 2)]
        assert all(f.status == "completed" for f in finalists)
    started = min(r.started for r in conductor.records.values() if r.phase == "finalist")
    assert all(r.ended <= started for r in conductor.records.values() if r.phase == "search")


def test_equal_configurations_make_one_finalist(tmp_path):
    space = {ALPHA: {"choice": [5]}, RATE: {"choice": [1e-3]}}
    config = sweep_config(space=space, num_trials=3, finalists={"num": 2, "seeds": [1]})
    conductor = Simulation(config, tmp_path).run()
    assert len(of(conductor, "treatment", "finalist")) == 1


def test_the_control_arm_never_has_noise_and_searches_the_rest(tmp_path):
    conductor = Simulation(sweep_config(), tmp_path).run()
    for record in of(conductor, "control"):
        assert conductor.trial_config(record).noise.alpha == 0
        assert set(record.values) == {RATE}
    assert len({r.values[RATE] for r in of(conductor, "control")}) > 1


def test_without_a_control_there_is_one_arm(tmp_path):
    conductor = Simulation(sweep_config(control=None), tmp_path).run()
    assert {r.arm for r in conductor.records.values()} == {"treatment"}
