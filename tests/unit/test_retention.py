"""Which checkpoints stay on disk: the best few, the latest of live trials, and nothing else."""

import random
from dataclasses import replace

import pytest

from neft_ray.choice import best_record
from neft_ray.config.sweep import ObjectiveConfig
from neft_ray.journal import CONTINUE, Report, TrialRecord
from neft_ray.run_directory import RunDirectory
from neft_ray.sweep.retention import Retention, worth_keeping
from neft_ray.train import stored

LOSS = ObjectiveConfig()
END = ObjectiveConfig(at="end")
WEIGHED = ObjectiveConfig(weights={"answer_repetition": 10.0})
WEIGHED_AT_END = ObjectiveConfig(at="end", weights={"answer_repetition": 10.0})


def record_of(number, arm="treatment"):
    return TrialRecord(number, arm, "search", {}, 0, 0.0, num_steps=100)


def test_the_best_of_each_arm_stays_however_far_behind():
    records = {
        number: record_of(number, "control" if number > 1 else "treatment") for number in range(4)
    }
    for number, record in records.items():
        record.reports.append(Report(10, {"select_loss": float(number)}, CONTINUE, 0.0))
        record.status = "completed"
    kept, best = worth_keeping(records, {(number, 10) for number in records}, 1, LOSS)
    assert kept == best == {(0, 10), (2, 10)}


def test_where_the_end_counts_the_last_checkpoint_of_the_best_stays():
    records = {0: record_of(0), 1: record_of(1), 2: record_of(2)}
    curves = {0: (0.6, 0.1, 0.2, 0.9), 1: (0.7, 0.6, 0.57, 0.58), 2: (0.3, 0.4, 0.5)}
    for number, losses in curves.items():
        for step, loss in enumerate(losses, start=1):
            report = Report(10 * step, {"select_loss": loss}, CONTINUE, 0.0)
            records[number].reports.append(report)
        records[number].status = "running" if number == 2 else "completed"
    existing = {(n, r.step) for n, record in records.items() for r in record.reports}
    kept, best = worth_keeping(records, existing, 1, END)
    assert best == {(1, 40)} and best_record(list(records.values())[:2], END) is records[1]
    assert kept == {(1, 40), (2, 30)}, "how the second ends is not known yet"


def test_the_checkpoint_of_a_finalist_that_is_yet_to_be_weighed_stays():
    records = {number: record_of(number) for number in range(4)}
    for number, record in records.items():
        losses = {10: 1.0, 20: 2.0, 30: 3.0} if number else {10: 0.1, 20: 0.2, 30: 0.3}
        record.reports = [Report(s, {"select_loss": v}, CONTINUE, 0.0) for s, v in losses.items()]
        record.status, record.phase = "completed", "finalist"
    records[0].phase, records[0].ended = "search", 1.0
    records[1].status = records[2].status = records[3].status = "running"
    records[3].phase = "search"
    existing = {(number, step) for number in records for step in (10, 20, 30)}
    kept, _ = worth_keeping(records, existing, 1, WEIGHED)
    assert kept == {(0, 10), (1, 10), (1, 30), (2, 10), (2, 30), (3, 30)}
    for number, repetition in ((1, 0.3), (2, 0.2)):
        measured = {"select_loss": 3.0, "answer_repetition": repetition}
        records[number].reports[-1] = Report(30, measured, CONTINUE, 0.0)
        records[number].status, records[number].ended = "completed", 1.0
    assert worth_keeping(records, existing, 1, WEIGHED)[0] == {(0, 10), (2, 10), (3, 30)}
    assert worth_keeping(records, existing, 1, LOSS)[0] == {(0, 10), (3, 30)}
    assert worth_keeping(records, existing, 0, WEIGHED)[0] == {(3, 30)}, "none is asked for"


def write(run, number, step):
    stored.folder_of(run.checkpoints(number), step).mkdir(parents=True)


def on_disk(run, records):
    return {(n, step) for n in records for step in stored.steps_in(run.checkpoints(n))}


@pytest.mark.parametrize("objective", [LOSS, WEIGHED, END, WEIGHED_AT_END])
@pytest.mark.parametrize("seed", range(20))
def test_what_stays_is_what_a_look_at_everything_would_keep(seed, objective, tmp_path):
    rng, run = random.Random(seed), RunDirectory(tmp_path)
    records: dict[int, TrialRecord] = {}
    retention = Retention(run, records, 2, objective)
    written = set()
    for number in range(6):
        records[number] = record_of(number)
        records[number].phase = "finalist" if number % 2 else "search"
        run.trial(number).mkdir(parents=True)
    for _ in range(60):
        live = [r for r in records.values() if r.ended is None]
        if not live:
            break
        record = rng.choice(live)
        if rng.random() < 0.1:
            record.status, record.ended = rng.choice(["stopped", "completed", "failed"]), 1.0
            if record.phase == "finalist" and record.reports:
                measures = {**record.reports[-1].metrics, "answer_repetition": rng.random()}
                record.reports[-1] = replace(record.reports[-1], metrics=measures)
            retention.ended(record.number)
        elif rng.random() < 0.2:
            record.status = rng.choice(["paused", "running"])
        else:
            step = record.last_step + 10
            loss = rng.choice([1.0, rng.random(), float("nan")])
            record.reports.append(Report(step, {"select_loss": loss}, CONTINUE, 0.0))
            write(run, record.number, step)
            written.add((record.number, step))
            retention.saved(record.number, step)
        kept, best = worth_keeping(records, written, 2, objective)
        assert on_disk(run, records) == kept and len(best) <= 2 + bool(objective.weights)
    assert on_disk(run, records) < written


def test_a_restart_deletes_what_a_killed_driver_had_not(tmp_path):
    run, records = RunDirectory(tmp_path), {0: record_of(0), 1: record_of(1)}
    for step in (10, 20, 30):
        write(run, 0, step)
        loss = {10: 1.0, 20: 3.0, 30: 2.0}[step]
        records[0].reports.append(Report(step, {"select_loss": loss}, CONTINUE, 0.0))
    write(run, 1, 10)
    (run.checkpoints(1) / ".step-000020.partial").mkdir()
    Retention(run, records, 1, LOSS)
    assert on_disk(run, records) == {(0, 10), (0, 30), (1, 10)}, "a step not reported yet stays"
    assert not list(run.checkpoints(1).glob(".step-*"))


def test_the_copy_a_branch_began_from_goes_with_its_end(tmp_path):
    run, records = RunDirectory(tmp_path), {0: record_of(0), 1: record_of(1)}
    write(run, 0, 10)
    (stored.folder_of(run.checkpoints(0), 10) / "model").write_text("weights")
    stored.link(run.checkpoints(0), 10, run.origin(1))
    stored.link(run.checkpoints(0), 10, run.origin(1))
    retention = Retention(run, records, 1, LOSS)
    records[0].status, records[0].ended = "stopped", 1.0
    retention.ended(0)
    assert on_disk(run, records) == set()
    kept = stored.folder_of(run.origin(1), 10) / "model"
    assert kept.read_text() == "weights", "deleting the donor's leaves it"
    records[1].status, records[1].ended = "completed", 1.0
    retention.ended(1)
    assert not run.origin(1).exists()
