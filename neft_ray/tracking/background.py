"""The thread that mirrors live runs into MLflow while a sweep goes on, and never disturbs it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from neft_ray.tracking.cards import Status, finish
from neft_ray.tracking.mirror import MlflowMirror
from neft_ray.tracking.mirrored import num_waiting_points
from neft_ray.tracking.mlflow_store import is_outage

_log = logging.getLogger(__name__)
LONGEST_PAUSE_SECONDS = 30.0
_AWAY = "MLflow is away"


class MirrorThread:
    """Mirrors runs in the background for the duration of a `with` block.

    Whatever goes wrong is counted and told once in the log; the sweep sees none of it. On exit
    what is left is sent, for a bounded time; the rest waits in the run directory for the next
    thread that is given the same folders.
    """

    def __init__(
        self, mirror: MlflowMirror, interval_seconds: float = 2.0, drain_seconds: float = 10.0
    ) -> None:
        """Prepare the thread.

        Args:
            mirror: Its parent run must have been started.
            interval_seconds: Between two looks at the live runs.
            drain_seconds: The longest that leaving the `with` block waits for MLflow.
        """
        self.num_failures = 0
        self.num_waiting_points = 0
        """After exit: values that are on disk only."""
        self._mirror = mirror
        self._interval_seconds = interval_seconds
        self._drain_seconds = drain_seconds
        self._lock = threading.Lock()
        self._live: dict[Path, object] = {}
        """Each with a token that is new every time it is added."""
        self._warned: set[str] = set()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlflow-mirror", daemon=True)

    def add(self, directory: Path) -> None:
        """Mirror a run from now on: a described folder that is new, or goes on, or is unsent."""
        with self._lock:
            self._live[directory] = object()

    def finish(
        self, directory: Path, status: Status, tags: Mapping[str, str] | None = None
    ) -> None:
        """Write on a run's card how it ended, and send the rest of it soon."""
        finish(directory, status, tags)
        self.add(directory)
        self._wake.set()

    def __enter__(self) -> MirrorThread:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Send the rest, and say what is left."""
        self._closing.set()
        self._wake.set()
        self._thread.join(self._drain_seconds)
        with self._lock:
            left = list(self._live)
        self.num_waiting_points = sum(map(num_waiting_points, left))
        if self.num_waiting_points:
            _log.warning(
                "%d values are not in MLflow (%s) yet; they are safe in the run directory, and "
                "`neft-ray sweep --resume` sends them",
                self.num_waiting_points,
                self._mirror.store.address,
            )

    def _run(self) -> None:
        pause_seconds = self._interval_seconds
        while not self._closing.is_set():
            self._wake.wait(pause_seconds)
            self._wake.clear()
            if self._round():
                pause_seconds = self._interval_seconds
            else:
                pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)
        deadline = time.monotonic() + self._drain_seconds
        while not self._round() and time.monotonic() < deadline:
            time.sleep(0.5)

    def _round(self) -> bool:
        """Bring every live run up to date; return False if MLflow is away."""
        with self._lock:
            live = list(self._live.items())
        for directory, added in live:
            try:
                ended = self._mirror.sync(directory)
            except Exception as error:
                away = is_outage(error)
                self._count(_AWAY if away else directory.name, error)
                if away:
                    return False
                continue
            self._warned.discard(directory.name)
            with self._lock:
                if ended and self._live[directory] is added:  # not added again meanwhile
                    del self._live[directory]
        if _AWAY in self._warned:
            self._warned.discard(_AWAY)
            _log.warning("MLflow (%s) is back and has everything", self._mirror.store.address)
        return True

    def _count(self, what: str, error: Exception) -> None:
        self.num_failures += 1
        if what not in self._warned:
            self._warned.add(what)
            reason = self._mirror.store.reason(error)
            _log.warning("%s: %s. Points wait in the run directory", what, reason)
