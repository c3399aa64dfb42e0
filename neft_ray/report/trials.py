"""What a report shows of a trial and of an arm, read from the journal."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from neft_ray.config.sweep import SweepConfig
from neft_ray.config.trial import ChangeConfig
from neft_ray.journal import (
    COMPLETED,
    DIVERGED,
    RUNNING,
    STOPPED,
    Event,
    Report,
    TrialRecord,
)
from neft_ray.run_directory import RunDirectory, trial_name
from neft_ray.tracking.points import POINTS_FILE, read_points

ALPHA, LEARNING_RATE = "noise.alpha", "optimizer.learning_rate"
INTERRUPTED = "interrupted"
"""The status of a trial that was running when its driver ended."""
NOT_ENDED = (RUNNING, INTERRUPTED, PAUSED)
HEALTH_REASONS = ("stalled", "spiked")
"""What the reason of a trial begins with that was stopped for its own sake."""


@dataclass(frozen=True)
class Trial:
    """A trial with the values it ran with."""

    record: TrialRecord
    status: str
    """As in the journal, or `interrupted`."""
    values: Mapping[str, Any]
    """Of every key that the space or an arm names."""
    own_keys: tuple[str, ...]
    """Those among them that the space or its own arm names."""
    alpha: float
    learning_rate: float
    steps: int
    """Optimizer steps done. What was computed again after a crash counts once."""
    crash_reasons: tuple[str, ...]
    changes: tuple[ChangeConfig, ...] = ()
    """Values that changed on the way, in population-based training."""

    @property
    def name(self) -> str:
        """Such as `t007`."""
        return trial_name(self.record.number)

    @property
    def spent_steps(self) -> int:
        """Optimizer steps done, without those of the trial that it goes on from."""
        return self.steps - self.record.parent_step

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status not in NOT_ENDED

    @property
    def best_select_loss(self) -> float:
        """The lowest select loss of its evaluations; inf without a finite one."""
        return self.record.objective("best")

    @property
    def problem(self) -> str:
        """What went wrong with it, empty if nothing did; being cut at a rung is no failure."""
        is_well = self.status in (COMPLETED, STOPPED, *NOT_ENDED)
        if is_well and not self.record.reason.startswith(HEALTH_REASONS):
            parts = []
        else:
            parts = [self.record.reason or self.status]
        times = Counter(self.crash_reasons)
        parts += [f"crashed {n}× ({reason or 'no reason known'})" for reason, n in times.items()]
        return "; ".join(parts)


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
    at: str
    """The objective: select loss at `best` or at the `end`."""

    @property
    def best(self) -> Trial | None:
        """The search's trial with the lowest objective."""
        return best_of(self.trials, self.at)

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


def best_of(trials: Iterable[Trial], at: str) -> Trial | None:
    """Return the trial with the lowest finite objective, the earliest of equals.

    Args:
        trials: To choose from.
        at: `best` or `end`.
    """
    finite = [trial for trial in trials if math.isfinite(trial.record.objective(at))]
    return min(finite, key=lambda t: (t.record.objective(at), t.record.number), default=None)


def best_configuration(arm: Arm) -> tuple[Trial, ...]:
    """Return the runs of an arm's finalist configuration with the best mean objective.

    Configurations are ranked by their finished runs: those with more of them first, so that one
    lucky early run does not win.
    """
    by_values: dict[tuple[tuple[str, Any], ...], list[Trial]] = defaultdict(list)
    for trial in arm.finalists:
        by_values[tuple(sorted(trial.values.items()))].append(trial)

    def rank(trials: list[Trial]) -> tuple[int, float, int]:
        losses = [t.record.objective(arm.at) for t in trials if t.status in (COMPLETED, DIVERGED)]
        mean = math.fsum(losses) / len(losses) if losses else math.inf
        first = trials[0].record.number
        return -len(losses), mean if math.isfinite(mean) else math.inf, first

    best = min(list(by_values.values()), key=rank)
    return tuple(sorted(best, key=lambda trial: trial.record.seed))


def fixed_values(config: SweepConfig, arm: str) -> Mapping[str, Any]:
    """Return what an arm fixes."""
    return config.sweep.arms[arm]


def read_trials(
    config: SweepConfig,
    run: RunDirectory,
    records: Mapping[int, TrialRecord],
    events: Iterable[Event],
) -> tuple[Trial, ...]:
    """Return the trials of a run in order.

    Args:
        config: The sweep.
        run: Its directory.
        records: What `events` amount to.
        events: The journal, for the reasons of crashes.
    """
    crashes: dict[int, list[str]] = defaultdict(list)
    for event in events:
        if event["event"] == "crash":
            crashes[event["trial"]].append(event["reason"])
    is_driven = run.owner_pid is not None
    return tuple(
        _trial(config, run, record, tuple(crashes[number]), is_driven)
        for number, record in sorted(records.items())
    )


def _trial(
    config: SweepConfig,
    run: RunDirectory,
    record: TrialRecord,
    crash_reasons: tuple[str, ...],
    is_driven: bool,
) -> Trial:
    given = {**record.values, **fixed_values(config, record.arm)}
    fixed = (key for values in config.sweep.arms.values() for key in values)
    named = dict.fromkeys([*config.sweep.space, *fixed])
    values = {key: given[key] if key in given else _base_value(config, key) for key in named}
    return Trial(
        record=record,
        status=INTERRUPTED if record.status == RUNNING and not is_driven else record.status,
        values=values,
        own_keys=tuple(dict.fromkeys([*config.sweep.space, *fixed_values(config, record.arm)])),
        alpha=values.get(ALPHA, config.noise.alpha),
        learning_rate=values.get(LEARNING_RATE, config.optimizer.learning_rate),
        steps=_steps_done(run, record),
        crash_reasons=crash_reasons,
        changes=_changes(run, record),
    )


def _changes(run: RunDirectory, record: TrialRecord) -> tuple[ChangeConfig, ...]:
    """Return a trial's changes; none where it has no folder yet."""
    file = run.trial(record.number) / "config.json"
    written = json.loads(file.read_text()).get("changes", []) if file.exists() else []
    return tuple(ChangeConfig(**change) for change in written)


def _base_value(config: SweepConfig, key: str) -> Any:
    section: Any = config
    for name in key.split("."):
        section = getattr(section, name, None)
    return section


def _steps_done(run: RunDirectory, record: TrialRecord) -> int:
    """Count steps beyond the last report too, where a trial can end between two reports."""
    if record.status in (COMPLETED, STOPPED, PAUSED):
        return record.last_step
    points = read_points(run.trial(record.number) / POINTS_FILE)
    return max((point.step for point in points), default=record.last_step)
