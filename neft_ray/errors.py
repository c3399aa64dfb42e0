"""What went wrong, where, and what to do about it; and the exit codes of the command line."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every `neft-ray` command."""

    OK = 0
    FAILED = 1
    """Something failed after the start: no trial came to an end, the disk is full, a link broke."""
    BAD_INPUT = 2
    """Nothing was started: the input is wrong, and the message says where."""
    INTERRUPTED = 130
    """Stopped by the user; `--resume` goes on."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: `where: what; remedy`."""

    where: str
    """A place a person can open: `file:line: key`, a folder, an address."""
    what: str
    remedy: str

    def __str__(self) -> str:
        """Render as one line."""
        return f"{self.where}: {self.what}; {self.remedy}"


class UserError(Exception):
    """Input that cannot work. Carries every problem found, not only the first."""

    code = ExitCode.BAD_INPUT
    """What a command that ends with it returns."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))

    def __reduce__(self) -> tuple[type[UserError], tuple[tuple[Problem, ...]]]:
        """Pickle with the problems, so that the error crosses process boundaries whole."""
        return type(self), (self.problems,)


class StorageError(UserError):
    """The disk is full or not writable: whoever writes stops, to go on once there is room."""

    code = ExitCode.FAILED

    @classmethod
    def of(cls, where: object, error: OSError) -> StorageError:
        """Describe an error of the file system."""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = f"cannot be written: {'disk full' if full else error.strerror or error}"
        return cls([Problem(str(where), what, "free some space, then go on with --resume")])


class LostContactError(UserError):
    """A cluster cannot be reached any more; what was submitted goes on there."""

    code = ExitCode.FAILED


def bad_input(where: object, what: str, remedy: str) -> UserError:
    """Return a `UserError` with a single problem."""
    return UserError([Problem(str(where), what, remedy)])


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return the remedy for an unknown name: the nearest known one, or all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names)}"
