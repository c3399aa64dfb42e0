"""The conductor: order of trials, rungs, arms, finalists, and going on after a crash."""

import json
import math

import pytest

from neft_ray.config.load import dump_sweep
from neft_ray.errors import UserError
from tests.unit.sweep_runs import (
    ALPHA,
    NUM_STEPS,
    RATE,
    Killed,
    Simulation,
    loss_of,
    open_conductor,
    sweep_config,
    table,
)

SEARCHES = [
    {"searcher": {"kind": "random", "seed": 3}},
    {"searcher": {"kind": "optuna", "seed": 3, "num_startup_trials": 3}, "num_trials": 8},
    {
        "searcher": {"kind": "grid"},
        "space": {ALPHA: {"choice": [5, 10]}, RATE: {"choice": [1e-3, 3e-3]}},
        "num_trials": None,
    },
    {"scheduler": {"kind": "median", "grace_steps": 20, "min_trials": 2}},
    {"scheduler": {"kind": "none"}},
    {"scheduler": {"kind": "asha", "grace_tokens": 1000, "eta": 2}},
    {"scheduler": {"kind": "asha", "grace_steps": 10, "eta": 2, "promote": True}},
    {"scheduler": {"kind": "halving", "grace_steps": 10, "eta": 2}},
    {"scheduler": {"kind": "hyperband", "grace_steps": 10, "eta": 2}, "num_trials": 11},
    {"scheduler": {"kind": "pbt", "interval_steps": 20}, "num_trials": 5},
    {"scheduler": {"kind": "pb2", "interval_steps": 20}, "num_trials": 5},
]


def of(conductor, arm, phase="search"):
    return [r for r in conductor.records.values() if (r.arm, r.phase) == (arm, phase)]


@pytest.mark.parametrize("search", SEARCHES)
def test_a_sweep_that_dies_at_every_event_ends_like_an_undisturbed_one(search, tmp_path):
    config = sweep_config(**search)
    undisturbed = table(Simulation(config, tmp_path / "a").run())
    disturbed = Simulation(config, tmp_path / "b")
    for _ in range(10_000):
        try:
            conductor = disturbed.run(max_events=1)
            break
        except Killed:
            continue
    assert table(conductor) == undisturbed


def test_no_finished_trial_is_started_again(tmp_path):
    config = sweep_config()
    first = Simulation(config, tmp_path)
    with pytest.raises(Killed):
        first.run(max_events=25)
    ended = {n for n, r in open_conductor(config, tmp_path).records.items() if r.ended}
    conductor = open_conductor(config, tmp_path)
    started = []
    while (record := conductor.next_trial()) is not None and len(started) < 5:
        started.append(record.number)
    assert ended and not ended & set(started)


def test_a_report_sent_twice_is_entered_once_and_answered_alike(tmp_path):
    conductor = open_conductor(sweep_config(), tmp_path)
    trials = [conductor.next_trial() for _ in range(4)]
    treatment = [t for t in trials if t.arm == "treatment"]
    assert not conductor.report(treatment[0].number, 10, {"select_loss": 1.0})
    assert conductor.report(treatment[1].number, 10, {"select_loss": 2.0})
    size = (tmp_path / "journal.jsonl").stat().st_size
    assert not conductor.report(treatment[0].number, 10, {"select_loss": 1.0})
    assert conductor.report(treatment[1].number, 10, {"select_loss": 2.0})
    assert (tmp_path / "journal.jsonl").stat().st_size == size
    assert [len(t.reports) for t in treatment] == [1, 1]


def test_a_stopped_trial_stays_stopped_although_the_driver_died_before_it_ended(tmp_path):
    config = sweep_config()
    conductor = open_conductor(config, tmp_path)
    trials = [conductor.next_trial() for _ in range(4)]
    first, second = [t.number for t in trials if t.arm == "treatment"]
    conductor.report(first, 10, {"select_loss": 1.0})
    assert conductor.report(second, 10, {"select_loss": 2.0})
    again = open_conductor(config, tmp_path)
    assert again.records[second].status == "stopped"
    resumed = [again.next_trial().number for _ in range(3)]
    assert second not in resumed and first in resumed


def test_an_interrupted_trial_is_not_ended_by_its_stop(tmp_path):
    config = sweep_config()
    conductor = open_conductor(config, tmp_path)
    record = conductor.next_trial()
    conductor.end(record.number, "stopped")
    assert record.status == "running"
    assert open_conductor(config, tmp_path).next_trial().number == record.number


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


def test_a_journal_with_other_decisions_is_refused(tmp_path):
    config = sweep_config()
    Simulation(config, tmp_path).run()
    path = tmp_path / "journal.jsonl"
    lines = path.read_text().splitlines()
    index = next(n for n, line in enumerate(lines) if '"decision": "stop"' in line)
    lines[index] = lines[index].replace('"stop"', '"continue"')
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=r"this version decides 'stop'"):
        open_conductor(config, tmp_path)


def test_a_line_cut_off_by_a_crash_is_dropped_and_one_in_the_middle_is_refused(tmp_path):
    config = sweep_config()
    path = tmp_path / "journal.jsonl"
    conductor = open_conductor(config, tmp_path)
    record = conductor.next_trial()
    conductor.report(record.number, 10, {"select_loss": 1.0})
    conductor.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    again = open_conductor(config, tmp_path)
    assert not again.records[record.number].reports
    again.report(record.number, 10, {"select_loss": 1.0})
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == [
        "suggest",
        "report",
    ]
    path.write_bytes(b"{broken\n" + whole)
    with pytest.raises(UserError, match=r"journal.jsonl:1: is damaged"):
        open_conductor(config, tmp_path)


def test_the_end_is_noted_once(tmp_path):
    config = sweep_config()
    Simulation(config, tmp_path).run()
    for _ in range(2):
        conductor = open_conductor(config, tmp_path)
        conductor.finish()
        conductor.finish()
        conductor.close()
    assert (tmp_path / "journal.jsonl").read_text().count('"finish"') == 1


def test_a_finished_sweep_gets_more_trials_and_their_finalists(tmp_path):
    Simulation(sweep_config(num_trials=3), tmp_path).run()
    few = open_conductor(sweep_config(num_trials=3), tmp_path)
    assert few.is_finished
    finalists = of(few, "treatment", "finalist")
    more = Simulation(sweep_config(num_trials=9), tmp_path).run()
    assert [len(r) >= 9 for r in (of(more, "treatment"), of(more, "control"))] == [True, True]
    again = of(more, "treatment", "finalist")
    assert [f.number for f in again][: len(finalists)] == [f.number for f in finalists]
    done = [r for r in of(more, "treatment") if r.status == "completed"]
    best = min(done, key=lambda r: r.objective("best"))
    assert [f.seed for f in again if f.values == best.values] == [1, 2]


def test_a_narrower_space_takes_the_sweep_on_and_what_was_found_counts(tmp_path):
    searcher = {"kind": "optuna", "num_startup_trials": 2}
    wide = sweep_config(searcher=searcher)
    first = Simulation(wide, tmp_path).run()
    narrow = {ALPHA: {"choice": [10]}, RATE: {"loguniform": [5e-4, 1e-3]}}
    config = sweep_config(searcher=searcher, space=narrow, num_trials=12)
    conductor = Simulation(config, tmp_path).run()
    assert table(conductor)[: len(table(first))] == table(first)
    new = [r for r in of(conductor, "treatment") if r.number >= len(first.records)]
    assert new and all(5e-4 <= r.values[RATE] <= 1e-3 and r.values[ALPHA] == 10 for r in new)


def test_a_warm_start_teaches_the_searcher_and_is_kept_in_the_journal(tmp_path):
    searcher = {"kind": "optuna", "num_startup_trials": 1}
    early = tmp_path / "early"
    taught = Simulation(sweep_config(num_trials=12), early).run()
    (early / "sweep.yaml").write_text(dump_sweep(sweep_config(num_trials=12)))
    cold = sweep_config(searcher=searcher)
    warm = sweep_config(searcher=searcher, warm_start=[str(early)])
    first = [
        open_conductor(config, tmp_path / name).next_trial().values
        for name, config in (("cold", cold), ("warm", warm))
    ]
    assert first[0] != first[1], "what is known from before matters from the first trial on"
    (early / "journal.jsonl").unlink()
    disturbed = Simulation(warm, tmp_path / "warm").run()
    assert len(of(disturbed, "treatment")) >= 6, "trials of before do not count"
    events = [json.loads(line) for line in (tmp_path / "warm" / "journal.jsonl").open()]
    assert events[0]["event"] == "warm_start"
    assert {name: len(known) for name, known in events[0]["priors"].items()} == {
        arm: len(of(taught, arm)) for arm in ("treatment", "control")
    }
