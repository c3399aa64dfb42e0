"""The mailbox between a slot and its workers: trials one way, reports the other, decisions back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal

from neft_ray.journal import FAILED, STOPPED


@dataclass(frozen=True)
class Happened:
    """What a trial's workers have to say."""

    kind: Literal["report", "crash", "end"]
    trial: int
    step: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    status: str = ""
    reason: str = ""
    report_id: int = 0


class Mailbox:
    """An asyncio actor; every method runs in its one event loop.

    Each worker process calls itself by a name of its own. A rank that takes a trial under a
    second name is a new process: the first one died.
    """

    def __init__(self, max_failures: int) -> None:
        self._max_failures = max_failures
        self._order: dict[str, Any] | None = None
        self._taken_by: dict[int, str] = {}
        self._num_crashes = 0
        self._decisions: dict[int, asyncio.Future[bool]] = {}
        self._num_reports = 0
        self._stopping = False
        self._closed = False
        self._changed = asyncio.Condition()
        self._happened: asyncio.Queue[Happened] = asyncio.Queue()

    async def post(self, order: dict[str, Any]) -> None:
        """Lay out the next trial."""
        self._order, self._taken_by = order, {}
        self._num_crashes, self._stopping = 0, False
        await self._notify()

    async def take(self, rank: int, process: str) -> dict[str, Any] | None:
        """Wait for a trial this process has not had yet; None when the slot closes."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: self._closed or (self._order and self._taken_by.get(rank) != process)
            )
        if self._closed or self._order is None:
            return None
        if rank == 0 and rank in self._taken_by:
            await self._crashed(self._order["number"])
            if self._order is None:
                return await self.take(rank, process)
        self._taken_by[rank] = process
        return self._order

    async def report(self, trial: int, step: int, metrics: dict[str, float]) -> bool:
        """Hand a report to the slot and wait for its decision: True stops the trial."""
        self._num_reports += 1
        decision = asyncio.get_running_loop().create_future()
        self._decisions[self._num_reports] = decision
        happened = Happened("report", trial, step, metrics, report_id=self._num_reports)
        await self._happened.put(happened)
        return bool(await decision)

    async def decide(self, report_id: int, stops: bool) -> None:
        """Answer a report."""
        decision = self._decisions.pop(report_id, None)
        if decision is not None and not decision.done():
            decision.set_result(stops)

    async def wait_for_stop(self, trial: int) -> None:
        """Return when the slot wants the trial to stop, or when it is over."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or self._stops(trial))

    async def stop(self) -> None:
        """Ask the workers to stop the present trial within one step."""
        self._stopping = True
        await self._notify()

    async def ended(self, trial: int, status: str, reason: str) -> None:
        """Take away the trial, which is over."""
        self._order = None
        await self._notify()
        await self._happened.put(Happened("end", trial, status=status, reason=reason))

    async def next_happened(self) -> Happened:
        """Wait for what happens next."""
        return await self._happened.get()

    async def close(self) -> None:
        """Send the workers home."""
        self._closed = True
        await self._notify()

    async def _crashed(self, trial: int) -> None:
        self._num_crashes += 1
        if self._stopping:
            await self.ended(trial, STOPPED, "")
        elif self._num_crashes > self._max_failures:
            reason = f"its workers died {self._num_crashes} times"
            await self.ended(trial, FAILED, reason)
        else:
            reason = f"its workers died; started again from its checkpoint ({self._num_crashes})"
            await self._happened.put(Happened("crash", trial, reason=reason))

    async def _notify(self) -> None:
        if self._stopping or self._closed:
            for report_id in list(self._decisions):
                await self.decide(report_id, stops=True)
        async with self._changed:
            self._changed.notify_all()

    def _stops(self, trial: int) -> bool:
        return self._stopping or self._order is None or self._order["number"] != trial
