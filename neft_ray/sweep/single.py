"""One trial without Tune: the same worker group, the same journal, no search."""

from __future__ import annotations

from neft_ray.config.sweep import SweepConfig
from neft_ray.journal import COMPLETED, RUNNING, TREATMENT, Journal, TrialRecord, read_records
from neft_ray.journal import apply as apply_event
from neft_ray.run_directory import RunDirectory
from neft_ray.sweep.driver import DataCache, Observer, prepare_order
from neft_ray.sweep.worker_group import WorkerGroup


def train_single(
    config: SweepConfig, run: RunDirectory, data: DataCache, observer: Observer
) -> TrialRecord:
    """Run the base trial of a sweep file as trial 0 of a run; goes on where it was left.

    Returns:
        The trial, whose status says how it ended.
    """
    records = read_records(run.journal_file)
    journal = Journal(run.journal_file)

    def write(event: str, **fields: object) -> None:
        apply_event(records, journal.append(event, trial=0, **fields))

    trial = config.trial
    if not records:
        write(
            "suggest",
            arm=TREATMENT,
            phase="finalist",
            values={},
            seed=trial.training.seed,
            num_steps=data.num_steps(trial),
            config_hash=trial.config_hash,
        )
    record = records[0]
    if record.status != RUNNING:
        return record
    order = prepare_order(run, record, trial, data, observer)
    group = WorkerGroup(trial.workers, run.root, config.sweep.max_failures)
    try:
        group.start(order)
        while (happened := group.next()).kind != "end":
            if happened.kind == "crash":
                write("crash", reason=happened.reason)
                continue
            if happened.step > record.last_step:
                write(
                    "report",
                    step=happened.step,
                    metrics=happened.metrics,
                    decision="continue",
                )
                observer.reported(record)
            group.go_on(happened)
        if happened.status != "stopped":
            write("end", status=happened.status, reason=happened.reason)
        observer.ended(record, run.trial(0))
    finally:
        group.close()
        journal.close()
    return record


def is_complete(record: TrialRecord) -> bool:
    """Say whether the trial ran to its end."""
    return record.status == COMPLETED
