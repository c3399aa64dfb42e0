"""Checkpoints of one trial: atomic folders `step-000100` with everything to go on from there.

In a working copy (working_copy.py) a checkpoint is one once it is in the bucket: every rank sends
the files that it wrote, and the list of them all goes last. Here only the newest stays.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from neft_ray.errors import Problem, StorageError, UserError
from neft_ray.strategy.base import BackgroundEngine, Engine, together
from neft_ray.train.contents import (
    STATE_FILE,
    Notes,
    State,
    altered,
    damage,
    noted,
    read_state,
    seal,
)
from neft_ray.train.stored import folder_of, steps_in
from neft_ray.working_copy import bucket_of, fills_own_copy, pull

logger = logging.getLogger(__name__)


def save(engine: Engine, checkpoints: Path, state: State) -> Path:
    """Write a checkpoint; all ranks call this. It appears under its name when it is complete.

    Raises:
        StorageError: If the disk is full or not writable.
    """
    with _partial(engine, checkpoints, state) as partial:
        with together(engine):
            notes = _sent(partial, engine.save(partial))
        _publish(engine, partial, state, notes)
    return folder_of(checkpoints, state.step)


class Pending:
    """A checkpoint that is being written while training goes on. All ranks call all of it."""

    def __init__(self, engine: BackgroundEngine, checkpoints: Path, state: State) -> None:
        """Copy what is saved, and begin to write it.

        Raises:
            StorageError: If the folder cannot be made.
        """
        self.state = state
        self._engine, self._checkpoints = engine, checkpoints
        with _partial(engine, checkpoints, state) as partial, together(engine):
            write = engine.snapshot(partial)
        writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._notes: Future[Notes] = writer.submit(_write, write, partial)
        writer.shutdown(wait=False)

    def is_written(self) -> bool:
        """Tell whether every rank has written, or failed to: the same answer on all of them."""
        done = torch.tensor([float(self._notes.done())])
        return bool(self._engine.sum_over_ranks(done) == self._engine.world)

    def complete(self) -> None:
        """Wait until every rank has written; then it is a checkpoint.

        Raises:
            StorageError: If the disk was full or not writable, for any rank.
        """
        with _storage_told(self._checkpoints, self.state) as partial:
            with together(self._engine):
                notes = self._notes.result()
            _publish(self._engine, partial, self.state, notes)


def load_latest(engine: Engine, checkpoints: Path, config_hash: str) -> State | None:
    """Read the newest undamaged checkpoint into the engine; all ranks call this.

    Returns:
        Its state, or None where there is none to go on from. Damaged ones are passed over with
        a warning.

    Raises:
        StorageError: If one could not be read to its end and there is none before it: some worker
            may have its weights by then, and others those that the trial began with.
    """
    begun: Path | None = None
    for step in reversed(steps_in(checkpoints)):
        folder = folder_of(checkpoints, step)
        with together(engine):
            pull(folder)
        try:
            with together(engine):
                problem = damage(folder, config_hash)
                if problem := problem or altered(folder, engine.rank, engine.world):
                    raise UserError([problem])
            begun = folder
            with together(engine):
                engine.load(folder)
        except (OSError, UserError) as error:
            logger.warning("%s is passed over: %s", folder, error)
        else:
            state = read_state(folder)
            if state.num_workers not in (0, engine.world):
                logger.warning(
                    "%s: written by %d workers, read by %d: the curve goes on within rounding, "
                    "not bitwise",
                    *(folder, state.num_workers, engine.world),
                )
            return state
    if begun is not None:
        what = "could not be read to its end, and there is none before it"
        remedy = "see the trial's log; delete it if it is to blame, then go on with --resume"
        raise StorageError([Problem(str(begun), what, remedy)])
    return None


@contextmanager
def _storage_told(checkpoints: Path, state: State) -> Iterator[Path]:
    """Yield the folder in which a checkpoint grows, and remove it if the disk fails."""
    final = folder_of(checkpoints, state.step)
    partial = checkpoints / f".{final.name}.partial"
    try:
        yield partial
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise StorageError.of(final, error) from error


@contextmanager
def _partial(engine: Engine, checkpoints: Path, state: State) -> Iterator[Path]:
    """Make the folder in which a checkpoint grows."""
    with _storage_told(checkpoints, state) as partial:
        with together(engine):
            if engine.rank == 0 or fills_own_copy(partial):
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
        yield partial


def _write(write: Callable[[], list[Path]], partial: Path) -> Notes:
    return _sent(partial, write())


def _sent(partial: Path, files: Iterable[Path]) -> Notes:
    """Note what files of an unfinished checkpoint hold, and send them to the bucket if any."""
    notes = noted(partial, files)
    _send(partial, notes)
    return notes


def _send(partial: Path, names: Iterable[str]) -> None:
    step = int(partial.name.removeprefix(".step-").removesuffix(".partial"))
    if (bucket := bucket_of(folder_of(partial.parent, step))) is not None:
        for name in names:
            bucket.upload(partial / name, name)


def _publish(engine: Engine, partial: Path, state: State, notes: Notes) -> None:
    """Make a checkpoint of a folder that every rank has filled."""
    whole = {
        name: note for of_rank in engine.gather_over_ranks(notes) for name, note in of_rank.items()
    }
    with together(engine):
        if engine.rank == 0:
            state = replace(state, num_workers=engine.world)
            _send(partial, [*seal(partial, state, whole), STATE_FILE])
        if engine.rank == 0 or fills_own_copy(partial):
            final = folder_of(partial.parent, state.step)
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
    if fills_own_copy(partial):  # the others are in the bucket
        for other in partial.parent.glob("step-*"):
            if other != final:
                shutil.rmtree(other, ignore_errors=True)
