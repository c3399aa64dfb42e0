"""What MLflow has acknowledged of a run, kept in the run's own folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from neft_ray.tracking.cards import Status, read_json, write_json
from neft_ray.tracking.points import POINTS_FILES, read_points

MIRROR_FILE = "mlflow.json"


@dataclass(frozen=True)
class Mirrored:
    """What MLflow has acknowledged of a run, behind by at most a batch.

    A batch that is sent again changes nothing: MLflow keeps one of equal (run, metric, step,
    timestamp, value).
    """

    run_id: str
    offsets_bytes: Mapping[str, int] = field(default_factory=dict)
    """By file of points: everything before it is acknowledged."""
    status: Status = "RUNNING"
    files: Sequence[str] = ()
    """Artifacts that were sent."""

    @classmethod
    def of(cls, directory: Path) -> Mirrored | None:
        """Return what is known of a folder, None before its run exists."""
        found = read_json(directory / MIRROR_FILE)
        return cls(**found) if found is not None else None

    def keep(self, directory: Path) -> Mirrored:
        """Write it into the folder and return it."""
        write_json(directory / MIRROR_FILE, asdict(self))
        return self


def points_files(directory: Path) -> Iterator[Path]:
    """Yield a run's files of points: its own, and one per further node."""
    yield from sorted(directory.glob(POINTS_FILES))


def num_waiting_points(directory: Path) -> int:
    """Return how many values of a run are on disk only."""
    mirrored = Mirrored.of(directory)
    offsets = mirrored.offsets_bytes if mirrored else {}
    return sum(
        len(point.metrics)
        for path in points_files(directory)
        for point in read_points(path, offsets.get(path.name, 0))
    )
