"""Budgets: what counts as spent, when the search ends for the finalists' sake, and going on."""

import json

import pytest

from neft_ray import journal
from neft_ray.config.prices import PriceConfig
from neft_ray.config.sweep import BudgetConfig
from neft_ray.sweep.spending import Spending
from tests.unit.sweep_runs import (
    EVAL_STEPS,
    NUM_STEPS,
    loss_of,
    open_conductor,
    sweep_config,
)

HOUR = 3600.0


def event(kind, at, **fields):
    return {"event": kind, "time": at * HOUR, **fields}


def test_only_the_time_in_which_a_driver_holds_slots_is_spent():
    spending = Spending(PriceConfig(dollars_per_gpu_hour=2.0, dollars_per_cpu_hour=0.25))
    assert spending.amounts(0.0)["hours"] == 0
    spending.observe(event("open", 0))
    spending.observe(event("hold", 1, slots=2, gpus=4, cpus=8))
    spending.observe(event("report", 2))
    spending.observe(event("open", 10))
    spending.observe(event("hold", 10, slots=1, gpus=1, cpus=2))
    assert spending.held == (1, 1, 2)
    assert spending.amounts(12 * HOUR) == pytest.approx(
        {"hours": 4, "gpu_hours": 4 + 2, "dollars": 2 * 6 + 0.25 * (8 + 4)}
    )
    spending.observe(event("hold", 12, slots=3, gpus=3, cpus=6))
    spending.observe(event("hold", 13, slots=0, gpus=0, cpus=0))
    spending.observe(event("report", 20))
    assert spending.amounts(20 * HOUR)["gpu_hours"] == pytest.approx(4 + 2 + 3)
    spending.close()
    assert spending.amounts(99 * HOUR)["hours"] == pytest.approx(2 + 10)


def test_without_a_price_there_are_no_dollars():
    spending = Spending(PriceConfig())
    assert "dollars" not in spending.amounts(0.0)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"hours": 1.5}, ""),
        ({"hours": 0.5}, "the budget of 0.5 hours is spent"),
        ({"gpu_hours": 3.0}, "the budget of 3 gpu hours is spent"),
        ({"dollars": 8.1}, ""),
        ({"dollars": 7.9, "hours": 9.0}, "the budget of 7.9 dollars is spent"),
    ],
)
def test_each_limit_is_kept(limits, reason):
    spending = Spending(PriceConfig(dollars_per_gpu_hour=2.0))
    spending.observe(event("hold", 0, slots=2, gpus=4, cpus=8))
    assert spending.exhausted(BudgetConfig(**limits), HOUR) == reason


class Clock:
    """A driver with one slot in which an evaluation takes an hour."""

    def __init__(self, monkeypatch, root, **search):
        self.now = 0.0
        monkeypatch.setattr(journal.time, "time", lambda: self.now)
        self.root, self.config = root, sweep_config(**search)
        self.conductor = open_conductor(self.config, root)

    def run(self):
        conductor = self.conductor
        conductor.open()
        conductor.hold(1, 1)
        while (record := conductor.next_trial()) is not None:
            step, stops = record.last_step, False
            while not stops and step < NUM_STEPS:
                step, self.now = step + EVAL_STEPS, self.now + HOUR
                metrics = {"select_loss": loss_of(conductor.trial_config(record), step)}
                stops = conductor.report(record.number, step, metrics)
                stops = record.number in conductor.check_budget(self.now) or stops
            done = step == NUM_STEPS and record.status == "running"
            conductor.end(record.number, "completed" if done else "stopped")
        assert conductor.is_finished
        conductor.close()
        return conductor.records.values()


FREE = {"scheduler": {"kind": "none"}, "finalists": {"num": 1, "seeds": [1]}}


def test_the_search_ends_early_enough_for_the_finalists(tmp_path, monkeypatch):
    clock = Clock(monkeypatch, tmp_path, **FREE, num_trials=6, budget={"hours": 50})
    records = clock.run()
    finalists = [r for r in records if r.phase == "finalist"]
    assert [(r.arm, r.status) for r in finalists] == [
        ("treatment", "completed"),
        ("control", "completed"),
    ]
    assert 50 * HOUR - 8 * HOUR < clock.now <= 50 * HOUR
    cut = [r for r in records if r.reason]
    assert cut and all("but for 16 kept for the finalists" in r.reason for r in cut)
    assert {r.status for r in cut} == {"stopped"}


def test_a_budget_without_room_for_finalists_ends_all_in_time(tmp_path, monkeypatch):
    clock = Clock(monkeypatch, tmp_path, **FREE, num_trials=6, budget={"hours": 12})
    clock.run()
    assert clock.now <= 13 * HOUR


def test_a_larger_budget_takes_the_sweep_on(tmp_path, monkeypatch):
    clock = Clock(monkeypatch, tmp_path, **FREE, num_trials=6, budget={"hours": 50})
    few = len([r for r in clock.run() if r.phase == "search"])
    clock.conductor = open_conductor(clock.config, tmp_path)
    assert clock.conductor.is_finished, "with the same budget there is nothing to do"
    more = sweep_config(**FREE, num_trials=6, budget={"hours": 500})
    clock.conductor = open_conductor(more, tmp_path)
    assert not clock.conductor.is_finished
    records = clock.run()
    assert len([r for r in records if r.phase == "search"]) == 12 > few


def test_a_lower_price_takes_the_sweep_on(tmp_path, monkeypatch):
    search = {**FREE, "num_trials": 6, "budget": {"dollars": 50}}
    clock = Clock(monkeypatch, tmp_path, **search, price={"dollars_per_cpu_hour": 1.0})
    few = len([r for r in clock.run() if r.phase == "search"])
    cheaper = sweep_config(**search, price={"dollars_per_cpu_hour": 0.1})
    clock.conductor = open_conductor(cheaper, tmp_path)
    assert not clock.conductor.is_finished
    assert len([r for r in clock.run() if r.phase == "search"]) == 12 > few


def test_a_driver_killed_after_the_budget_was_spent_stops_the_rest(tmp_path, monkeypatch):
    clock = Clock(monkeypatch, tmp_path, **FREE, num_trials=6, budget={"hours": 1})
    conductor = clock.conductor
    conductor.open()
    conductor.hold(1, 1)
    record = conductor.next_trial()
    conductor.close()
    clock.now = 0.5 * HOUR
    again = open_conductor(clock.config, tmp_path)
    again.open()
    again.hold(1, 1)
    assert again.check_budget(2 * HOUR) == []
    assert again.is_finished and again.records[record.number].status == "stopped"
    lines = (tmp_path / "journal.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines][-2:] == ["end_early", "end"]
