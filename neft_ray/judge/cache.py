"""Verdicts on disk, each written before the next is asked for: JSON Lines, by what was asked."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from neft_ray.errors import StorageError, bad_input
from neft_ray.judge.judges import Judge, Verdict

_BEGINNING = b'{"key": "'
"""Of every line."""


def key_of(judge: Judge, instruction: str, output_1: str, output_2: str) -> str:
    """Return a name for a question to a judge: a hash of all that the verdict depends on."""
    content = [judge.identity, judge.prompt.text, instruction, output_1, output_2]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


class VerdictCache:
    """A file of verdicts. Reading needs no lock; one process at a time adds to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._file: int | None = None

    def read(self) -> dict[str, Verdict]:
        """Return all verdicts; a last line that a killed process left unfinished is none.

        Raises:
            UserError: If the file holds something else.
        """
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            what = f"cannot be read: {error.strerror}"
            raise bad_input(self._path, what, "give another file for verdicts") from None
        verdicts = {}
        *lines, rest = content.split(b"\n")
        if not _BEGINNING.startswith(rest[: len(_BEGINNING)]):
            where, what = f"{self._path}:{len(lines) + 1}", "is no verdict"
            raise bad_input(where, what, "give another file for verdicts")
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
                key = entry.pop("key")
                verdicts[key] = Verdict(**entry)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                where = f"{self._path}:{number}"
                remedy = "delete the line, or give another file"
                raise bad_input(where, f"is no verdict ({error!r})", remedy) from None
        return verdicts

    @contextmanager
    def adding(self) -> Iterator[None]:
        """Hold the file open for `add`.

        Raises:
            UserError: If another process does, or the file holds something else.
            StorageError: If it cannot be written.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise StorageError.of(self._path, error) from error
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                remedy = "wait for it, or give another file"
                raise bad_input(self._path, "another process adds verdicts", remedy) from None
            self.read()  # refuses a file of something else, of which nothing is cut off
            self._cut_unfinished(file)
            self._file = file
            yield
        finally:
            self._file = None
            os.close(file)

    def add(self, key: str, verdict: Verdict) -> None:
        """Add a verdict, on the disk when this returns. From any thread.

        Raises:
            StorageError: If the disk is full or not writable.
        """
        line = json.dumps({"key": key} | asdict(verdict)).encode() + b"\n"
        with self._lock:
            assert self._file is not None, "not within adding()"
            try:
                while line:
                    line = line[os.write(self._file, line) :]
                os.fsync(self._file)
            except OSError as error:
                raise StorageError.of(self._path, error) from error

    def _cut_unfinished(self, file: int) -> None:
        """Take away what stands behind the last whole line."""
        content = self._path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.ftruncate(file, whole)
