"""Which checkpoints of a sweep stay: the best few, each arm's best, the latest of live trials.

Where the objective weighs measures that finalists show at their end alone, the best of every
live finalist stays until then, and then that of the one that is chosen.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from neft_ray.choice import best_record
from neft_ray.config.sweep import ObjectiveConfig
from neft_ray.journal import PAUSED, RUNNING, TrialRecord
from neft_ray.run_directory import RunDirectory
from neft_ray.train import stored

Key = tuple[int, int]
"""Number of a trial and step of a checkpoint."""


class Retention:
    """Deletes what is no longer needed, after every report, without a look at all checkpoints."""

    def __init__(
        self,
        run: RunDirectory,
        records: Mapping[int, TrialRecord],
        keep_best: int,
        objective: ObjectiveConfig,
    ) -> None:
        """Take stock of what is on disk, and delete what is not needed."""
        self._run, self._records = run, records
        self._keep_best, self._objective = keep_best, objective
        for number in records:
            stored.tidy(run.checkpoints(number))
        self._steps = {n: set(stored.steps_in(run.checkpoints(n))) for n in records}
        self._best: set[Key] = set()
        self._weed({(number, step) for number, steps in self._steps.items() for step in steps})

    def saved(self, number: int, step: int) -> None:
        """Note a new checkpoint and delete those it makes superfluous."""
        self._steps.setdefault(number, set()).add(step)
        self._weed_of(number)

    def moved(self, number: int) -> None:
        """Note what a trial has written of itself before it left its machine."""
        self._steps[number] = set(stored.steps_in(self._run.checkpoints(number)))
        self._weed_of(number)

    def ended(self, number: int) -> None:
        """Delete what the trial's end makes superfluous, and what a killed worker of it left."""
        stored.tidy(self._run.checkpoints(number))
        if self._records[number].ended is not None:
            stored.delete_all(self._run.origin(number))
        self._weed_of(number)

    def _weed_of(self, number: int) -> None:
        """Look at a trial's checkpoints and at those that were the best: no others change."""
        self._weed(self._best | {(number, step) for step in self._steps.get(number, ())})

    def _weed(self, candidates: set[Key]) -> None:
        keep, self._best = worth_keeping(
            self._records, candidates, self._keep_best, self._objective
        )
        for number, step in candidates - keep:
            stored.delete(self._run.checkpoints(number), step)
            self._steps[number].discard(step)


def worth_keeping(
    records: Mapping[int, TrialRecord],
    existing: Collection[Key],
    keep_best: int,
    objective: ObjectiveConfig,
) -> tuple[set[Key], set[Key]]:
    """Return which checkpoints stay, and the best among them.

    The best of all trials stay, the best of each arm, so that they can be set side by side, and
    the latest of live ones. Where the objective counts at the end, a trial's best is its last.

    Args:
        records: All trials of a run.
        existing: Number of the trial and step of every checkpoint.
        keep_best: How many of the best over all arms; 0: none, of any arm.
        objective: What the sweep's model is chosen by.
    """
    numbers = {number for number, _ in existing}
    reported = {(n, r.step): r.metrics["select_loss"] for n in numbers for r in records[n].reports}
    if objective.at == "end":  # of a live trial it is not known which step is its last
        ended = [records[n] for n in numbers if records[n].status not in (RUNNING, PAUSED)]
        reported = {(r.number, r.last_step): r.objective("end") for r in ended}
    losses = {key: reported.get(key, math.inf) for key in existing}
    finite = [key for key, loss in losses.items() if math.isfinite(loss)]
    ranked = sorted(finite, key=lambda key: (losses[key], key))
    best_of_arms = {records[number].arm: (number, step) for number, step in reversed(ranked)}
    best = {*ranked[:keep_best], *best_of_arms.values()} if keep_best else set()
    best_of_trials = {number: (number, step) for number, step in reversed(ranked)}
    unweighed: set[Key] = set()
    if objective.weights and keep_best:
        chosen = best_record(records.values(), objective)
        best |= (
            {best_of_trials[chosen.number]} if chosen and chosen.number in best_of_trials else set()
        )
        unweighed = {key for n, key in best_of_trials.items() if _is_live_finalist(records[n])}
    keep = best | unweighed
    for number, step in existing:
        record = records[number]
        if record.status in (RUNNING, PAUSED) and step >= record.last_step:
            keep.add((number, step))
    return keep, best


def _is_live_finalist(record: TrialRecord) -> bool:
    return record.phase == "finalist" and record.ended is None
