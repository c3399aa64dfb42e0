"""Successive halving in step, in one bracket or several (Hyperband, arXiv 1603.06560)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import ClassVar

from neft_ray.journal import CONTINUE, PAUSE, TrialRecord
from neft_ray.sweep.rules.base import Cut, Move, Never, Resume


class Bracket:
    """Trials that begin together and are halved at the same rungs."""

    def __init__(self, size: int, rungs: Sequence[int], eta: int) -> None:
        """Begin without trials.

        Args:
            size: How many trials it is going to have.
            rungs: Where they are compared, ascending.
            eta: The best 1/eta go on.
        """
        self.size, self.rungs, self._eta = size, rungs, eta
        self.members: set[int] = set()
        self._level = 0
        self._losses: dict[int, float] = {}
        self._lost: set[int] = set()
        """Members of the present rung that ended before they reached it."""

    def reported(self, number: int, place: int, loss: float) -> bool:
        """Record a report; True if the trial waits at a rung now."""
        if self._level == len(self.rungs) or place < self.rungs[self._level]:
            return False
        self._losses[number] = loss
        return True

    def ended(self, number: int) -> None:
        """Note a trial that reports no more."""
        self._lost.add(number)

    def decide(self) -> list[Move]:
        """Return the moves of the present rung, once all its trials are there."""
        if self._level == len(self.rungs) or len(self.members) < self.size:
            return []
        if len(self._losses) + len(self._lost) < len(self.members):
            return []
        num_winners = max(1, len(self.members) // self._eta)
        ranked = sorted(self._losses, key=lambda number: (self._losses[number], number))
        winners, rung = sorted(ranked[:num_winners]), self.rungs[self._level]
        losers = sorted(ranked[num_winners:])
        reason = f"not among the best {num_winners} of {len(self.members)} at {rung}"
        self.members, self.size = set(winners), len(winners)
        self._level, self._losses, self._lost = self._level + 1, {}, set()
        moves: list[Move] = [Cut(number, reason) for number in losers]
        return moves + [Resume(number) for number in winners]


class Brackets(Never):
    """Every trial belongs to one bracket, in the order in which trials are added."""

    takes_more: ClassVar[bool] = False

    def __init__(self, brackets: Sequence[Bracket]) -> None:
        self._brackets = brackets
        self._of: dict[int, Bracket] = {}
        self._moves: deque[Move] = deque()

    def added(self, record: TrialRecord) -> None:
        """See `Rule`."""
        bracket = next(b for b in self._brackets if len(b.members) < b.size)
        bracket.members.add(record.number)
        self._of[record.number] = bracket

    def reported(self, record: TrialRecord, place: int, loss: float) -> str:
        """See `Rule`."""
        bracket = self._of[record.number]
        if not bracket.reported(record.number, place, loss):
            return CONTINUE
        self._moves += bracket.decide()
        return PAUSE

    def ended(self, record: TrialRecord) -> None:
        """See `Rule`."""
        bracket = self._of[record.number]
        bracket.ended(record.number)
        self._moves += bracket.decide()

    def move(self) -> Move | None:
        """See `Rule`."""
        return self._moves[0] if self._moves else None

    def made(self, move: Move) -> None:
        """See `Rule`."""
        self._moves.popleft()
