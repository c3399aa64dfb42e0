"""The mailbox of a slot: trials one way, reports the other, decisions back.

It belongs to the driver and outlives the slot's own processes. What happened is kept until it is
acknowledged, so that nothing is lost with a process that died while it carried the message.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal

from neft_ray.journal import CANCELLED, FAILED, STOPPED


@dataclass(frozen=True)
class Happened:
    """What a slot has to say."""

    id: int
    kind: Literal["idle", "report", "crash", "end", "left"]
    """`idle` once, when the slot is new; a slot whose trial has ended is idle too."""
    trial: int = -1
    step: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    status: str = ""
    reason: str = ""


class Mailbox:
    """An asyncio actor; every method runs in its one event loop.

    Each worker process calls itself by a name of its own. When another process comes for the same
    rank, the one before is dead or about to die: whatever it may still say is ignored.
    """

    def __init__(self, max_failures: int, warm: bool, secrets: dict[str, str]) -> None:
        """Begin without a trial.

        Args:
            max_failures: How often the workers of a trial may die before it is given up.
            warm: Keep the workers after a trial; otherwise send them home.
            secrets: Variables of the workers' environment that nothing else shows.
        """
        self._max_failures, self._warm, self._secrets = max_failures, warm, secrets
        self._order: dict[str, Any] | None = None
        self._process_of: dict[int, str] = {}
        self._replaced: set[str] = set()
        self._taken_by: set[str] = set()
        self._num_crashes = 0
        self._decisions: dict[int, asyncio.Future[bool]] = {}
        self._stopping = False
        self._cancelled: int | None = None
        self._closed = False
        self._is_over = False
        self._num_happened = 0
        self._happened: deque[Happened] = deque()
        self._changed = asyncio.Condition()

    async def secrets(self) -> dict[str, str]:
        """Return what workers need to know and nobody else may."""
        return self._secrets

    async def open(self) -> None:
        """Say that the slot wants a trial."""
        await self._say("idle")

    async def post(self, order: dict[str, Any]) -> None:
        """Lay out the next trial."""
        self._order, self._taken_by = order, set()
        self._num_crashes, self._stopping, self._cancelled = 0, False, None
        await self._notify()

    async def take(self, rank: int, process: str) -> dict[str, Any] | None:
        """Wait for a trial this process has not had yet; None when it is to end."""
        await self._arrived(rank, process)
        async with self._changed:
            await self._changed.wait_for(
                lambda: (
                    self._closed
                    or process in self._replaced
                    or (self._order is not None and process not in self._taken_by)
                )
            )
        if self._closed or process in self._replaced:
            return None
        self._taken_by.add(process)
        return self._order

    async def report(self, process: str, trial: int, step: int, metrics: dict[str, float]) -> bool:
        """Hand over a report and wait for the decision: True stops the trial."""
        if process in self._replaced:
            return True
        decision = asyncio.get_running_loop().create_future()
        self._decisions[self._num_happened + 1] = decision  # a stop answers as soon as it is said
        await self._say("report", trial, step=step, metrics=metrics)
        return bool(await decision)

    async def decide(self, report_id: int, stops: bool) -> None:
        """Answer a report."""
        decision = self._decisions.pop(report_id, None)
        if decision is not None and not decision.done():
            decision.set_result(stops)

    async def wait_for_stop(self, trial: int) -> str:
        """Return when the trial is to stop within a step, or is over: `stopped` or `cancelled`."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or self._stops(trial))
        return CANCELLED if self._cancelled == trial else STOPPED

    async def present(self) -> int | None:
        """Return the number of the trial that is laid out or runs; None where there is none."""
        return None if self._order is None else int(self._order["number"])

    async def cancel(self, trial: int) -> None:
        """Ask the workers to stop a trial for good, if it is the present one."""
        self._cancelled = trial
        await self._notify()

    async def stop(self) -> None:
        """Ask the workers to stop the present trial, and wait until it is over."""
        self._stopping = True
        if self._order is not None and not self._taken_by:
            await self._end(STOPPED, "")
        await self._notify()
        async with self._changed:
            await self._changed.wait_for(lambda: self._order is None)

    async def ended(self, process: str, status: str, reason: str) -> None:
        """Take away the trial, which is over."""
        if process not in self._replaced:
            await self._end(status, reason)

    async def next_happened(self, acknowledged: int) -> Happened:
        """Wait for the first event after the acknowledged one."""
        while self._happened and self._happened[0].id <= acknowledged:
            self._happened.popleft()
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._happened))
        return self._happened[0]

    async def reopen(self) -> None:
        """Expect new workers."""
        self._closed = False

    async def is_closed(self) -> bool:
        """Whether the workers are sent home."""
        return self._closed

    async def close(self) -> None:
        """Send the workers home."""
        self._closed = True
        await self._notify()

    async def leave(self) -> None:
        """Stop the present trial and send the workers home for good."""
        self._is_over = True
        await self.stop()
        await self._say("left")  # whoever waits for an event goes on before the workers are gone
        await self.close()

    async def is_over(self) -> bool:
        """Whether there will be no more trials."""
        return self._is_over

    async def _say(self, kind: str, trial: int = -1, **more: Any) -> None:
        self._num_happened += 1
        self._happened.append(Happened(self._num_happened, kind, trial, **more))  # type: ignore[arg-type]
        await self._notify()

    async def _arrived(self, rank: int, process: str) -> None:
        """Note which process is a rank's now; a trial that the one before had taken crashed."""
        before = self._process_of.get(rank, process)
        self._process_of[rank] = process
        if before == process:
            return
        self._replaced.add(before)
        if rank > 0 or before not in self._taken_by or self._order is None:
            return
        self._num_crashes += 1
        if self._stopping:
            await self._end(STOPPED, "")
        elif self._num_crashes > self._max_failures:
            await self._end(FAILED, f"its workers died {self._num_crashes} times")
        else:
            reason = f"its workers died; started again from its checkpoint ({self._num_crashes})"
            await self._say("crash", self._order["number"], reason=reason)

    async def _end(self, status: str, reason: str) -> None:
        assert self._order is not None
        number = self._order["number"]
        self._order = None
        self._closed = self._closed or not self._warm
        await self._say("end", number, status=status, reason=reason)

    async def _notify(self) -> None:
        if self._stopping or self._closed:
            for report_id in list(self._decisions):
                await self.decide(report_id, stops=True)
        async with self._changed:
            self._changed.notify_all()

    def _stops(self, trial: int) -> bool:
        is_present = self._order is not None and self._order["number"] == trial
        return self._stopping or self._cancelled == trial or not is_present
