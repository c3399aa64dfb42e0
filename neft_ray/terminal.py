"""The terminal: keeps Ray's chatter and others' escapes off it; says what one waits for."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.status import Status


def waiting(what: str) -> Status:
    """Return a context manager that says on stderr what one waits for; nothing in a file."""
    return Console(stderr=True).status(what)


@contextmanager
def only_ours(log_file: Path) -> Iterator[Console]:
    """Yield a console on the terminal while everything else that prints goes to a log file.

    Works on file descriptors, so that subprocesses and C++ code are caught too.

    Args:
        log_file: Appended to.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved_out, saved_err = os.dup(1), os.dup(2)
    handler = logging.FileHandler(log_file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    with log_file.open("ab") as log, os.fdopen(os.dup(1), "w") as terminal:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        root.addHandler(handler)
        try:
            yield Console(file=terminal, markup=False)
        finally:
            root.removeHandler(handler)
            handler.close()
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(saved_out, 1)
            os.dup2(saved_err, 2)
            os.close(saved_out)
            os.close(saved_err)


def tame(text: str) -> str:
    """Return somebody else's text so that it does not steer the terminal that shows it."""
    return text.replace("\x1b", "␛").replace("\x9b", "␛[")
