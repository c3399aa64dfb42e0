"""How many workers a trial has: `workers.num`, or of [least, most] as many as there is room for.

Ray Train's own elastic policy kills a group to resize it, and so loses the steps since its last
checkpoint; it counts resources that others hold, too. This one asks the group to leave off with a
checkpoint (mailbox.py), and counts what is free.
"""

from __future__ import annotations

import time
from typing import Any

import ray
from ray.train.v2._internal.execution.scaling_policy import (
    NoopDecision,
    ResizeDecision,
    ScalingDecision,
    ScalingPolicy,
)
from ray.train.v2._internal.util import time_monotonic
from ray.train.v2.api.config import ScalingConfig

from neft_ray.config.workers import WorkersConfig
from neft_ray.sweep.cluster import room_for

RELEASE_SECONDS, LOOK_SECONDS = 15.0, 0.5
"""How long resources take at most to be free again once their workers have ended."""


class NotWanted(RuntimeError):
    """The slot wants no workers any more; ends what waits for resources."""


class Sizing(ScalingPolicy):  # type: ignore[misc]
    """Starts a group with what is there, and asks it to leave where more would fit."""

    def __init__(
        self,
        scaling_config: ScalingConfig,
        workers: WorkersConfig,
        mailbox: Any,
        expected: int = 0,
    ) -> None:
        """Serve one group.

        Args:
            scaling_config: Of its trainer.
            workers: Of the trial.
            mailbox: Of its slot.
            expected: Workers there is going to be room for, as the group before found, which left
                to make place for them.
        """
        super().__init__(scaling_config)
        self._workers, self._mailbox = workers, mailbox
        self._expected = expected
        self.next_size = 0
        """Workers of the group after this one, which leaves for it; 0: it does not."""
        self._looked_at = 0.0

    def make_decision_for_non_running_worker_group(self) -> ScalingDecision:
        """Start with what there is room for now; with too little, wait for the least."""
        if ray.get(self._mailbox.standing.remote()).is_closed:
            raise NotWanted
        self._maybe_send_resource_request()
        num = self._workers.least
        if num < self._workers.most:
            num = min(max(self._room(), num), self._workers.most)
        return ResizeDecision(num, self.scaling_config._resources_per_worker_not_none)

    def make_decision_for_running_worker_group(
        self, worker_group_state: Any, worker_group_status: Any
    ) -> ScalingDecision:
        """Never resize: a group that leaves by itself is followed by a larger one."""
        self._maybe_send_resource_request()
        since = max(worker_group_state.start_time, self._looked_at)
        is_due = time_monotonic() - since > self._workers.grow_after_seconds
        if is_due and worker_group_state.num_workers < self._workers.most:
            self._looked_at = time_monotonic()
            if room := room_for(self._workers):
                self.next_size = min(worker_group_state.num_workers + room, self._workers.most)
                self._mailbox.move.remote("there is room for more workers")
        return NoopDecision()

    def _room(self) -> int:
        """Return how many workers there is room for, once a group that left has let go of its."""
        deadline = time_monotonic() + RELEASE_SECONDS
        while (room := room_for(self._workers)) < self._expected and time_monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
        self._expected = 0
        return room

    def _get_num_workers_for_resource_request(self) -> int:
        """Let a cluster that grows grow to the most."""
        return self._workers.most
