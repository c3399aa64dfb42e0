"""The journal: every suggestion, report, decision and end of a sweep, in the order they happened.

It is the sweep's only state. Reading it again gives the trials, their rungs and what the
searchers were told, whatever process died in between.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from neft_ray.errors import StorageError, bad_input
from neft_ray.pieces import PiecesOfFile

Event = dict[str, Any]
Phase = Literal["search", "finalist"]
CONTINUE, STOP, PAUSE = "continue", "stop", "pause"
RUNNING = "running"
PAUSED = "paused"
"""Waits at a rung until it is decided whether it goes on."""
COMPLETED = "completed"
STOPPED = "stopped"
DIVERGED = "diverged"
FAILED = "failed"
CANCELLED = "cancelled"
"""Stopped by hand with `neft-ray stop --trial`."""
HALTED = "halted"
"""Stopped because nothing can be written; never in the journal, for the trial is to go on."""
MOVED = "moved"
"""Left off with a checkpoint, to go on where other workers are; never in the journal either."""


@dataclass(frozen=True)
class Report:
    """One evaluation of a trial."""

    step: int
    metrics: Mapping[str, float]
    decision: str
    time: float


@dataclass
class TrialRecord:
    """What is known of a trial."""

    number: int
    arm: str
    phase: Phase
    values: Mapping[str, Any]
    seed: int
    started: float
    num_steps: int
    """Steps of the whole trial."""
    parent: int | None = None
    """The trial from whose checkpoint it goes on, in population-based training."""
    parent_step: int = 0
    """The step of that checkpoint."""
    reports: list[Report] = field(default_factory=list)
    status: str = RUNNING
    reason: str = ""
    ended: float | None = None
    num_crashes: int = 0

    @property
    def last_step(self) -> int:
        """The last reported step; before the first report, the one it starts after."""
        return self.reports[-1].step if self.reports else self.parent_step

    @property
    def spent_steps(self) -> int:
        """Steps up to the last report, without those of its parent."""
        return self.last_step - self.parent_step

    @property
    def best(self) -> Report | None:
        """The report with the lowest select loss, the earliest of equals."""
        finite = [r for r in self.reports if math.isfinite(r.metrics["select_loss"])]
        return min(finite, key=lambda r: r.metrics["select_loss"], default=None)

    def objective(self, at: str) -> float:
        """Return the select loss at the best report or at the end; inf where none is finite.

        Args:
            at: `best` or `end`.
        """
        ended_well = self.reports and self.status != DIVERGED
        last = self.reports[-1] if ended_well else None
        report = self.best if at == "best" else last
        loss = report.metrics["select_loss"] if report else math.inf
        return loss if math.isfinite(loss) else math.inf

    def series(self, metric: str) -> tuple[list[int], list[float]]:
        """Return steps and values of a metric, where it was reported."""
        pairs = [(r.step, r.metrics[metric]) for r in self.reports if metric in r.metrics]
        return [step for step, _ in pairs], [value for _, value in pairs]


def apply(records: dict[int, TrialRecord], event: Event) -> None:
    """Bring the records up to date with one event."""
    kind = event["event"]
    if kind == "suggest":
        names = ("arm", "phase", "values", "seed", "num_steps", "parent", "parent_step")
        fields = {name: event[name] for name in names if name in event}
        number = event["trial"]
        records[number] = TrialRecord(number, started=event["time"], **fields)
        if "replaces" in event:
            _end(records[event["replaces"]], STOPPED, event["reason"], event["time"])
    elif kind == "report":
        report = Report(event["step"], event["metrics"], event["decision"], event["time"])
        record = records[event["trial"]]
        record.reports.append(report)
        if report.decision == STOP:
            _end(record, event.get("status", STOPPED), event.get("reason", ""), report.time)
        elif report.decision == PAUSE:
            record.status = PAUSED
    elif kind == "resume":
        records[event["trial"]].status = RUNNING
    elif kind == "crash":
        records[event["trial"]].num_crashes += 1
    elif kind in ("end", "cut"):
        status = event.get("status", STOPPED)
        _end(records[event["trial"]], status, event["reason"], event["time"])


def _end(record: TrialRecord, status: str, reason: str, at: float) -> None:
    record.status, record.reason, record.ended = status, reason, at


def record_fields(record: TrialRecord) -> dict[str, Any]:
    """Return a trial as plain values, for an event that tells of it whole."""
    return asdict(record)


def record_of(fields: Mapping[str, Any]) -> TrialRecord:
    """Return the trial of such values."""
    reports = [Report(**report) for report in fields["reports"]]
    return TrialRecord(**{**fields, "reports": reports})


def read_events(path: Path) -> Iterator[Event]:
    """Yield the events of a journal; a last line cut off by a crash is no event.

    Raises:
        UserError: If a line in the middle is damaged.
    """
    if not path.exists():
        return
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):
        try:
            yield json.loads(line)
        except ValueError:
            where = f"{path}:{number}"
            raise bad_input(where, "is damaged", "restore it from a backup") from None


def is_finished(path: Path) -> bool:
    """Tell whether a journal ends with its sweep's end: one that goes on is not finished."""
    last: Event = {}
    for event in read_events(path):
        last = event
    return last.get("event") == "finish"


def read_records(path: Path) -> dict[int, TrialRecord]:
    """Return the trials of a journal by number."""
    return reduce_events(read_events(path))


def reduce_events(events: Iterable[Event]) -> dict[int, TrialRecord]:
    """Return the trials that events tell of, by number."""
    records: dict[int, TrialRecord] = {}
    for event in events:
        apply(records, event)
    return records


class Journal:
    """Appends events to a file, each on disk before it takes effect.

    In a working copy (working_copy.py) each is in the bucket too by then.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, cutting off a last line left incomplete by a crash.

        Raises:
            StorageError: If the bucket of a working copy does not answer.
        """
        self._path = path
        complete = path.read_bytes().rfind(b"\n") + 1 if path.exists() else 0
        self._file = path.open("ab")
        self._file.truncate(complete)
        self._sent = PiecesOfFile(path)
        self._sent.send()

    def append(self, event: str, **fields: Any) -> Event:
        """Write an event with the present time and return it.

        Raises:
            StorageError: If the disk is full.
        """
        (entry,) = self.append_all([{"event": event, **fields}])
        return entry

    def append_all(self, events: Iterable[Event]) -> list[Event]:
        """Write events that happen together, all of them with the present time.

        Raises:
            StorageError: If the disk is full.
        """
        now = round(time.time(), 3)
        entries = [event | {"time": now} for event in events]
        try:
            self._file.write(b"".join(json.dumps(entry).encode() + b"\n" for entry in entries))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise StorageError.of(self._path, error) from error
        self._sent.send()
        return entries

    def close(self) -> None:
        """Close the file."""
        self._file.close()
