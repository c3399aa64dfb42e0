"""Observers of a sweep: one that keeps MLflow up to date, and one that is several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from neft_ray.config.base import flat
from neft_ray.config.trial import TrialConfig
from neft_ray.journal import COMPLETED, STOPPED, Report, TrialRecord, read_records
from neft_ray.run_directory import RunDirectory
from neft_ray.sweep.driver import Observer
from neft_ray.tracking.background import MirrorThread
from neft_ray.tracking.cards import Dataset, describe, read_card
from neft_ray.tracking.points import DRIVER_POINTS_FILE, MetricsLog

BEST_LOSS = "best_select_loss"
IN_TITLE = ("noise.alpha", "optimizer.learning_rate")


class Observers:
    """Tells several observers the same."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def started(self, record: TrialRecord, config: TrialConfig, folder: Path) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.started(record, config, folder)

    def reported(self, record: TrialRecord) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.reported(record)

    def ended(self, record: TrialRecord, folder: Path) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.ended(record, folder)


class Recorder:
    """The observer that keeps MLflow up to date."""

    def __init__(
        self, thread: MirrorThread, run_name: str, dataset_of: Callable[[TrialConfig], Dataset]
    ) -> None:
        """Prepare to record one run.

        Args:
            thread: Sends.
            run_name: The run's name, a tag of every trial.
            dataset_of: The data of a trial.
        """
        self._thread, self._run_name, self._dataset_of = thread, run_name, dataset_of
        self._folders: dict[int, Path] = {}
        """Of the trials that run."""

    def started(self, record: TrialRecord, config: TrialConfig, folder: Path) -> None:
        """See `Observer`."""
        tags = {
            "neft_ray.run": self._run_name,
            "neft_ray.arm": record.arm,
            "neft_ray.phase": record.phase,
            "neft_ray.config_hash": config.config_hash,
        }
        params = flat(config.model_dump(mode="json"))
        describe(folder, trial_title(record, config), params, tags, self._dataset_of(config))
        self._folders[record.number] = folder
        self._thread.add(folder)

    def reported(self, record: TrialRecord) -> None:
        """See `Observer`. Note a trial's new best: of `select_loss` MLflow shows the last value."""
        if record.best is not None and record.best is record.reports[-1]:
            _note_best(record.best, self._folders[record.number])

    def ended(self, record: TrialRecord, folder: Path) -> None:
        """See `Observer`."""
        if record.ended is None:  # interrupted: to be resumed
            return
        self._folders.pop(record.number, None)
        good = record.status in (COMPLETED, STOPPED)
        tags = {"neft_ray.status": record.status, "neft_ray.reason": record.reason}
        self._thread.finish(folder, "FINISHED" if good else "FAILED", tags)

    def catch_up(self, run: RunDirectory) -> None:
        """Tell of the trials whose end a driver had journaled when it was killed, and no more."""
        for record in read_records(run.journal_file).values():
            folder = run.trial(record.number)
            card = read_card(folder)
            if record.ended is not None and card is not None and card.status == "RUNNING":
                if record.best is not None:
                    _note_best(record.best, folder)
                self.ended(record, folder)


def _note_best(best: Report, folder: Path) -> None:
    log = MetricsLog(folder / DRIVER_POINTS_FILE)
    log.log(best.step, {BEST_LOSS: best.metrics["select_loss"]})
    log.close()


def trial_title(record: TrialRecord, config: TrialConfig) -> str:
    """Return what a person reads of a trial, such as `t007 α=15 lr=0.0003 treatment seed=0`.

    What tells trials apart comes first, for the UI cuts names off; other searched values follow
    the learning rate by the last words of their keys, of as many as tell them apart. What changes
    on the way is shown as `α=15→18`.
    """
    keys = sorted(record.values.keys() - {*IN_TITLE, "changes"})
    alphas = [config.noise.alpha, *(it.alpha for it in config.changes)]
    rates = [config.optimizer.learning_rate, *(it.learning_rate for it in config.changes)]
    shown = [f"α={_values(alphas)}", f"lr={_values(rates)}"]
    shown += [f"{_short(key, keys)}={_values([record.values[key]])}" for key in keys]
    words = [f"t{record.number:03d}", *shown, record.arm]
    words += ["finalist"] if record.phase == "finalist" else []
    return " ".join([*words, f"seed={record.seed}"])


def _short(key: str, keys: Sequence[str]) -> str:
    """Return the end of a key that no other one has, in whole words."""
    words = key.split(".")
    ends = (".".join(words[-num:]) for num in range(1, len(words)))
    return next((end for end in ends if sum(f".{it}".endswith(f".{end}") for it in keys) == 1), key)


def _values(values: list[Any]) -> str:
    """Return what a setting is, and what it becomes; None: it stays as it was."""
    changed = values[:1] + [value for value in values[1:] if value is not None]
    return "→".join(f"{it:.2g}" if isinstance(it, float) else str(it) for it in changed)
