"""Ray Tune's view of the conductor: a searcher, a scheduler and a stopper that ask it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune import Stopper
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from neft_ray.journal import FAILED, TrialRecord
from neft_ray.sweep.conductor import Conductor
from neft_ray.sweep.slot import ORDER, unpack

logger = logging.getLogger(__name__)


class _Stateless:
    """Is pickled as nothing: Tune writes its own record of a sweep, ours is the journal."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class ConductorSearcher(_Stateless, Searcher):  # type: ignore[misc]
    """Starts the conductor's next trial whenever a slot is free, and tells it of ends."""

    def __init__(
        self,
        conductor: Conductor,
        num_slots: int,
        start: Callable[[TrialRecord], dict[str, Any]],
        ended: Callable[[TrialRecord], None],
    ) -> None:
        """Serve a conductor.

        Args:
            conductor: Decides.
            num_slots: Trials at the same time.
            start: Makes a trial's folder and returns the slot's configuration.
            ended: Is called after a trial's end.
        """
        super().__init__()
        self._conductor, self._num_slots = conductor, num_slots
        self._start, self._ended = start, ended
        self._live: dict[str, int | None] = {}
        self._num_free = 0

    def suggest(self, trial_id: str) -> Any:
        """Return a slot's configuration, None to be asked again, or FINISHED.

        Tune would end a warm slot that has nothing to do for a moment, as between the search and
        the finalists; such a slot is parked.
        """
        if len(self._live) >= self._num_slots:
            return None
        record = self._conductor.next_trial()
        if record is None and self._conductor.is_finished:
            return Searcher.FINISHED
        if record is None and not self._num_free:
            return None
        self._num_free = max(0, self._num_free - 1)
        self._live[trial_id] = record.number if record else None
        return self._start(record) if record else {ORDER: None}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Note how the trial ended: by itself, by a decision, or with its slot."""
        number = self._live.pop(trial_id)
        happened = unpack(result or {})
        self._num_free += not error
        if number is None:
            return
        if error:
            reason = "its slot failed too often; see driver.log"
            self._conductor.end(number, FAILED, reason)
        elif happened is not None and happened.kind == "end":
            self._conductor.end(number, happened.status, happened.reason)
        self._ended(self._conductor.records[number])

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""


class ConductorScheduler(_Stateless, FIFOScheduler):  # type: ignore[misc]
    """Takes every report to the conductor and its decision back to Tune."""

    def __init__(self, conductor: Conductor, reported: Callable[[int, int], None]) -> None:
        """Serve a conductor; `reported` is called with trial and step after each report."""
        super().__init__()
        self._conductor, self._reported = conductor, reported

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Enter a report or a crash."""
        happened = unpack(result)
        if happened is None:
            return str(self.CONTINUE if self._conductor.is_waiting else self.STOP)
        if happened.kind == "crash":
            logger.warning("trial %d: %s", happened.trial, happened.reason)
            self._conductor.crash(happened.trial, happened.reason)
            return str(self.CONTINUE)
        stops = self._conductor.report(happened.trial, happened.step, happened.metrics)
        self._reported(happened.trial, happened.step)
        return str(self.STOP if stops else self.CONTINUE)


class StopFile(Stopper):  # type: ignore[misc]
    """Ends the experiment once a file exists."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Stop no single trial."""
        return False

    def stop_all(self) -> bool:
        """Say whether all is to end."""
        return self._path.exists()
