"""What a report shows of an arm: its search, its finalists, its best, what it spent."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from neft_ray.choice import best_record
from neft_ray.config.sweep import ObjectiveConfig
from neft_ray.journal import COMPLETED, DIVERGED, STOPPED, Report
from neft_ray.report.trials import Trial


@dataclass(frozen=True)
class Arm:
    """One side of the comparison."""

    name: str
    fixed: Mapping[str, Any]
    """Values that the arm fixes."""
    trials: tuple[Trial, ...]
    """Of the search."""
    finalists: tuple[Trial, ...]
    """Runs of the arm's best configurations on further seeds."""
    num_planned: int
    """Trials that the search is to have."""
    num_points: int | None
    """Points that its space has; None where it has ranges."""
    at: Literal["best", "end"]
    """The objective: select loss at `best` or at the `end`."""

    @property
    def best(self) -> Trial | None:
        """The search's trial with the lowest objective."""
        return best_of(self.trials, ObjectiveConfig(at=self.at))

    @property
    def best_report(self) -> Report | None:
        """The evaluation that the best trial was chosen by."""
        if self.best is None:
            return None
        return self.best.record.best if self.at == "best" else self.best.record.reports[-1]

    @property
    def is_searched(self) -> bool:
        """Whether every trial of its search has ended."""
        all_there = len(self.trials) >= self.num_planned
        return all_there and all(trial.has_ended for trial in self.trials)

    @property
    def steps(self) -> int:
        """Optimizer steps that the search has spent."""
        return sum(trial.spent_steps for trial in self.trials)

    @property
    def full_steps(self) -> int:
        """Optimizer steps of the search's trials, had none been cut or taken over."""
        return sum(t.record.num_steps for t in self.trials if t.record.parent is None)

    @property
    def saved_steps(self) -> int:
        """Optimizer steps that stopping spared, without those that other trials did instead."""
        children = [trial.record for trial in self.trials if trial.record.parent is not None]
        instead = sum(child.num_steps - child.parent_step for child in children)
        return max(0, sum(trial.record.num_steps - trial.steps for trial in self.cut) - instead)

    @property
    def cut(self) -> tuple[Trial, ...]:
        """Trials of the search that were stopped early."""
        return tuple(trial for trial in self.trials if trial.status == STOPPED)


def best_of(trials: Iterable[Trial], objective: ObjectiveConfig) -> Trial | None:
    """Return the best of some trials, see `choice.best_record`."""
    by_number = {trial.record.number: trial for trial in trials}
    best = best_record((trial.record for trial in by_number.values()), objective)
    return by_number[best.number] if best else None


def configurations(arm: Arm) -> list[list[Trial]]:
    """Return an arm's finalists by configuration: those of each differ in their seeds alone."""
    by_values: dict[tuple[tuple[str, Any], ...], list[Trial]] = defaultdict(list)
    for trial in arm.finalists:
        by_values[tuple(sorted(trial.values.items()))].append(trial)
    return list(by_values.values())


def best_configuration(arm: Arm) -> tuple[Trial, ...]:
    """Return the runs of an arm's finalist configuration with the best mean objective.

    Configurations are ranked by their finished runs: those with more of them first, so that one
    lucky early run does not win.
    """

    def rank(trials: list[Trial]) -> tuple[int, float, int]:
        losses = [t.record.objective(arm.at) for t in trials if t.status in (COMPLETED, DIVERGED)]
        mean = math.fsum(losses) / len(losses) if losses else math.inf
        first = trials[0].record.number
        return -len(losses), mean if math.isfinite(mean) else math.inf, first

    best = min(configurations(arm), key=rank)
    return tuple(sorted(best, key=lambda trial: trial.record.seed))
