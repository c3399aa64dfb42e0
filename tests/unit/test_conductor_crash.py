"""A sweep that died goes on from its journal as if it had not."""

import json

import pytest

from neft_ray.errors import UserError
from tests.unit.sweep_runs import (
    ALPHA,
    RATE,
    Killed,
    Simulation,
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
