"""How fast trials are, measured on the reports of their journals; never guessed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median

from neft_ray.journal import PAUSE, TrialRecord

RECENT = 200
"""Intervals per arm from which a pace is taken: it follows a cluster that gets slower."""


@dataclass(frozen=True)
class Speed:
    """Seconds, with evaluations and checkpoints in them.

    Attributes:
        step_seconds: Of a step, by arm.
        start_seconds: From a trial's start to its first step, in a slot that is warm.
        first_seconds: The same for the first trial of all, whose slot starts too.
        source: Where it was measured.
    """

    step_seconds: Mapping[str, float]
    start_seconds: float
    first_seconds: float
    source: str

    def of(self, arm: str) -> float:
        """Return the seconds of a step in an arm; of an arm not yet seen, the slowest known."""
        return self.step_seconds.get(arm, max(self.step_seconds.values()))


class Pace:
    """Measures while reports come in, at a cost that does not grow with their number."""

    def __init__(self, records: Iterable[TrialRecord] = ()) -> None:
        """Begin with the reports of trials known already."""
        self._seconds: dict[str, deque[float]] = {}
        self._starts: deque[float] = deque(maxlen=RECENT)
        self._first_start: float | None = None
        for record in records:
            for number in range(len(record.reports)):
                self._note(record, number)

    def reported(self, record: TrialRecord) -> None:
        """Take note of a trial's last report."""
        self._note(record, len(record.reports) - 1)

    def speed(self, source: str = "measured in this run") -> Speed | None:
        """Return the medians so far, which no interruption moves; None before a second report."""
        if not self._seconds:
            return None
        per_arm = {arm: median(found) for arm, found in self._seconds.items()}
        starts = self._starts or [0.0]
        return Speed(per_arm, median(starts), self._first_start or max(starts), source)

    def _note(self, record: TrialRecord, number: int) -> None:
        report = record.reports[number]
        if number == 0:
            self._note_start(record)
            return
        before = record.reports[number - 1]
        if report.step > before.step and before.decision != PAUSE:
            found = self._seconds.setdefault(record.arm, deque(maxlen=RECENT))
            found.append((report.time - before.time) / (report.step - before.step))
            if number == 1:
                self._note_start(record)

    def _note_start(self, record: TrialRecord) -> None:
        """What the first report took beyond its steps; known once the arm's steps are timed."""
        if record.arm not in self._seconds or len(self._starts) == RECENT:
            return
        first = record.reports[0]
        steps = (first.step - record.parent_step) * median(self._seconds[record.arm])
        start = max(0.0, first.time - record.started - steps)
        if self._first_start is None:
            self._first_start = start
        self._starts.append(start)
