"""One trial without Tune: the same worker group, the same journal, no search."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from neft_ray.config.sweep import TREATMENT, SweepConfig
from neft_ray.errors import Problem, StorageError
from neft_ray.journal import (
    CONTINUE,
    FAILED,
    HALTED,
    RUNNING,
    STOPPED,
    Journal,
    TrialRecord,
    is_finished,
    read_records,
)
from neft_ray.journal import apply as apply_event
from neft_ray.order import Order
from neft_ray.run_directory import RunDirectory
from neft_ray.sweep.driver import DataCache, Observer, prepare_order
from neft_ray.sweep.health import given_up
from neft_ray.sweep.worker_group import group_for


def train_single(
    config: SweepConfig, run: RunDirectory, data: DataCache, observer: Observer
) -> TrialRecord:
    """Run the base trial of a sweep file as trial 0 of a run; goes on where it was left.

    Returns:
        The trial, whose status says how it ended.

    Raises:
        StorageError: If the disk is full or not writable; `--resume` goes on.
    """
    records = read_records(run.journal_file)
    with closing(Journal(run.journal_file)) as journal:

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
        if record.status == RUNNING:
            order = prepare_order(
                run, record, trial, data, observer, config.sweep.finalists.generated_rows
            )
            _carry_out(order, record, config, run, observer, write)
            observer.ended(record, run.trial(0))
        if record.status != RUNNING and not is_finished(run.journal_file):
            journal.append("finish")
    return record


def _carry_out(
    order: Order,
    record: TrialRecord,
    config: SweepConfig,
    run: RunDirectory,
    observer: Observer,
    write: Callable[..., None],
) -> None:
    """Run the trial on workers and write what happens, until it ends or is interrupted."""
    status, reason = STOPPED, ""
    with group_for(config.workers, run.root) as group:
        for happened in group.run(order):
            step, metrics = happened.step, happened.metrics
            if happened.kind == "crash":
                if reason := given_up(record, config.sweep.max_failures, happened.reason):
                    status = FAILED
                    break
                write("crash", reason=happened.reason)
            elif happened.kind == "report" and step > record.last_step:
                write("report", step=step, metrics=metrics, decision=CONTINUE)
                observer.reported(record)
            elif happened.kind == "end":
                status, reason = happened.status, happened.reason
            group.answer(happened, stops=False)
    if status == HALTED:
        raise StorageError([Problem(str(run.trial(0)), reason, "see above")])
    if status != STOPPED:
        write("end", status=status, reason=reason)
