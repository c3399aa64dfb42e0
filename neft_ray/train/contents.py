"""What a checkpoint consists of, written down while it is sealed and checked before it is read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from mmap import ACCESS_READ, mmap
from pathlib import Path

from xxhash import xxh3_64_hexdigest

from neft_ray.errors import Problem

STATE_FILE = "state.json"
Notes = dict[str, tuple[int, str]]
"""Size in bytes and XXH3 of files, by their path in a checkpoint."""
_REMEDY = "the checkpoint before it is used; delete this one"


@dataclass(frozen=True)
class State:
    """What a checkpoint says of itself.

    Attributes:
        step: Optimizer steps done.
        config_hash: Of the trial's configuration.
        metrics: The evaluation at that step; none where a trial left its machine between two.
        file_bytes: Size of every file, by its path in the folder, to notice a truncated one.
        file_sums: XXH3 of every file, 16 hexadecimal digits, to notice one that was altered.
        num_workers: How many wrote it; 0 is unknown.
    """

    step: int
    config_hash: str
    metrics: dict[str, float]
    file_bytes: dict[str, int] = field(default_factory=dict)
    file_sums: dict[str, str] = field(default_factory=dict)
    num_workers: int = 0


def noted(partial: Path, files: Iterable[Path]) -> Notes:
    """Force files of an unfinished checkpoint to disk, and note what they hold."""
    notes = {}
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
        notes[path.relative_to(partial).as_posix()] = (path.stat().st_size, _sum_of(path))
    return notes


def _sum_of(path: Path) -> str:
    with path.open("rb") as file:
        if not path.stat().st_size:  # cannot be mapped
            return xxh3_64_hexdigest(b"")
        with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            return xxh3_64_hexdigest(content)


def seal(partial: Path, state: State, notes: Notes) -> list[str]:
    """Write down what a complete checkpoint consists of, all that no rank has noted included.

    Returns:
        The files that no rank has noted.
    """
    rest = [p for p in partial.rglob("*") if p.is_file()]
    rest = [p for p in rest if p.relative_to(partial).as_posix() not in notes]
    more = noted(partial, rest)
    notes = dict(sorted((notes | more).items()))
    sizes = {name: num_bytes for name, (num_bytes, _) in notes.items()}
    sums = {name: checksum for name, (_, checksum) in notes.items()}
    with (partial / STATE_FILE).open("w") as file:
        json.dump(asdict(replace(state, file_bytes=sizes, file_sums=sums)), file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    return list(more)


def read_state(folder: Path) -> State:
    """Read what a checkpoint says of itself."""
    return State(**json.loads((folder / STATE_FILE).read_text()))


def damage(folder: Path, config_hash: str) -> Problem | None:
    """Say what is wrong with a checkpoint, without reading its tensors."""
    try:
        state = read_state(folder)
    except (OSError, ValueError, TypeError) as error:
        return Problem(str(folder), f"is no checkpoint: {error}", _REMEDY)
    if state.config_hash != config_hash:
        return Problem(str(folder), "belongs to a trial with another configuration", _REMEDY)
    for name, num_bytes in state.file_bytes.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != num_bytes:
            return Problem(str(path), f"is missing or not {num_bytes} bytes long", _REMEDY)
    return None


def altered(folder: Path, rank: int = 0, world: int = 1) -> Problem | None:
    """Say which file of an otherwise sound checkpoint does not hold what was written.

    Args:
        folder: The checkpoint.
        rank: Of those that share the reading: this one reads every `world`-th file.
        world: Their number.
    """
    for name, total in list(read_state(folder).file_sums.items())[rank::world]:
        if _sum_of(folder / name) != total:
            what = "does not hold what was written: its checksum is another"
            return Problem(str(folder / name), what, _REMEDY)
    return None
