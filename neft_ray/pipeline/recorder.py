"""Observers of a sweep: one that keeps MLflow up to date, and one that is several."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from neft_ray.config.trial import TrialConfig
from neft_ray.journal import COMPLETED, STOPPED, TrialRecord
from neft_ray.pipeline.session import flat
from neft_ray.sweep.driver import Observer
from neft_ray.tracking.background import MirrorThread
from neft_ray.tracking.cards import Dataset, describe

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
        self._thread.add(folder)

    def reported(self, record: TrialRecord) -> None:
        """See `Observer`. The points are in the trial's own file already."""

    def ended(self, record: TrialRecord, folder: Path) -> None:
        """See `Observer`."""
        if record.ended is None:  # interrupted: to be resumed
            return
        good = record.status in (COMPLETED, STOPPED)
        tags = {"neft_ray.status": record.status, "neft_ray.reason": record.reason}
        self._thread.finish(folder, "FINISHED" if good else "FAILED", tags)


def trial_title(record: TrialRecord, config: TrialConfig) -> str:
    """Return what a person reads of a trial, such as `t007 treatment α=15 lr=3e-04 seed=0`.

    Other searched values follow by their keys' last words.
    """
    others = "".join(
        f" {key.rpartition('.')[2]}={value:.3g}"
        if isinstance(value, float)
        else f" {key.rpartition('.')[2]}={value}"
        for key, value in sorted(record.values.items())
        if key not in IN_TITLE
    )
    phase = " finalist" if record.phase == "finalist" else ""
    return (
        f"t{record.number:03d} {record.arm}{phase} α={config.noise.alpha:g} "
        f"lr={config.optimizer.learning_rate:.2g}{others} seed={record.seed}"
    )
