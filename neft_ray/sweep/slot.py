"""A slot: the tune.Trainable that keeps a worker group alive while trials run on it.

Tune starts the slots, starts a dead one again and ends them all. Which trial runs where is the
dispatcher's business: Tune's own reuse of actors keeps at most one idle actor, and gives the
actor of a trial away while another one starts.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.result import DONE

from neft_ray.config.trial import WorkersConfig
from neft_ray.sweep.mailbox import Happened
from neft_ray.sweep.worker_group import WorkerGroup, remove_placement_groups

HAPPENED = "happened"
SLOT_BYTES = 1.0
"""A slot itself only waits, and takes no core from workers; Tune wants it to ask for something."""
NODE_SHARE = 0.001
"""Of a node's own resource, of which each has 1; Ray counts in ten-thousandths."""


def unpack(result: dict[str, Any]) -> Happened:
    """Return the event in a slot's result."""
    return Happened(**json.loads(result[HAPPENED]))


class Slot(tune.Trainable):  # type: ignore[misc]
    """Each `step` is one event: the slot is idle, a trial reports, crashes or ends."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """Ask for next to nothing, on the driver's node: workers ask for their own resources.

        There the slot sees the driver's files, and is not taken away with a machine on loan.
        """
        return tune.PlacementGroupFactory([{"memory": SLOT_BYTES, config["node"]: NODE_SHARE}])

    def setup(self, config: dict[str, Any]) -> None:
        """Take the place of a slot that was killed."""
        remove_placement_groups([config["marker"]])
        self._group: WorkerGroup | None = None

    def step(self) -> dict[str, Any]:
        """Wait for the next event and return it, packed so that Tune does not flatten it.

        The first step starts the workers, and so does one after a cold slot's trial; the last one
        sees them go.
        """
        if self._group is not None and self._group.is_sent_home():
            self._group.join()
            self._group = None
        if self._group is None:
            if ray.get(self.config["mailbox"].is_over.remote()):
                return {DONE: True}
            self._group = self._new_group()
        return {HAPPENED: json.dumps(asdict(self._group.next()))}

    def cleanup(self) -> None:
        """Stop what runs, end the processes and give back what workers still wait for."""
        try:
            if self._group is not None:
                self._group.close()
        finally:
            remove_placement_groups([self.config["marker"]])

    def _new_group(self) -> WorkerGroup:
        workers = WorkersConfig.model_validate_json(self.config["workers"])
        root, mailbox = Path(self.config["run_root"]), self.config["mailbox"]
        return WorkerGroup(workers, root, mailbox, self.config["marker"])

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: trials write their own checkpoints (train/checkpoint.py)."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: a trial finds its own newest checkpoint."""
