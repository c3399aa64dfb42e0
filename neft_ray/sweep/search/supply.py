"""What an arm still has to propose: planned trials, and points that were not run."""

from __future__ import annotations

from collections.abc import Sequence
from operator import is_

from neft_ray.config.arm_space import ArmSpace
from neft_ray.journal import TrialRecord
from neft_ray.sweep.search.draws import Key, mark


class Supply:
    """Counts what is left.

    Where points are listed none is run twice: a trial is a function of its values, so a repetition
    would teach nothing.
    """

    def __init__(self, space: ArmSpace, num_trials: int | None) -> None:
        """Begin with everything.

        Args:
            space: The arm's.
            num_trials: The `sweep.num_trials` setting; None: every point.
        """
        listed = space.allowed_points
        self._listed = None if listed is None else frozenset(map(mark, listed))
        self._wanted = num_trials
        sizes = [] if listed is None else [len(listed)]
        self.num_trials = min(sizes if num_trials is None else [num_trials, *sizes])
        """Planned, in an arm that has run nothing yet."""
        self._records: list[TrialRecord] = []
        self._seen: set[Key] = set()
        self._num_unused = len(listed or ())

    def seen(self, history: Sequence[TrialRecord]) -> set[Key]:
        """Return the points of a history; empty where points are not listed."""
        if self._listed is None:
            return set()
        if len(history) < len(self._records) or not all(map(is_, self._records, history)):
            self._records, self._seen = [], set()
        if added := history[len(self._records) :]:
            self._seen |= {mark(record.values) for record in added}
            self._records += added
            self._num_unused = len(self._listed - self._seen)
        return self._seen

    def num_left(self, history: Sequence[TrialRecord]) -> int:
        """See `Proposer`. The space may have been another when earlier trials were proposed."""
        planned = None if self._wanted is None else self._wanted - len(history)
        if self._listed is None:
            assert planned is not None  # config/checks.py
            return planned
        self.seen(history)
        return self._num_unused if planned is None else min(planned, self._num_unused)

    def can_go_on(self, history: Sequence[TrialRecord]) -> bool:
        """See `Proposer`."""
        self.seen(history)
        return self._listed is None or self._num_unused > 0
