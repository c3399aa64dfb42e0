"""The points of a trial on disk: one JSON line per step, appended by a worker, read by anyone."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from neft_ray.errors import StorageError, bad_input

POINTS_FILE = "metrics.jsonl"
POINTS_FILES = "metrics*.jsonl"
"""One more per further node, see `node_points_file`, and the driver's."""
DRIVER_POINTS_FILE = "metrics-driver.jsonl"
_NAME = re.compile(r"(?=.{1,250}\Z)[\w\-](?:[\w.\- :]|/(?=[\w\-]))*")
"""Within what MLflow accepts: letters, digits, `_ - . :` and spaces, in parts joined by `/`."""


@dataclass(frozen=True)
class Point:
    """The metrics of one step, as they were logged together."""

    step: int
    timestamp_ms: int
    """Milliseconds since 1970, UTC."""
    metrics: Mapping[str, float]
    """NaN and infinities included."""
    end_bytes: int
    """Where the next line starts in the file."""


class MetricsLog:
    """Appends points to a file. One writer at a time; readers need no lock.

    Every metric's steps rise: a step that is logged again, as after a resume from an earlier
    checkpoint, is dropped, and the point keeps its first timestamp. A point is safe from a killed
    process once `log` has returned, and from a power cut once `close` has.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, cut off a last line left incomplete by a crash, and read the last steps.

        Args:
            path: Created with its folder if need be.

        Raises:
            UserError: If the file cannot be written or is damaged.
        """
        self._path = path
        self._last_steps: dict[str, int] = {}
        self._size_bytes = 0
        for point in read_points(path):
            self._remember(point.step, point.metrics)
            self._size_bytes = point.end_bytes
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)
            self._file.truncate(self._size_bytes)
        except OSError as error:
            raise StorageError.of(path, error) from error

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append the metrics that have no point at this step or a later one yet.

        Args:
            step: Optimizer step, 0 or more.
            metrics: Values by name; NaN and infinities are values like any other.

        Raises:
            ValueError: If a name is one that MLflow would refuse.
            StorageError: If the disk is full; the file then ends with the last whole line.
        """
        fresh = {
            name: float(value)
            for name, value in metrics.items()
            if step > self._last_steps.get(name, -1)
        }
        if not fresh:
            return
        for name in fresh.keys() - self._last_steps.keys():
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no metric name: use letters, digits, _-.: and /")
        entry = {"step": step, "timestamp_ms": time.time_ns() // 1_000_000, "metrics": fresh}
        self._append(json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        self._remember(step, fresh)

    def close(self) -> None:
        """Force the points to disk and close the file.

        Raises:
            StorageError: If the disk is full.
        """
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise StorageError.of(self._path, error) from error
        finally:
            self._file.close()

    def _append(self, line: bytes) -> None:
        rest = line
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._file.truncate(self._size_bytes)
            raise StorageError.of(self._path, error) from error
        self._size_bytes += len(line)

    def _remember(self, step: int, metrics: Mapping[str, float]) -> None:
        self._last_steps.update(dict.fromkeys(metrics, step))


def node_points_file(directory: Path, node: int) -> Path:
    """Return where the leading worker of a node writes: files have one writer each.

    Args:
        directory: The run's folder.
        node: The node's number among those of the trial; the first one's is the run's own file.
    """
    return directory / (f"metrics-{node}.jsonl" if node else POINTS_FILE)


def read_points(path: Path, start_bytes: int = 0) -> Iterator[Point]:
    """Yield the points of a file; a last line that is still being written is no point yet.

    Args:
        path: The file; no points if it does not exist.
        start_bytes: Where to start: 0, or the `end_bytes` of a point.

    Raises:
        UserError: If a line in the middle is damaged, or the file is shorter than `start_bytes`.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        if start_bytes > file.seek(0, os.SEEK_END):
            raise bad_input(path, f"ends before byte {start_bytes}", "restore it from a backup")
        file.seek(start_bytes)
        for line in file:
            if not line.endswith(b"\n"):
                return
            start_bytes += len(line)
            try:
                entry = json.loads(line)
                yield Point(entry["step"], entry["timestamp_ms"], entry["metrics"], start_bytes)
            except (ValueError, KeyError, TypeError):
                where = f"{path}: the line that ends at byte {start_bytes}"
                raise bad_input(where, "is damaged", "restore it from a backup") from None
