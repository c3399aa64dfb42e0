"""The mailbox of a slot: trials one way, reports the other, decisions back.

It belongs to the driver and outlives the slot's own processes. What happened is kept until it is
acknowledged, so that nothing is lost with a process that died while it carried the message.

A trial is laid out only where workers wait for it, and handed back when they are gone: it goes on
wherever there are workers next.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from neft_ray.journal import CANCELLED, MOVED, STOPPED
from neft_ray.sweep.happened import Happened, Standing


class Mailbox:
    """An asyncio actor; every method runs in its one event loop.

    Each worker process calls itself by a name of its own. When the slot says that they are lost,
    or another process comes for the same rank, whatever those may still say is ignored.
    """

    def __init__(self, warm: bool, secrets: dict[str, str]) -> None:
        """Begin without workers, and without wanting any.

        Args:
            warm: Keep the workers after a trial; otherwise send them home.
            secrets: Variables of the workers' environment that nothing else shows.
        """
        self._warm, self._secrets = warm, secrets
        self._order: dict[str, Any] | None = None
        self._workers: dict[int, tuple[str, str]] = {}
        """Process and node, by rank."""
        self._gone: set[str] = set()
        self._taken_by: set[str] = set()
        self._decisions: dict[int, asyncio.Future[bool]] = {}
        self._stopping = False
        self._moving = ""
        """Why the workers are to leave where they are; empty: they are not."""
        self._cancelled: int | None = None
        self._closed = True
        self._is_awake = self._is_over = False
        self._num_happened = 0
        self._happened: deque[Happened] = deque()
        self._changed = asyncio.Condition()

    async def secrets(self) -> dict[str, str]:
        """Return what workers need to know and nobody else may."""
        return self._secrets

    async def wake(self) -> None:
        """Want workers from now on."""
        self._is_awake = True
        await self._say("woken")

    async def rest(self) -> None:
        """Send the idle workers home, and want none until woken."""
        self._is_awake = False
        await self._send_home()

    async def standing(self) -> Standing:
        """Return how the slot stands."""
        nodes = frozenset(node for _, node in self._workers.values())
        is_wanted = self._is_awake and not self._is_over
        return Standing(self._number, nodes, self._closed, is_wanted)

    async def post(self, order: dict[str, Any]) -> bool:
        """Lay out the next trial; False where the workers are gone, of which there is word."""
        if not self._is_manned:
            return False
        self._order, self._taken_by = order, set()
        self._stopping, self._cancelled = False, None
        await self._notify()
        return True

    async def take(self, rank: int, world: int, process: str, node: str) -> dict[str, Any] | None:
        """Wait for a trial this process has not had yet; None when it is to end."""
        await self._arrived(rank, world, process, node)
        async with self._changed:
            await self._changed.wait_for(
                lambda: (
                    self._closed
                    or process in self._gone
                    or (self._order is not None and process not in self._taken_by)
                )
            )
        if self._closed or process in self._gone:
            return None
        self._taken_by.add(process)
        return self._order

    async def report(self, process: str, trial: int, step: int, metrics: dict[str, float]) -> bool:
        """Hand over a report and wait for the decision: True stops the trial."""
        if process in self._gone:
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
        """Return once the trial is to leave off within a step, or is over.

        Returns:
            `stopped`, `cancelled`, or `moved`: with a checkpoint of that very step.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or self._stops(trial))
        if self._cancelled == trial:
            return CANCELLED
        return MOVED if self._moving and not self._stopping else STOPPED

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

    async def move(self, why: str) -> None:
        """Send the workers away from where they are; their trial goes on where others are."""
        if self._moving or self._closed:
            return
        self._moving = why
        if self._order is None:
            await self._send_home()
        elif not self._taken_by:
            await self._end(MOVED, "")
        await self._notify()

    async def lost(self, reason: str) -> None:
        """Forget the workers, which died, and hand back their trial."""
        self._gone |= {process for process, _ in self._workers.values()}
        was_manned, self._workers = self._is_manned, {}
        if self._order is not None and self._stopping:
            await self._end(STOPPED, "")
        elif self._order is not None:
            number, is_begun, self._order = self._number, bool(self._taken_by), None
            await self._say("crash" if is_begun else "move", number, reason=reason)
        elif was_manned:
            await self._say("went", reason=reason)

    async def ended(self, process: str, status: str, reason: str) -> None:
        """Take away the trial, which is over, or goes on elsewhere."""
        if process not in self._gone:
            await self._end(status, reason)

    async def next_happened(self, acknowledged: int) -> Happened:
        """Wait for the first event after the acknowledged one."""
        while self._happened and self._happened[0].id <= acknowledged:
            self._happened.popleft()
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._happened))
        return self._happened[0]

    async def reopen(self) -> None:
        """Expect new workers; those before them were sent home."""
        await self.lost("others come in their place")
        self._closed, self._moving = False, ""

    async def close(self) -> None:
        """Send the workers home."""
        self._closed = True
        await self._notify()

    async def leave(self) -> None:
        """Stop the present trial and send the workers home for good."""
        self._is_over = True
        await self.stop()
        await self._send_home()

    async def is_over(self, acknowledged: int) -> bool:
        """Whether there will be no more trials, and nothing after an event that is to be told."""
        is_told = self._num_happened == acknowledged
        return self._is_over and self._closed and self._order is None and is_told

    @property
    def _is_manned(self) -> bool:
        return 0 in self._workers and not self._closed

    @property
    def _number(self) -> int | None:
        return None if self._order is None else int(self._order["number"])

    async def _say(self, kind: str, trial: int | None = None, **more: Any) -> None:
        self._num_happened += 1
        number = -1 if trial is None else trial
        self._happened.append(Happened(self._num_happened, kind, number, **more))  # type: ignore[arg-type]
        await self._notify()

    async def _arrived(self, rank: int, world: int, process: str, node: str) -> None:
        """Note who works for a rank; when it is another one than so far, all others are lost."""
        before, _ = self._workers.get(rank, (process, node))
        if process in self._gone:
            return
        if before != process:
            await self.lost("another process came in its place")
        is_new = rank not in self._workers
        self._workers[rank] = process, node
        if is_new and rank == 0 and not self._closed:
            await self._say("came", is_idle=True, num_workers=world)

    async def _end(self, status: str, reason: str) -> None:
        number, self._order = self._number, None
        self._closed = self._closed or bool(self._moving) or not self._warm
        kind = "end"
        if status == MOVED:
            kind, reason = "move", f"{self._moving} {reason}".strip()
        await self._say(kind, number, status=status, reason=reason, is_idle=self._is_manned)

    async def _send_home(self) -> None:
        """Let the workers end; whoever waits for an event goes on before they have."""
        self._closed = True
        await self._say("went")

    async def _notify(self) -> None:
        if self._stopping or self._closed:
            for report_id in list(self._decisions):
                await self.decide(report_id, stops=True)
        async with self._changed:
            self._changed.notify_all()

    def _stops(self, trial: int) -> bool:
        is_asked_to = self._stopping or bool(self._moving) or self._cancelled == trial
        return is_asked_to or self._number != trial
