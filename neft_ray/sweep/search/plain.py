"""Proposers that learn nothing: a grid, and draws from a stream of points."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from neft_ray.config.arm_space import ArmSpace
from neft_ray.config.space import Values
from neft_ray.journal import TrialRecord
from neft_ray.sweep.search.draws import Drawing, Key, Seen, Stream, mark


class Grid:
    """Every combination that keeps the constraints, the last key changing fastest."""

    can_go_on = False

    def __init__(self, space: ArmSpace) -> None:
        points = space.allowed_points
        assert points is not None  # config/checks.py
        self._points = [(mark(point), point) for point in points]
        self._seen = Seen()
        self.num_trials, self.num_left_out = len(points), space.num_left_out

    def propose(self, history: Sequence[TrialRecord], priors: Sequence[TrialRecord] = ()) -> Values:
        """See `Proposer`. The first point that was not run: the space may have been smaller."""
        seen = self._seen.of(history)
        return dict(next(point for key, point in self._points if key not in seen))


class Drawn:
    """The n-th point of a stream that can be used, after those to be tried first.

    Where points are listed no point comes twice before all have come.
    """

    num_left_out = 0

    def __init__(
        self, space: ArmSpace, stream: Stream, num_trials: int, first: Sequence[Values]
    ) -> None:
        self._first, self._drawing = first, Drawing(space, stream)
        self._found: list[Values] = []
        self._seen: set[Key] = set()
        self._numbers = count()
        self.num_trials, self.can_go_on = limits(space, num_trials)

    def propose(self, history: Sequence[TrialRecord], priors: Sequence[TrialRecord] = ()) -> Values:
        """See `Proposer`. Only the number of earlier trials counts."""
        while len(self._found) <= len(history):
            number = len(self._found)
            preset = self._first[number] if number < len(self._first) else {}
            values = self._drawing.draw(self._numbers.__next__, preset, self._seen)
            self._seen.add(mark(values))
            self._found.append(values)
        return dict(self._found[len(history)])


def limits(space: ArmSpace, num_trials: int) -> tuple[int, bool]:
    """Return how many trials are of use, and whether as many again would be.

    A trial is a function of its values: none is run twice for want of others.
    """
    listed = space.allowed_points
    if listed is None:
        return num_trials, True
    return min(num_trials, len(listed)), 2 * num_trials <= len(listed)
