"""Writes a file whole or not at all, whatever dies and whenever."""

from __future__ import annotations

import os
from pathlib import Path

from neft_ray.errors import StorageError


def write_whole(path: Path, content: str | bytes) -> None:
    """Replace a file, in a folder that is made if need be; text is UTF-8.

    Several processes may do so at once: the last one's stays.

    Raises:
        StorageError: If the disk is full or not writable.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise StorageError.of(path, error) from error
