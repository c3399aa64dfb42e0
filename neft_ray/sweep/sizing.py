"""How many workers a trial has: `workers.num`, or of [least, most] as many as there is room for.

Ray Train's own elastic policy kills a group to resize it, and so loses the steps since its last
checkpoint; it counts resources that others hold, too. This one asks the group to leave off with a
checkpoint (mailbox.py), and counts what is free.
"""

from __future__ import annotations

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


class NotWanted(RuntimeError):
    """The slot wants no workers any more; ends what waits for resources."""


class Sizing(ScalingPolicy):  # type: ignore[misc]
    """Starts a group with what is there, and asks it to leave where more would fit."""

    def __init__(self, scaling_config: ScalingConfig, workers: WorkersConfig, mailbox: Any) -> None:
        """Serve one group.

        Args:
            scaling_config: Of its trainer.
            workers: Of the trial.
            mailbox: Of its slot.
        """
        super().__init__(scaling_config)
        self._workers, self._mailbox = workers, mailbox
        self._looked_at = 0.0

    def make_decision_for_non_running_worker_group(self) -> ScalingDecision:
        """Start with what there is room for now; with too little, wait for the least."""
        if ray.get(self._mailbox.standing.remote()).is_closed:
            raise NotWanted
        self._maybe_send_resource_request()
        num = self._workers.least
        if num < self._workers.most:
            num = min(max(room_for(self._workers), num), self._workers.most)
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
            if room_for(self._workers):
                self._mailbox.move.remote()
        return NoopDecision()

    def _get_num_workers_for_resource_request(self) -> int:
        """Let a cluster that grows grow to the most."""
        return self._workers.most
