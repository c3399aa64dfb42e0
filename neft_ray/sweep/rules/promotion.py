"""Asynchronous successive halving with promotion (Li et al., arXiv 1810.05934, Algorithm 2)."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

from neft_ray.journal import CONTINUE, PAUSE, TrialRecord
from neft_ray.sweep.rules.base import Move, Never, Resume

Place = tuple[float, int]
"""Loss and number of a trial."""


class Promotion(Never):
    """A trial pauses at every rung, until it is among the best 1/eta of those that reached it."""

    def __init__(self, rungs: Sequence[int], eta: int) -> None:
        """Begin without trials.

        Args:
            rungs: Where trials are compared, ascending.
            eta: The best 1/eta go on.
        """
        self._rungs, self._eta = rungs, eta
        self._next_rung: dict[int, int] = {}
        self._ranked: list[list[Place]] = [[] for _ in rungs]
        self._waiting: list[list[Place]] = [[] for _ in rungs]
        """Of those ranked, who did not go on; both ascending."""
        self._place: dict[tuple[int, int], Place] = {}
        """By level and trial, of those who wait."""

    def added(self, record: TrialRecord) -> None:
        """See `Rule`."""
        self._next_rung[record.number] = 0

    def reported(self, record: TrialRecord, place: int, loss: float) -> str:
        """See `Rule`. A trial that is among the best already goes on at once."""
        level = self._next_rung[record.number]
        if level == len(self._rungs) or place < self._rungs[level]:
            return CONTINUE
        self._next_rung[record.number] = level + 1
        found = (loss, record.number)
        insort(self._ranked[level], found)
        if self._is_best(level, found):
            return CONTINUE
        insort(self._waiting[level], found)
        self._place[level, record.number] = found
        return PAUSE

    def ended(self, record: TrialRecord) -> None:
        """See `Rule`. It keeps its ranks: what it showed is as true as before."""
        self._waits_no_more(record.number)

    def move(self) -> Move | None:
        """See `Rule`: the best of the highest rung first."""
        for level in reversed(range(len(self._rungs))):
            waiting = self._waiting[level]
            if waiting and self._is_best(level, waiting[0]):
                return Resume(waiting[0][1])
        return None

    def made(self, move: Move) -> None:
        """See `Rule`."""
        assert isinstance(move, Resume)
        self._waits_no_more(move.trial)

    def _is_best(self, level: int, place: Place) -> bool:
        ranked = self._ranked[level]
        return bisect_left(ranked, place) < len(ranked) // self._eta

    def _waits_no_more(self, number: int) -> None:
        """Take a trial from the rung where it waits, if it does: the last that it came to."""
        level = self._next_rung[number] - 1
        if (place := self._place.pop((level, number), None)) is not None:
            waiting = self._waiting[level]
            del waiting[bisect_left(waiting, place)]
