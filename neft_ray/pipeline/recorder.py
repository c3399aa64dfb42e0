"""Observers of a sweep: one that keeps MLflow up to date, and one that is several."""

from __future__ import annotations

from pathlib import Path

from neft_ray.config.trial import TrialConfig
from neft_ray.journal import COMPLETED, STOPPED, TrialRecord
from neft_ray.pipeline.session import flat
from neft_ray.sweep.driver import Observer
from neft_ray.tracking.background import MirrorThread
from neft_ray.tracking.cards import describe


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

    def __init__(self, thread: MirrorThread) -> None:
        self._thread = thread

    def started(self, record: TrialRecord, config: TrialConfig, folder: Path) -> None:
        """See `Observer`."""
        tags = {
            "neft_ray.arm": record.arm,
            "neft_ray.phase": record.phase,
            "neft_ray.config_hash": config.config_hash,
        }
        params = flat(config.model_dump(mode="json"))
        describe(folder, trial_title(record, config), params, tags)
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
    """Return what a person reads of a trial, such as `t007 α=15 lr=3e-04 seed=0`."""
    return (
        f"t{record.number:03d} α={config.noise.alpha:g} "
        f"lr={config.optimizer.learning_rate:.2g} seed={record.seed}"
    )
