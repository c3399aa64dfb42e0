"""The dispatcher: Ray Tune's view of a sweep. It gives trials to slots and decisions to trials."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Any

import ray
from ray.tune import Stopper
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from neft_ray.config.sweep import BudgetConfig
from neft_ray.errors import Problem, StorageError, UserError
from neft_ray.journal import FAILED, HALTED, TrialRecord
from neft_ray.order import Order
from neft_ray.run_directory import RunDirectory, trial_name
from neft_ray.sweep.conductor import Conductor
from neft_ray.sweep.mailbox import Happened
from neft_ray.sweep.retention import Retention
from neft_ray.sweep.slot import unpack

logger = logging.getLogger(__name__)
SLOT = "slot"
LEAVE_SECONDS = 90.0
"""How long slots may take to end by themselves. Tune kills them after 5 seconds, and workers that
are just starting take longer to end."""


class _Unpickled:
    """Is pickled as nothing: Tune writes its own record of a sweep, ours is the journal."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Slots(_Unpickled, Searcher):  # type: ignore[misc]
    """Tells Tune to start so many slots. For Tune, a slot is a trial that never ends."""

    def __init__(self, mailboxes: list[Any], settings: dict[str, Any]) -> None:
        """Prepare to start as many slots as there are mailboxes.

        Args:
            mailboxes: One per slot; the driver's own, so that they outlive the slots.
            settings: What every slot is configured with.
        """
        super().__init__()
        self.mailboxes = mailboxes
        self._settings = settings
        self._num_started = 0
        first = random.randrange(10**6, 10**7)  # two sweeps on a cluster differ
        self.markers = range(first, first + len(mailboxes))
        """See `WorkerGroup`."""
        self._leave_by: float | None = None

    def suggest(self, trial_id: str) -> Any:
        """Return the configuration of the next slot, or FINISHED."""
        if self._leave_by is not None or self._num_started == len(self.mailboxes):
            return Searcher.FINISHED
        number = self._num_started
        self._num_started += 1
        own = {SLOT: number, "mailbox": self.mailboxes[number], "marker": self.markers[number]}
        return {**self._settings, **own}

    def leave(self) -> None:
        """Stop all trials and let the slots end; nothing the second time."""
        if self._leave_by is None:
            self._leave_by = time.monotonic() + LEAVE_SECONDS
            for mailbox in self.mailboxes:
                mailbox.leave.remote()

    @property
    def are_overdue(self) -> bool:
        """Whether slots were to end long ago."""
        return self._leave_by is not None and time.monotonic() > self._leave_by

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing: the scheduler below is told too."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""


class Dispatcher(_Unpickled, FIFOScheduler):  # type: ignore[misc]
    """Is told by Tune whatever happens in a slot, and acts on it."""

    def __init__(
        self,
        conductor: Conductor,
        slots: Slots,
        retention: Retention,
        prepare: Callable[[TrialRecord], Order],
        reported: Callable[[TrialRecord], None],
        ended: Callable[[TrialRecord], None],
    ) -> None:
        """Serve a conductor.

        Args:
            conductor: Decides.
            slots: Where trials run.
            retention: Deletes superfluous checkpoints.
            prepare: Makes a trial's folder and says what a worker needs to know.
            reported: Is called after every report.
            ended: Is called after a trial's end.
        """
        super().__init__()
        self._conductor, self._mailboxes, self._retention = conductor, slots.mailboxes, retention
        self._prepare, self._reported, self._ended = prepare, reported, ended
        self.error: UserError | None = None
        """What ends the sweep before its time; `--resume` goes on."""
        self.is_stopping = False
        """While true, no trial starts."""
        self._idle: list[int] = []
        self._trial_in: dict[int, int] = {}
        self._unpaid: list[int] = []
        self._last_seen = dict.fromkeys(range(len(slots.mailboxes)), 0)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Enter what happened in a slot; start trials in the slots that are idle now."""
        slot, happened = trial.config[SLOT], unpack(result)
        if happened.id > self._last_seen[slot]:  # a slot that was started again repeats itself
            self._last_seen[slot] = happened.id
            try:
                self._enter(slot, happened)
                self._start_trials()
            except UserError as error:  # Tune would wrap it in a traceback
                self.error = error
        return str(self.CONTINUE)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Give up the trial of a slot that Tune does not start again."""
        if trial.should_recover():
            return
        number = self._trial_in.pop(trial.config[SLOT], None)
        if number is not None:
            reason = "its slot could not be kept alive; see driver.log"
            self._conductor.end(number, FAILED, reason)
            self._tell_ended(self._conductor.records[number])

    def _enter(self, slot: int, happened: Happened) -> None:
        number = happened.trial
        if happened.kind == "idle":
            self._idle.append(slot)
        elif happened.kind == "crash":
            logger.warning("trial %d: %s", number, happened.reason)
            self._conductor.crash(number, happened.reason)
        elif happened.kind == "report":
            stops = self._conductor.report(number, happened.step, happened.metrics)
            self._retention.saved(number, happened.step)
            self._mailboxes[slot].decide.remote(happened.id, stops)
            self._reported(self._conductor.records[number])
        elif happened.kind == "end" and happened.status == HALTED:
            raise StorageError([Problem(trial_name(number), happened.reason, "see above")])
        elif happened.kind == "end":
            self._conductor.end(number, happened.status, happened.reason)
            self._tell_ended(self._conductor.records[number])
            del self._trial_in[slot]
            self._idle.append(slot)
        for record in self._conductor.ended():
            self._tell_ended(record)

    def _tell_ended(self, record: TrialRecord) -> None:
        self._retention.ended(record.number)
        self._ended(record)

    def _start_trials(self) -> None:
        if self.is_stopping or self.error is not None:
            return
        while self._idle and (record := self._conductor.next_trial()) is not None:
            slot = self._idle.pop(0)
            self._trial_in[slot] = record.number
            ray.get(self._mailboxes[slot].post.remote(self._prepare(record).fields))
            for ended in self._conductor.ended():  # another one took its place
                self._tell_ended(ended)

    def check_budget(self) -> None:
        """Stop the trials that the budget no longer pays for."""
        unpaid = self._conductor.check_budget(time.time())
        for slot, number in self._trial_in.items():
            if number in unpaid and number not in self._unpaid:
                self._mailboxes[slot].stop.remote()
        self._unpaid = unpaid
        for record in self._conductor.ended():
            self._tell_ended(record)


class Finished(Stopper):  # type: ignore[misc]
    """Lets the slots end when the sweep is over, or is to stop; Tune ends when they have."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        slots: Slots,
        conductor: Conductor,
        run: RunDirectory,
        budget: BudgetConfig,
    ) -> None:
        self._dispatcher, self._slots = dispatcher, slots
        self._conductor, self._run = conductor, run
        self._has_budget = any(limit is not None for limit in budget.model_dump().values())

    def __getstate__(self) -> dict[str, Any]:
        """Be pickled as nothing."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Stop no single slot."""
        return False

    def stop_all(self) -> bool:
        """Say whether Tune is to end all slots at once, because they do not end by themselves."""
        dispatcher = self._dispatcher
        dispatcher.is_stopping |= self._run.stop_file.exists() or dispatcher.error is not None
        if self._has_budget:
            dispatcher.check_budget()
        if dispatcher.is_stopping or self._conductor.is_finished:
            self._slots.leave()
        return self._slots.are_overdue
