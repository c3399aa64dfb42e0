"""Which checkpoints of a trial there are: listed, fetched, copied, deleted."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from neft_ray.errors import StorageError
from neft_ray.train.contents import STATE_FILE
from neft_ray.working_copy import bucket_of, pull

NAME = re.compile(r"step-(\d{6,})")


def folder_of(checkpoints: Path, step: int) -> Path:
    """Return the folder of a step's checkpoint."""
    return checkpoints / f"step-{step:06d}"


def steps_in(checkpoints: Path) -> list[int]:
    """Return the steps with a complete checkpoint, in order.

    Raises:
        StorageError: If the bucket of a working copy does not answer.
    """
    if (bucket := bucket_of(checkpoints)) is not None:
        parts = (name.partition("/") for name in bucket.sizes())
        names = [folder for folder, _, name in parts if name == STATE_FILE]
    else:
        names = [entry.name for entry in checkpoints.iterdir()] if checkpoints.is_dir() else []
    matches = map(NAME.fullmatch, names)
    return sorted(int(match[1]) for match in matches if match)


def fetched(checkpoints: Path, step: int) -> Path:
    """Return the folder of a step's checkpoint, complete on this machine.

    Raises:
        StorageError: If the bucket of a working copy does not answer.
    """
    folder = folder_of(checkpoints, step)
    pull(folder)
    return folder


def link(checkpoints: Path, step: int, target: Path) -> None:
    """Keep a checkpoint in another folder of checkpoints too, whatever becomes of it here.

    Raises:
        StorageError: If the disk is full or not writable.
    """
    partial, final = target / f".step-{step:06d}.partial", folder_of(target, step)
    source = folder_of(checkpoints, step)
    there, kept = bucket_of(source), bucket_of(final)
    if there is not None and kept is not None:
        for name in sorted(there.sizes(), key=lambda name: name == STATE_FILE):
            there.copy(name, kept, name)
        return
    if final.exists() or not source.exists():
        return
    try:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(source, partial, copy_function=os.link)
        partial.rename(final)
    except OSError as error:
        raise StorageError.of(final, error) from error


def tidy(checkpoints: Path) -> None:
    """Remove what killed processes left of saves and deletions; none may be under way.

    Raises:
        StorageError: If the bucket of a working copy does not answer.
    """
    for leftover in checkpoints.glob(".step-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    if (bucket := bucket_of(checkpoints)) is not None:
        complete = {folder_of(checkpoints, step).name for step in steps_in(checkpoints)}
        for folder in {name.partition("/")[0] for name in bucket.sizes()} - complete:
            if NAME.fullmatch(folder):
                bucket.delete(folder)


def delete_all(checkpoints: Path) -> None:
    """Remove a folder of checkpoints.

    Raises:
        StorageError: If the bucket of a working copy does not answer.
    """
    if (bucket := bucket_of(checkpoints)) is not None:
        bucket.delete("")
    shutil.rmtree(checkpoints, ignore_errors=True)


def delete(checkpoints: Path, step: int) -> None:
    """Remove a checkpoint; it stops being one before its files go.

    Raises:
        StorageError: If the bucket of a working copy does not answer.
    """
    if (bucket := bucket_of(folder_of(checkpoints, step))) is not None:
        bucket.delete(STATE_FILE)
        bucket.delete("")
    doomed = checkpoints / f".step-{step:06d}.deleted"
    shutil.rmtree(doomed, ignore_errors=True)
    try:
        folder_of(checkpoints, step).rename(doomed)
    except FileNotFoundError:
        return
    shutil.rmtree(doomed)
