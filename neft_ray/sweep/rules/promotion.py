"""Asynchronous successive halving with promotion (Li et al., arXiv 1810.05934, Algorithm 2)."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence

from neft_ray.journal import CONTINUE, PAUSE, TrialRecord
from neft_ray.sweep.rules.base import Move, Never, Resume


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
        self._ranked: list[list[tuple[float, int]]] = [[] for _ in rungs]
        self._promoted: list[set[int]] = [set() for _ in rungs]

    def added(self, record: TrialRecord) -> None:
        """See `Rule`."""
        self._next_rung[record.number] = 0

    def reported(self, record: TrialRecord, place: int, loss: float) -> str:
        """See `Rule`. A trial that is among the best already goes on at once."""
        level = self._next_rung[record.number]
        if level == len(self._rungs) or place < self._rungs[level]:
            return CONTINUE
        self._next_rung[record.number] = level + 1
        insort(self._ranked[level], (loss, record.number))
        if record.number in self._best(level):
            self._promoted[level].add(record.number)
            return CONTINUE
        return PAUSE

    def ended(self, record: TrialRecord) -> None:
        """See `Rule`. It keeps its places: what it showed is as true as before."""
        for promoted in self._promoted[: self._next_rung[record.number]]:
            promoted.add(record.number)

    def move(self) -> Move | None:
        """See `Rule`: the best of the highest rung first."""
        for level in reversed(range(len(self._rungs))):
            for number in self._best(level):
                if number not in self._promoted[level]:
                    return Resume(number)
        return None

    def made(self, move: Move) -> None:
        """See `Rule`."""
        self._promoted[self._next_rung[move.trial] - 1].add(move.trial)  # type: ignore[union-attr]

    def _best(self, level: int) -> list[int]:
        ranked = self._ranked[level]
        return [number for _, number in ranked[: len(ranked) // self._eta]]
