"""Reports of evaluations, each made once the checkpoint that goes with it is complete."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from neft_ray.strategy.base import BackgroundEngine, Engine
from neft_ray.train.checkpoint import Pending, save
from neft_ray.train.contents import State


class Reports:
    """Saves and reports evaluations: at once, or while training goes on.

    All ranks call all of it. A `with` block that ends without an exception waits for what is
    pending; one that ends with an exception leaves it, as if the process had died.
    """

    def __init__(
        self,
        engine: Engine,
        checkpoints: Path,
        in_background: bool,
        report: Callable[[State], bool],
    ) -> None:
        """Begin with nothing pending.

        Args:
            engine: What is saved.
            checkpoints: Where to.
            in_background: Write while training goes on.
            report: Reports an evaluation and returns whether to stop.
        """
        self._engine, self._checkpoints, self._report = engine, checkpoints, report
        self._in_background = in_background
        self._pending: Pending | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.wait()

    def add(self, state: State) -> bool:
        """Save an evaluation and report it, or begin to; return whether to stop.

        Raises:
            StorageError: If the disk is full or not writable.
        """
        if not self._in_background:
            save(self._engine, self._checkpoints, state)
            return self._report(state)
        assert self._pending is None
        assert isinstance(self._engine, BackgroundEngine)  # config/checks.py
        self._pending = Pending(self._engine, self._checkpoints, state)
        return False

    def keep(self, state: State) -> None:
        """Save a state that is no evaluation, once what is pending is reported.

        Raises:
            StorageError: If the disk is full or not writable.
        """
        self.wait()
        save(self._engine, self._checkpoints, state)

    def poll(self) -> bool:
        """Report what has been saved in the meantime, if anything; return whether to stop.

        Raises:
            StorageError: If it could not be saved.
        """
        return self._pending is not None and self._pending.is_written() and self.wait()

    def wait(self) -> bool:
        """Report what is pending, when it is saved; return whether to stop.

        Raises:
            StorageError: If it could not be saved.
        """
        if self._pending is None:
            return False
        pending, self._pending = self._pending, None
        pending.complete()
        return self._report(pending.state)
