"""Proposers that learn nothing: a grid, and draws from a stream of points."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from neft_ray.config.arm_space import ArmSpace
from neft_ray.config.space import Values
from neft_ray.journal import TrialRecord
from neft_ray.sweep.search.draws import Drawing, Key, Stream, mark
from neft_ray.sweep.search.supply import Supply


class Grid:
    """Every combination that keeps the constraints, the last key changing fastest."""

    def __init__(self, space: ArmSpace) -> None:
        points = space.allowed_points
        assert points is not None  # config/checks.py
        self._points = [(mark(point), point) for point in points]
        self._supply = Supply(space, None)
        self.num_trials = self._supply.num_trials
        self.num_left, self.can_go_on = self._supply.num_left, self._supply.can_go_on

    def propose(self, history: Sequence[TrialRecord], priors: Sequence[TrialRecord] = ()) -> Values:
        """See `Proposer`. The first point that was not run: the space may have been another."""
        seen = self._supply.seen(history)
        return dict(next(point for key, point in self._points if key not in seen))


class Drawn:
    """The n-th point of a stream that can be used, after those to be tried first.

    Where points are listed no point comes twice before all have come.
    """

    def __init__(
        self, space: ArmSpace, stream: Stream, num_trials: int, first: Sequence[Values]
    ) -> None:
        self._first, self._drawing = first, Drawing(space, stream)
        self._found: list[Values] = []
        self._drawn: set[Key] = set()
        self._numbers = count()
        self._supply = Supply(space, num_trials)
        self.num_trials = self._supply.num_trials
        self.num_left, self.can_go_on = self._supply.num_left, self._supply.can_go_on

    def propose(self, history: Sequence[TrialRecord], priors: Sequence[TrialRecord] = ()) -> Values:
        """See `Proposer`. Only the number of earlier trials counts, and which points they were."""
        while (number := len(self._found)) <= len(history):
            preset = self._first[number] if number < len(self._first) else {}
            # Earlier draws are made again to come as far in the stream as they did.
            seen = self._supply.seen(history) if number == len(history) else self._drawn
            values = self._drawing.draw(self._numbers.__next__, preset, seen)
            self._drawn.add(mark(values))
            self._found.append(values)
        return dict(self._found[len(history)])
