"""Who is at work: which slots rest, wait for their workers, are idle, or run a trial."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from neft_ray.sweep.happened import Happened


class Roster:
    """Wakes slots while trials wait, and lets idle ones rest, so that machines come and go.

    A slot has workers from when they came, which on a growing cluster takes as long as a machine
    takes to start, until they went.
    """

    def __init__(self, mailboxes: Sequence[Any], rest_seconds: float | None) -> None:
        """Begin with all slots at rest.

        Args:
            mailboxes: One per slot.
            rest_seconds: How long a slot keeps its workers idle; None: to the end of the sweep.
        """
        self._mailboxes, self._rest_seconds = mailboxes, rest_seconds
        self._resting = list(range(len(mailboxes)))
        self._coming: dict[int, float] = {}
        self._idle: dict[int, float] = {}
        """Both since when, by slot, those that came first before the others."""
        self._trial_in: dict[int, int] = {}
        self._num_workers: dict[int, int] = {}

    @property
    def manned(self) -> tuple[int, int]:
        """How many slots have workers, and how many workers these are."""
        slots = [*self._idle, *self._trial_in]
        return len(slots), sum(self._num_workers[slot] for slot in slots)

    @property
    def first_idle(self) -> int | None:
        """The slot that has been idle for the longest."""
        return next(iter(self._idle), None)

    @property
    def running(self) -> list[tuple[int, int]]:
        """Slots and their trials."""
        return list(self._trial_in.items())

    def note(self, slot: int, happened: Happened) -> None:
        """Take note of what happened in a slot."""
        if happened.kind == "report" or happened.kind == "woken":
            return
        self._trial_in.pop(slot, None)
        if slot in self._resting:
            return
        self._idle.pop(slot, None)
        self._coming.pop(slot, None)
        if happened.kind == "came":
            self._num_workers[slot] = happened.num_workers
        if happened.is_idle:
            self._idle[slot] = time.monotonic()
        else:
            self._coming[slot] = time.monotonic()

    def give(self, slot: int, trial: int) -> None:
        """Note that an idle slot has a trial."""
        del self._idle[slot]
        self._trial_in[slot] = trial

    def refused(self, slot: int) -> None:
        """Note that an idle slot's workers are gone, of which word is on its way."""
        del self._idle[slot]
        self._coming[slot] = time.monotonic()

    def lose(self, slot: int) -> int | None:
        """Strike a slot off that Tune has given up, and return its trial, if it has one."""
        self._idle.pop(slot, None)
        self._coming.pop(slot, None)
        if slot in self._resting:
            self._resting.remove(slot)
        return self._trial_in.pop(slot, None)

    def wake(self, num_trials: int) -> None:
        """See to it that as many slots have workers, or wait for them, as trials could start."""
        for slot in self._resting[: max(0, num_trials - len(self._idle) - len(self._coming))]:
            self._resting.remove(slot)
            self._coming[slot] = time.monotonic()
            self._mailboxes[slot].wake.remote()

    def rest(self, num_trials: int) -> None:
        """Let slots rest that have been idle for long, or have waited in vain for long.

        Args:
            num_trials: That could start; as many slots go on waiting for workers.
        """
        if self._rest_seconds is None:
            return
        before = time.monotonic() - self._rest_seconds
        idle = [slot for slot, since in self._idle.items() if since < before]
        waiting = [slot for slot, since in self._coming.items() if since < before]
        surplus = max(0, len(self._coming) + len(self._idle) - num_trials)
        for slot in [*idle, *waiting[:surplus]]:
            self._idle.pop(slot, None)
            self._coming.pop(slot, None)
            self._resting.append(slot)
            self._mailboxes[slot].rest.remote()
