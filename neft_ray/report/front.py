"""Several objectives: which finalist configurations no other one beats in all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from neft_ray.journal import COMPLETED
from neft_ray.report.arms import Arm, configurations
from neft_ray.report.trials import Trial

LOSS = "report_loss"


@dataclass(frozen=True)
class Candidate:
    """A configuration at its end: means over the seeds that were finished."""

    arm: str
    trial: Trial
    """One of its trials; they differ in their seeds alone."""
    num_seeds: int
    values: tuple[float, ...]
    """In the order of the objectives."""
    is_on_front: bool
    """Whether no other configuration is as good in all objectives and better in one."""


def candidates_of(arms: Sequence[Arm], objectives: Mapping[str, str]) -> tuple[Candidate, ...]:
    """Return the finalist configurations whose objectives are all known, by their loss.

    Args:
        arms: All of a sweep.
        objectives: Metrics of a finalist's last report, each with `min` or `max`.
    """
    found = []
    for arm in arms:
        for trials in configurations(arm):
            done = [trial for trial in trials if trial.status == COMPLETED]
            values = tuple(_mean(done, name) for name in objectives)
            if done and all(map(math.isfinite, values)):
                found.append((arm.name, done[0], len(done), values))
    signs = [-1.0 if mode == "max" else 1.0 for mode in objectives.values()]
    costs = [tuple(s * v for s, v in zip(signs, it[3], strict=True)) for it in found]
    front = [not any(_beats(other, cost) for other in costs) for cost in costs]
    made = [Candidate(*it, is_on_front=on) for it, on in zip(found, front, strict=True)]
    return tuple(sorted(made, key=lambda it: (it.values, it.trial.name)))


def _mean(trials: Sequence[Trial], name: str) -> float:
    values = [trial.record.reports[-1].metrics.get(name, math.nan) for trial in trials]
    return fmean(values) if values else math.nan


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether costs are nowhere higher and somewhere lower."""
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
