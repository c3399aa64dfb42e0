"""Which trial the model of a sweep is of: that of the lowest loss, or of a weighed sum with it."""

from __future__ import annotations

import math
from collections.abc import Iterable

from neft_ray.config.sweep import ObjectiveConfig
from neft_ray.journal import COMPLETED, TrialRecord


def best_record(records: Iterable[TrialRecord], objective: ObjectiveConfig) -> TrialRecord | None:
    """Return the best trial, the earliest of equals; None if none has a finite loss.

    Where measures are weighed with the loss it is the best of the trials that have them; by the
    loss alone as long as none has.
    """
    found = list(records)
    weighed = [(weighed_loss(record, objective), record.number, record) for record in found]
    by_loss = [(record.objective(objective.at), record.number, record) for record in found]
    for ranked in (weighed, by_loss):
        score, _, best = min(ranked, default=(math.inf, 0, None))
        if math.isfinite(score):
            return best
    return None


def weighed_loss(record: TrialRecord, objective: ObjectiveConfig) -> float:
    """Return the objective in nats with the weighed measures of a finalist's end added.

    inf where a measure is weighed and the trial has not come to that end.
    """
    has_ended = record.status == COMPLETED and record.reports
    measured = record.reports[-1].metrics if has_ended else {}
    terms = [cost * measured.get(name, math.nan) for name, cost in objective.costs.items()]
    total = math.fsum([record.objective(objective.at), *terms])
    return total if math.isfinite(total) else math.inf
