"""The dispatcher: Ray Tune's view of a sweep. It gives trials to slots and decisions to trials."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray.tune import Stopper
from ray.tune.schedulers import FIFOScheduler

from neft_ray.config.sweep import BudgetConfig
from neft_ray.errors import Problem, StorageError, UserError, bad_input
from neft_ray.journal import FAILED, HALTED, RUNNING, TrialRecord
from neft_ray.order import Order
from neft_ray.run_directory import RunDirectory, trial_name
from neft_ray.sweep.conductor import Conductor
from neft_ray.sweep.happened import Happened
from neft_ray.sweep.health import given_up
from neft_ray.sweep.retention import Retention
from neft_ray.sweep.roster import Roster
from neft_ray.sweep.slot import unpack
from neft_ray.sweep.slots import SLOT, Slots, Unpickled

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Calls:
    """What the driver does on the way.

    Attributes:
        prepare: Makes a trial's folder and says what a worker needs to know.
        reported: Is called after every report.
        ended: Is called after a trial's end.
    """

    prepare: Callable[[TrialRecord], Order]
    reported: Callable[[TrialRecord], None]
    ended: Callable[[TrialRecord], None]


class Dispatcher(Unpickled, FIFOScheduler):  # type: ignore[misc]
    """Is told by Tune whatever happens in a slot, and acts on it."""

    def __init__(
        self,
        conductor: Conductor,
        slots: Slots,
        roster: Roster,
        retention: Retention,
        max_failures: int,
        calls: Calls,
    ) -> None:
        """Serve a conductor.

        Args:
            conductor: Decides.
            slots: Where trials run.
            roster: Which of them have workers.
            retention: Deletes superfluous checkpoints.
            max_failures: How often the workers of a trial may die before it is given up.
            calls: What the driver does on the way.
        """
        super().__init__()
        self._conductor, self._mailboxes, self._retention = conductor, slots.mailboxes, retention
        self._roster, self._max_failures, self._calls = roster, max_failures, calls
        self.error: UserError | None = None
        """What ends the sweep before its time; `--resume` goes on."""
        self.is_stopping = False
        """While true, no trial starts."""
        self._unpaid: list[int] = []
        self._num_lost = 0
        """Slots that Tune has given up."""
        self._last_seen = dict.fromkeys(range(len(slots.mailboxes)), 0)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Enter what happened in a slot; start trials where there are workers for them."""
        slot, happened = trial.config[SLOT], unpack(result)
        if happened.id > self._last_seen[slot]:  # a slot that was started again repeats itself
            self._last_seen[slot] = happened.id
            with self._error_kept():
                self._enter(slot, happened)
                self.start_trials()
        return str(self.CONTINUE)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Give the trial of a slot that Tune does not start again to another one."""
        if trial.should_recover():
            return
        number = self._roster.lose(trial.config[SLOT])
        self._num_lost += 1
        with self._error_kept():
            if number is not None:
                self._handed_back(
                    "crash", number, "its slot could not be kept alive; see driver.log"
                )
            self._conductor.hold(*self._roster.manned)
            self._tell_all_ended()
            self.start_trials()
            is_over = self.is_stopping or self._conductor.is_finished
            if self._num_lost == len(self._mailboxes) and not is_over:
                remedy = "see there what killed them, then go on with --resume"
                raise bad_input("driver.log", "no slot could be kept alive", remedy)

    def start_trials(self) -> None:
        """Start trials in idle slots, and wake others while there are more."""
        if self.is_stopping or self.error is not None:
            return
        while (slot := self._roster.first_idle) is not None:
            if (record := self._conductor.next_trial()) is None:
                break
            if ray.get(self._mailboxes[slot].post.remote(self._calls.prepare(record).fields)):
                self._roster.give(slot, record.number)
            else:
                self._roster.refused(slot)
                self._conductor.postpone(record.number)
            self._tell_all_ended()  # another one took its place
        self._roster.wake(self._conductor.num_waiting)

    def _enter(self, slot: int, happened: Happened) -> None:
        number = happened.trial
        self._roster.note(slot, happened)
        if happened.kind == "report":
            stops = self._conductor.report(number, happened.step, happened.metrics)
            self._retention.saved(number, happened.step)
            self._mailboxes[slot].decide.remote(happened.id, stops)
            self._calls.reported(self._conductor.records[number])
        elif happened.kind in ("crash", "move"):
            self._handed_back(happened.kind, number, happened.reason)
        elif happened.kind == "end" and happened.status == HALTED:
            raise StorageError([Problem(trial_name(number), happened.reason, "see above")])
        elif happened.kind == "end":
            self._end(number, happened.status, happened.reason)
        self._conductor.hold(*self._roster.manned)
        self._tell_all_ended()

    def _handed_back(self, kind: str, number: int, reason: str) -> None:
        """Let a trial go on where there are workers next; after crashes, not for ever."""
        record = self._conductor.records[number]
        if record.status != RUNNING:  # its last report has stopped it
            self._tell_ended(record)
        elif kind == "move":
            self._conductor.move(number, reason)
            self._retention.moved(number)
        else:
            self._crashed(record, reason)

    def _crashed(self, record: TrialRecord, reason: str) -> None:
        logger.warning("trial %d: %s", record.number, reason)
        if why := given_up(record, self._max_failures, reason):
            self._end(record.number, FAILED, why)
        else:
            self._conductor.crash(record.number, reason)

    def _end(self, number: int, status: str, reason: str) -> None:
        self._conductor.end(number, status, reason)
        self._tell_ended(self._conductor.records[number])

    def _tell_ended(self, record: TrialRecord) -> None:
        self._retention.ended(record.number)
        self._calls.ended(record)

    def _tell_all_ended(self) -> None:
        for record in self._conductor.ended():
            self._tell_ended(record)

    def check_budget(self) -> None:
        """Stop the trials that the budget no longer pays for."""
        with self._error_kept():
            unpaid = self._conductor.check_budget(time.time())
            for slot, number in self._roster.running:
                if number in unpaid and number not in self._unpaid:
                    self._mailboxes[slot].stop.remote()
            self._unpaid = unpaid
            self._tell_all_ended()

    @contextmanager
    def _error_kept(self) -> Iterator[None]:
        """Keep an error for the driver to raise; Tune would wrap it in a traceback."""
        try:
            yield
        except UserError as error:
            self.error = error


class Finished(Stopper):  # type: ignore[misc]
    """Lets the slots end when the sweep is over, or is to stop; Tune ends when they have."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        slots: Slots,
        roster: Roster,
        conductor: Conductor,
        run: RunDirectory,
        budget: BudgetConfig,
    ) -> None:
        self._dispatcher, self._slots, self._roster = dispatcher, slots, roster
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
        else:
            self._roster.rest(self._conductor.num_waiting)
        return self._slots.are_overdue
