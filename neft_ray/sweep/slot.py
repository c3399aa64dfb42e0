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

from ray import tune
from ray.tune.result import DONE

from neft_ray.config.workers import WorkersConfig
from neft_ray.sweep.cluster import set_environment
from neft_ray.sweep.happened import Happened
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
    """Each `step` is one event: workers come or go, a trial reports, crashes or ends."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """Ask for next to nothing, on the driver's node: workers ask for their own resources.

        There the slot sees the driver's files, and is not taken away with a machine on loan.
        """
        return tune.PlacementGroupFactory([{"memory": SLOT_BYTES, config["node"]: NODE_SHARE}])

    def setup(self, config: dict[str, Any]) -> None:
        """Take the place of a slot that was killed."""
        set_environment()
        remove_placement_groups([config["marker"]])
        workers = WorkersConfig.model_validate_json(config["workers"])
        root = Path(config["run_root"])
        self._group = WorkerGroup(workers, root, config["mailbox"], config["marker"])

    def step(self) -> dict[str, Any]:
        """Wait for the next event and return it, packed so that Tune does not flatten it.

        The last step sees the workers go.
        """
        if self._group.is_over():
            self._group.join()
            return {DONE: True}
        return {HAPPENED: json.dumps(asdict(self._group.next()))}

    def cleanup(self) -> None:
        """Stop what runs, end the processes and give back what workers still wait for."""
        try:
            self._group.close()
        finally:
            remove_placement_groups([self.config["marker"]])

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: trials write their own checkpoints (train/checkpoint.py)."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: a trial finds its own newest checkpoint."""
