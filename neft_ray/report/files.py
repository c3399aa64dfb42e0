"""Writes the files of a report, each of them whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from neft_ray.errors import bad_input


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder, which is made if need be.

    Raises:
        UserError: If that is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            partial = folder / f".{name}.partial"
            partial.write_bytes(content)
            partial.replace(folder / name)
    except OSError as error:
        raise bad_input(folder, f"cannot be written: {error}", "free some space") from None
