"""Rules with rungs: who goes on, who is cut or waits, in whatever order trials report."""

import itertools
import math

import pytest

from neft_ray.config.schedulers import Hyperband
from neft_ray.journal import read_events
from tests.unit.sweep_runs import (
    ALPHA,
    NUM_STEPS,
    Lengths,
    Simulation,
    loss_of,
    open_conductor,
    reached,
    search_of,
    sweep_config,
    table,
)

PROMOTION = {"kind": "asha", "grace_steps": 10, "eta": 2, "promote": True}
IN_STEP = [
    {"kind": "halving", "grace_steps": 10, "eta": 2},
    {"kind": "hyperband", "grace_steps": 10, "eta": 2},
    {"kind": "pbt", "interval_steps": 20},
    {"kind": "pb2", "interval_steps": 20},
]


@pytest.mark.parametrize("scheduler", IN_STEP, ids=lambda s: s["kind"])
def test_in_step_the_order_of_reports_and_the_slots_change_nothing(scheduler, tmp_path):
    config = sweep_config(scheduler=scheduler, num_trials=8)

    def losses(slots, seed):
        conductor = Simulation(config, tmp_path / f"{slots}-{seed}", slots, seed).run()
        return sorted(str(row[1:]) for row in table(conductor))

    first = losses(1, 0)
    assert all(losses(slots, seed) == first for slots, seed in [(1, 1), (3, 2), (16, 3)])


def test_halving_keeps_the_best_half_of_every_rung(tmp_path):
    config = sweep_config(scheduler=IN_STEP[0], num_trials=8, control=None)
    trials = search_of(Simulation(config, tmp_path, num_slots=3).run())
    for rung, size in [(10, 8), (20, 4), (40, 2), (80, 1)]:
        assert len(reached(trials, rung)) == size
    for rung, further in itertools.pairwise([10, 20, 40, 80]):
        losses = reached(trials, rung)
        best = sorted(losses, key=losses.__getitem__)[: len(losses) // 2]
        assert sorted(reached(trials, further)) == sorted(best)
    reasons = [r.reason for r in trials if r.last_step == 10]
    assert reasons == ["not among the best 4 of 8 at 10"] * 4


def test_a_rung_is_decided_without_a_trial_that_diverged(tmp_path):
    worst = []

    def loss(config, step):
        worst.append(config.optimizer.learning_rate)
        return math.nan if config.optimizer.learning_rate == worst[0] else loss_of(config, step)

    config = sweep_config(scheduler=IN_STEP[0], num_trials=4, control=None)
    trials = search_of(Simulation(config, tmp_path, loss=loss).run())
    assert [r.status for r in trials].count("diverged") == 1
    assert len(reached(trials, 20)) == 2


def test_brackets_of_hyperband_are_those_of_the_paper():
    config = Hyperband(kind="hyperband", grace_steps=1, eta=3)
    sizes = [bracket.size for bracket in config.brackets(81, 143)]
    assert sizes == [81, 34, 15, 8, 5]
    first, last = config.brackets(81, 143)[0], config.brackets(81, 143)[-1]
    assert first.rungs == (1, 3, 9, 27) and last.rungs == ()


@pytest.mark.parametrize("num_trials", [1, 7, 143, 200])
def test_every_trial_has_a_place_in_a_bracket(num_trials):
    config = Hyperband(kind="hyperband", grace_steps=1, eta=3)
    assert sum(bracket.size for bracket in config.brackets(81, num_trials)) == num_trials


@pytest.mark.parametrize("slots", [1, 4])
def test_promotion_runs_on_only_the_best_of_each_rung(slots, tmp_path):
    none = {"num": 0, "seeds": [1]}  # finalists go on whatever their rank
    config = sweep_config(scheduler=PROMOTION, num_trials=16, control=None, finalists=none)
    trials = search_of(Simulation(config, tmp_path, slots, seed=1).run())
    assert len(reached(trials, 10)) == 16
    assert {r.status for r in trials} == {"completed", "stopped"}
    there: dict[int, dict[int, float]] = {10: {}, 20: {}, 40: {}}
    for event in read_events(tmp_path / "journal.jsonl"):
        number = event.get("trial")
        if number not in {r.number for r in trials}:
            continue
        if event["event"] == "report" and event["step"] in there:
            losses = there[event["step"]]
            losses[number] = event["metrics"]["select_loss"]
            goes_on = event["decision"] == "continue"
        elif event["event"] == "resume":
            losses = there[max(step for step, losses in there.items() if number in losses)]
            goes_on = True
        else:
            continue
        best = sorted(losses, key=losses.__getitem__)[: len(losses) // 2]
        assert (number in best) == goes_on


def test_a_promoted_trial_goes_on_where_it_paused(tmp_path):
    config = sweep_config(scheduler=PROMOTION, num_trials=8, control=None)
    Simulation(config, tmp_path, num_slots=2).run()
    events = list(read_events(tmp_path / "journal.jsonl"))
    resumed = [event["trial"] for event in events if event["event"] == "resume"]
    assert resumed
    for record in open_conductor(config, tmp_path).records.values():
        steps = [report.step for report in record.reports]
        assert steps == list(range(10, 10 * len(steps) + 1, 10)), "no step twice, none left out"


def test_paused_trials_end_with_the_search_and_are_told(tmp_path):
    config = sweep_config(scheduler=PROMOTION, num_trials=2, control=None)
    conductor = open_conductor(config, tmp_path)
    first, second = conductor.next_trial(), conductor.next_trial()
    assert conductor.report(first.number, 10, {"select_loss": 1.0})
    conductor.end(first.number, "stopped")
    assert first.status == "paused" and not conductor.ended()
    assert conductor.report(second.number, 10, {"select_loss": 2.0})
    assert conductor.next_trial() is first, "it is the best of two now"
    assert not conductor.report(first.number, 10, {"select_loss": 1.0}), "said again, it goes on"
    conductor.report(first.number, NUM_STEPS, {"select_loss": 0.5})
    assert not conductor.ended()
    conductor.end(first.number, "completed")
    assert conductor.ended() == [second] and second.status == "stopped"
    assert second.reason == "paused until the end of the search"


def test_rungs_in_tokens_compare_trials_by_what_they_have_read(tmp_path):
    scheduler = {"kind": "asha", "grace_tokens": 1000, "eta": 2}
    in_tokens = sweep_config(scheduler=scheduler)
    in_steps = sweep_config(scheduler={"kind": "asha", "grace_steps": 10, "eta": 2})
    tables = [
        table(Simulation(config, tmp_path / name).run())
        for name, config in (("t", in_tokens), ("s", in_steps))
    ]
    assert tables[0] == tables[1], "100 tokens a step"
    assert Lengths().num_tokens(None) == 100 * NUM_STEPS


@pytest.mark.parametrize(
    "scheduler",
    [
        {"kind": "asha", "grace_steps": 10, "eta": 2},
        {"kind": "asha", "grace_tokens": 1000, "eta": 2},
        PROMOTION,
        {"kind": "median", "grace_steps": 10},
        {"kind": "halving", "grace_steps": 10, "eta": 2},
    ],
)
def test_the_best_runs_to_its_end_although_it_is_longer_than_others(
    scheduler, tmp_path, monkeypatch
):
    monkeypatch.setattr(Lengths, "num_steps", lambda self, config: 40 * config.training.epochs)
    space = {ALPHA: {"choice": [5, 10]}, "training.epochs": {"choice": [1, 4]}}
    given = sweep_config(scheduler=scheduler, space=space, num_trials=4, control=None)
    training = given.training.model_copy(update={"epochs": 1})
    config = given.model_copy(update={"training": training})

    def loss(config, step):
        return 5 - config.training.epochs * step / 1000

    records = search_of(Simulation(config, tmp_path, loss=loss).run())
    ends = {(r.status, r.last_step) for r in records if r.values["training.epochs"] == 4}
    assert ("completed", 160) in ends
    assert not any(40 < step < 160 for _, step in ends), "there is no rung"
