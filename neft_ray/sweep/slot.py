"""A slot: the tune.Trainable that runs trials one after another on one worker group."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ray import tune

from neft_ray.config.trial import TrialConfig
from neft_ray.sweep.mailbox import Happened
from neft_ray.sweep.worker_group import WorkerGroup
from neft_ray.worker import Order

ORDER = "order"
HAPPENED = "happened"
PARKED_POLL_SECONDS = 0.2


def unpack(result: dict[str, Any]) -> Happened | None:
    """Return the event in a slot's result; None from a parked slot."""
    return Happened(**json.loads(result[HAPPENED])) if HAPPENED in result else None


class Slot(tune.Trainable):  # type: ignore[misc]
    """Each `step` is one event of the trial: a report, a crash or the end.

    The workers wait at every report until Tune either asks for the next step, which means go on,
    or hands the slot another trial, which means stop.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Start the worker group and the first trial."""
        self._group: WorkerGroup | None = None
        self._key = ""
        self._parked = False
        self._report: Happened | None = None
        self._start(config)

    def step(self) -> dict[str, Any]:
        """Wait for the next event and return it, packed so that Tune does not flatten it."""
        if self._group is None or self._parked:
            time.sleep(PARKED_POLL_SECONDS)
            return {"done": False}
        if self._report is not None:
            self._group.go_on(self._report)
        happened = self._group.next()
        self._report = happened if happened.kind == "report" else None
        return {HAPPENED: json.dumps(asdict(happened)), "done": happened.kind == "end"}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial, on the same processes where they fit it."""
        self._start(new_config)
        return True

    def cleanup(self) -> None:
        """Stop what runs and end the processes."""
        if self._group is not None:
            self._group.stop()
            self._group.close()
            self._group = None

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: trials write their own checkpoints (train/checkpoint.py)."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: a trial finds its own newest checkpoint."""

    def _start(self, config: dict[str, Any]) -> None:
        if self._group is not None:
            self._group.stop()
        self._parked = config[ORDER] is None
        if self._parked:
            return
        order = Order(**config[ORDER])
        trial = TrialConfig.model_validate_json(order.config_json)
        if self._group is not None and self._key != trial.slot_key:
            self.cleanup()
        if self._group is None:
            self._key = trial.slot_key
            run_root, max_failures = Path(config["run_root"]), config["max_failures"]
            self._group = WorkerGroup(trial.workers, run_root, max_failures)
        self._report = None
        self._group.start(order)
