"""What is wrong with a row, and the checks of its keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neft_ray.errors import Problem


class RowError(ValueError):
    """What is wrong with one row, without its place."""


@dataclass(frozen=True)
class BadRow:
    """What is wrong with one row, where, and what it should look like."""

    place: str
    what: str
    wanted: str
    """A docstring of the format; its first paragraph describes a row."""

    def problem(self, format_name: str) -> Problem:
        """Return it as a message."""
        shape = " ".join(self.wanted.partition("\n\n")[0].split())
        return Problem(self.place, self.what, f"a row of format '{format_name}' is {shape}")


def text(row: Mapping[str, Any], key: str, required: bool = True) -> str:
    """Return the text at a key; it may be empty.

    Raises:
        RowError: If it is no text, or missing though it is required.
    """
    value = row.get(key)
    if value is None and not required:
        return ""
    if not isinstance(value, str):
        raise RowError(f"'{key}' is missing" if value is None else f"'{key}' is not text")
    return value


def items(row: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """Return the objects listed at a key.

    Raises:
        RowError: If there is no list, or it is empty or holds something else.
    """
    listed = row.get(key)
    if not isinstance(listed, Sequence) or isinstance(listed, str) or not listed:
        raise RowError(f"'{key}' is missing or not a list")
    for number, item in enumerate(listed):
        if not isinstance(item, Mapping):
            raise RowError(f"{key}[{number}] is not an object")
    return list(listed)
