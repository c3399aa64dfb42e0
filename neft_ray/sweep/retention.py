"""Which checkpoints of a sweep stay on disk: the best few overall, the latest of live trials."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping

from neft_ray.journal import PAUSED, RUNNING, TrialRecord
from neft_ray.run_directory import RunDirectory
from neft_ray.train import checkpoint


class Retention:
    """Deletes what is no longer needed, after every report."""

    def __init__(
        self, run: RunDirectory, records: Mapping[int, TrialRecord], keep_best: int
    ) -> None:
        """Take stock of what is on disk."""
        self._run, self._records, self._keep_best = run, records, keep_best
        for number in records:
            checkpoint.tidy(run.checkpoints(number))
        self._existing = {
            (number, step)
            for number in records
            for step in checkpoint.steps_in(run.checkpoints(number))
        }

    def saved(self, number: int, step: int) -> None:
        """Note a new checkpoint and delete those it makes superfluous."""
        self._existing.add((number, step))
        self.sweep()

    def ended(self, number: int) -> None:
        """Delete what the trial's end makes superfluous, and what a killed worker of it left."""
        checkpoint.tidy(self._run.checkpoints(number))
        if self._records[number].ended is not None:
            shutil.rmtree(self._run.origin(number), ignore_errors=True)
        self.sweep()

    def sweep(self) -> None:
        """Delete what is neither among the best nor the latest of a live trial."""
        reported = {(n, r.step): r for n, _ in self._existing for r in self._records[n].reports}
        losses = {
            key: reported[key].metrics["select_loss"] for key in self._existing if key in reported
        }
        finite = [key for key, loss in losses.items() if math.isfinite(loss)]
        keep = set(sorted(finite, key=lambda key: (losses[key], key))[: self._keep_best])
        for number, step in self._existing:
            record = self._records[number]
            if record.status in (RUNNING, PAUSED) and step >= record.last_step:
                keep.add((number, step))
        for number, step in self._existing - keep:
            checkpoint.delete(self._run.checkpoints(number), step)
        self._existing &= keep
