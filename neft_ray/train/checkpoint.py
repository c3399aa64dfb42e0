"""Checkpoints of one trial: atomic folders `step-000100` with everything to go on from there."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from neft_ray.errors import Problem, StorageError, UserError
from neft_ray.strategy.base import Engine, together

NAME = re.compile(r"step-(\d{6,})")
STATE_FILE = "state.json"
logger = logging.getLogger(__name__)


def folder_of(checkpoints: Path, step: int) -> Path:
    """Return the folder of a step's checkpoint."""
    return checkpoints / f"step-{step:06d}"


def steps_in(checkpoints: Path) -> list[int]:
    """Return the steps with a complete checkpoint, in order."""
    if not checkpoints.is_dir():
        return []
    matches = (NAME.fullmatch(entry.name) for entry in checkpoints.iterdir())
    return sorted(int(match[1]) for match in matches if match)


@dataclass(frozen=True)
class State:
    """What a checkpoint says of itself.

    Attributes:
        step: Optimizer steps done.
        config_hash: Of the trial's configuration.
        metrics: The evaluation at that step.
        file_bytes: Size of every file, by its path in the folder, to notice a truncated one.
        num_workers: How many wrote it; 0 is unknown.
    """

    step: int
    config_hash: str
    metrics: dict[str, float]
    file_bytes: dict[str, int] = field(default_factory=dict)
    num_workers: int = 0


def save(engine: Engine, checkpoints: Path, state: State) -> Path:
    """Write a checkpoint; all ranks call this. It appears under its name when it is complete.

    Raises:
        StorageError: If the disk is full or not writable.
    """
    final = folder_of(checkpoints, state.step)
    partial = checkpoints / f".{final.name}.partial"
    try:
        with together(engine):
            if engine.rank == 0:
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
        with together(engine):
            engine.save(partial)
        with together(engine):
            if engine.rank == 0:
                _seal(partial, replace(state, num_workers=engine.world))
                shutil.rmtree(final, ignore_errors=True)
                partial.rename(final)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise StorageError.of(final, error) from error
    return final


def load_latest(engine: Engine, checkpoints: Path, config_hash: str) -> State | None:
    """Read the newest undamaged checkpoint into the engine; all ranks call this.

    Returns:
        Its state, or None where there is none to go on from. Damaged ones are passed over with
        a warning.
    """
    for step in reversed(steps_in(checkpoints)):
        folder = folder_of(checkpoints, step)
        try:
            with together(engine):
                if problem := damage(folder, config_hash):
                    raise UserError([problem])
                engine.load(folder)
        except (OSError, UserError) as error:
            logger.warning("%s", error)
        else:
            state = read_state(folder)
            if state.num_workers not in (0, engine.world):
                logger.warning(
                    "%s: written by %d workers, read by %d: the curve goes on within rounding, "
                    "not bitwise",
                    *(folder, state.num_workers, engine.world),
                )
            return state
    return None


def read_state(folder: Path) -> State:
    """Read what a checkpoint says of itself."""
    return State(**json.loads((folder / STATE_FILE).read_text()))


def damage(folder: Path, config_hash: str) -> Problem | None:
    """Say what is wrong with a checkpoint, without reading its tensors."""
    remedy = "the checkpoint before it is used; delete this one"
    try:
        state = read_state(folder)
    except (OSError, ValueError, TypeError) as error:
        return Problem(str(folder), f"is no checkpoint: {error}", remedy)
    if state.config_hash != config_hash:
        return Problem(str(folder), "belongs to a trial with another configuration", remedy)
    for name, num_bytes in state.file_bytes.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != num_bytes:
            return Problem(str(path), f"is missing or not {num_bytes} bytes long", remedy)
    return None


def delete(checkpoints: Path, step: int) -> None:
    """Remove a checkpoint; it stops being one before its files go."""
    doomed = checkpoints / f".step-{step:06d}.deleted"
    shutil.rmtree(doomed, ignore_errors=True)
    try:
        folder_of(checkpoints, step).rename(doomed)
    except FileNotFoundError:
        return
    shutil.rmtree(doomed)


def _seal(partial: Path, state: State) -> None:
    """Note what a complete checkpoint consists of, and force it to disk."""
    file_bytes = {}
    for path in sorted(path for path in partial.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        file_bytes[path.relative_to(partial).as_posix()] = path.stat().st_size
    with (partial / STATE_FILE).open("w") as file:
        json.dump(asdict(replace(state, file_bytes=file_bytes)), file, indent=2)
        file.flush()
        os.fsync(file.fileno())
