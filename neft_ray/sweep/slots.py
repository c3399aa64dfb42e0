"""The slots of a sweep, as Ray Tune starts and ends them."""

from __future__ import annotations

import random
import time
from typing import Any

from ray.tune.search import Searcher

SLOT = "slot"
LEAVE_SECONDS = 90.0
"""How long slots may take to end by themselves. Tune kills them after 5 seconds, and workers that
are just starting take longer to end."""


class Unpickled:
    """Is pickled as nothing: Tune writes its own record of a sweep, ours is the journal."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Slots(Unpickled, Searcher):  # type: ignore[misc]
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
