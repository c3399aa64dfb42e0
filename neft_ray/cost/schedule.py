"""How long the rest of a sweep takes: its trials dealt out to slots, finalists after the search."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from neft_ray.cost.pace import Speed
from neft_ray.journal import PAUSED, RUNNING, Event, TrialRecord
from neft_ray.plan import ArmPlan, Plan

ENOUGH_ENDED = 3
"""Trials of an arm that must have ended before their mean length replaces the planned one."""


def slots_of(events: Iterable[Event]) -> int:
    """Return how many trials run at the same time at a journal's end, or did when any last ran."""
    slots = 1
    for event in events:
        if event["event"] == "hold":
            slots = int(event["slots"]) or slots
    return slots


def makespan(seconds: Iterable[float], slots: int) -> float:
    """Return when the last of some trials ends, each given to the slot that is free first."""
    free = [0.0] * slots
    for duration in seconds:
        heapq.heappush(free, heapq.heappop(free) + duration)
    return max(free)


def seconds_left(plan: Plan, records: Sequence[TrialRecord], slots: int, speed: Speed) -> float:
    """Estimate the time to a sweep's end.

    Args:
        plan: Of the sweep.
        records: Its trials so far.
        slots: Trials at the same time.
        speed: As measured.
    """
    known = list(records)
    search = [_search(arm, plan, known, speed) for arm in plan.arms]
    finalists = [_finalists(arm, plan, known, speed) for arm in plan.arms]
    return makespan(_dealt(search), slots) + makespan(_dealt(finalists), slots)


@dataclass(frozen=True)
class _Left:
    """What is left of an arm, in seconds per trial."""

    running: Sequence[float]
    to_come: Sequence[float]


def _dealt(arms: Sequence[_Left]) -> Iterator[float]:
    """Yield what runs, and then what is to come, by turns of the arms as a sweep starts them."""
    for arm in arms:
        yield from arm.running
    for turn in zip_longest(*(arm.to_come for arm in arms)):
        yield from (seconds for seconds in turn if seconds is not None)


def _search(arm: ArmPlan, plan: Plan, records: Sequence[TrialRecord], speed: Speed) -> _Left:
    mine = [r for r in records if (r.arm, r.phase) == (arm.name, "search")]
    ended = [r.spent_steps for r in mine if r.status not in (RUNNING, PAUSED)]
    usual = arm.steps / max(1, arm.num_trials)
    if len(ended) >= ENOUGH_ENDED:
        usual = sum(ended) / len(ended)
    per_step = speed.of(arm.name)
    running = [_steps_left(r, usual, plan.rungs) * per_step for r in mine if r.status == RUNNING]
    if any(r.status == PAUSED for r in mine):
        # Which of them go on is not known: take what the plan still holds for all.
        spent = sum(r.spent_steps for r in mine)
        planned = arm.steps * len(mine) / max(1, arm.num_trials)
        running.append(max(0.0, planned - spent) * per_step)
    new = usual * per_step + speed.start_seconds
    return _Left(running, [new] * (arm.num_trials - len(mine)))


def _steps_left(record: TrialRecord, usual: float, rungs: Sequence[int]) -> float:
    """Expect the usual length; of a trial that is past it, the next rung, or its end."""
    if record.last_step < usual:
        return min(usual, record.num_steps) - record.last_step
    later = [rung for rung in rungs if rung > record.last_step]
    return min([*later, record.num_steps]) - record.last_step


def _finalists(arm: ArmPlan, plan: Plan, records: Sequence[TrialRecord], speed: Speed) -> _Left:
    mine = [r for r in records if (r.arm, r.phase) == (arm.name, "finalist")]
    per_step = speed.of(arm.name)
    running = [(r.num_steps - r.last_step) * per_step for r in mine if r.status == RUNNING]
    new = plan.num_steps * per_step + speed.start_seconds
    return _Left(running, [new] * (plan.num_finalists - len(mine)))
