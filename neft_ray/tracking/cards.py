"""The card of a run: what a tracking server is to know of a folder besides its points."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from neft_ray.files import write_whole

CARD_FILE = "tracking.json"
NOTE_TAG = "mlflow.note.content"
"""The description that MLflow shows, in Markdown."""
Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
Param = bool | int | float | str | None


@dataclass(frozen=True)
class Dataset:
    """The data that a run was trained and evaluated on."""

    name: str
    digest: str
    """The hash of its content."""
    kind: str
    """Where it comes from: `local`, `hugging_face` or `builtin`."""
    source: Mapping[str, str]
    profile: Mapping[str, float]
    """Counts, such as `num_rows_train`."""


@dataclass(frozen=True)
class Card:
    """A sweep or a trial, as it is shown on a tracking server."""

    key: str
    """Unique for ever, so that the server's run can be found again whatever was lost."""
    name: str
    """What a person reads, such as `t007 α=15 lr=3e-4`."""
    params: Mapping[str, Param]
    tags: Mapping[str, str]
    start_ms: int
    """Milliseconds since 1970, UTC."""
    status: Status = "RUNNING"
    end_ms: int | None = None
    dataset: Dataset | None = None
    files: Sequence[str] = ()
    """Artifacts: names of files in the run's folder, which never change."""

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Card:
        """Return the card that was written with `asdict`."""
        dataset = fields.get("dataset")
        files = tuple(fields.get("files", ()))
        return cls(**{**fields, "dataset": dataset and Dataset(**dataset), "files": files})


def describe(
    directory: Path,
    name: str,
    params: Mapping[str, Param],
    tags: Mapping[str, str],
    dataset: Dataset | None = None,
    files: Sequence[str] = (),
) -> Card:
    """Write the card of a run that starts or, with the same key and start time, goes on.

    Args:
        directory: The run's folder, created if need be.
        name: What a person reads.
        params: Fixed, as the name, once the run is known to a server.
        tags: Can be changed when the run goes on.
        dataset: Fixed, as the params.
        files: Artifacts, names of files in the folder.

    Raises:
        StorageError: If the disk is full or not writable.
    """
    old = read_card(directory)
    key, start_ms = (old.key, old.start_ms) if old else (uuid.uuid4().hex, _now_ms())
    card = Card(key, name, params, tags, start_ms, dataset=dataset, files=tuple(files))
    write_json(directory / CARD_FILE, asdict(card))
    return card


def finish(directory: Path, status: Status, tags: Mapping[str, str] | None = None) -> None:
    """Write on a run's card how it ended. All its points must have been logged.

    Args:
        directory: A folder that was described.
        status: `FINISHED`, `FAILED` or `KILLED`.
        tags: More tags, such as the reason.

    Raises:
        FileNotFoundError: If the folder was never described.
        StorageError: If the disk is full or not writable.
    """
    card = read_card(directory)
    if card is None:
        raise FileNotFoundError(directory / CARD_FILE)
    card = replace(card, status=status, tags={**card.tags, **(tags or {})}, end_ms=_now_ms())
    write_json(directory / CARD_FILE, asdict(card))


def read_card(directory: Path) -> Card | None:
    """Return a run's card, or None if the folder was never described."""
    found = read_json(directory / CARD_FILE)
    return Card.from_json(found) if found is not None else None


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file, or None if there is no file."""
    try:
        return json.loads(path.read_bytes())  # type: ignore[no-any-return]
    except FileNotFoundError:
        return None


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a JSON file: whatever dies and whenever, it holds the old object or the new.

    Raises:
        StorageError: If the disk is full or not writable.
    """
    write_whole(path, json.dumps(value, ensure_ascii=False, indent=1))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
