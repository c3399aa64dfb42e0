"""What a report shows of a trial, read from the journal."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from neft_ray.config.sweep import SweepConfig
from neft_ray.config.trial import ChangeConfig
from neft_ray.journal import COMPLETED, PAUSED, RUNNING, STOPPED, Event, TrialRecord
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
