"""Ctrl-C: the first asks the sweep to stop, the second ends the process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console

from neft_ray.run_directory import RunDirectory

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stops_sweep(run: RunDirectory, console: Console) -> Iterator[None]:
    """Let Ctrl-C or a termination end the run so that it can go on later."""
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"

    def stop(number: int, frame: FrameType | None) -> None:
        if run.stop_file.exists():
            raise KeyboardInterrupt
        run.stop_file.touch()
        console.print("stopping after the present step; press Ctrl-C again to end at once")

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
