"""Who plays a sweep on recorded curves: the conductor, and what else there is."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import numpy as np
import optuna
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from benchmarks.curves import RECIPE
from neft_ray.config.load import load_sweep
from neft_ray.config.sweep import SweepConfig
from neft_ray.config.trial import TrialConfig
from neft_ray.run_directory import RunDirectory
from neft_ray.sweep.conductor import Conductor

SHARE = 0.3
"""Of the optimizer steps that the whole grid takes."""
GRACE_STEPS, ETA = 20, 4
Point = Mapping[str, float]


@dataclass
class Task:
    """One recorded seed: curves by point.

    Attributes:
        steps: Where trials are evaluated.
        curves: Losses by point, shorter where a trial diverged.
    """

    grid: Mapping[str, tuple[float, ...]]
    steps: list[int]
    curves: dict[tuple[float, ...], list[float]]

    def curve(self, point: Point) -> list[float]:
        """Return the losses of a point."""
        return self.curves[tuple(float(point[key]) for key in self.grid)]

    @property
    def budget(self) -> int:
        """Steps that a sweep may take."""
        return int(SHARE * len(self.curves) * self.steps[-1])

    def regret(self, found: float) -> float:
        """Return how far above the best a loss is, where the grid's median is 100 %."""
        lowest = [min(curve, default=np.inf) for curve in self.curves.values()]
        return 100 * (found - min(lowest)) / (median(lowest) - min(lowest))


class Player(Protocol):
    """Plays a sweep: starts trials and decides on their reports."""

    def start(self) -> tuple[int, Point, int] | None:
        """Return number, values and step of a trial that starts or goes on; None to wait."""

    def report(self, number: int, step: int, loss: float) -> bool:
        """Take a report and return whether the trial stops, for good or for a while."""

    def end(self, number: int, diverged: bool) -> None:
        """Note that a trial came to its end."""


class Lengths:
    """All trials are as long as recorded."""

    def __init__(self, length: int) -> None:
        self._length = length

    def num_steps(self, config: TrialConfig) -> int:
        """Return a trial's steps."""
        return self._length

    def num_tokens(self, config: TrialConfig) -> int:
        """Return a trial's tokens, of no use here."""
        return self._length


class Ours:
    """The conductor, with its journal in memory."""

    def __init__(self, task: Task, folder: Path, **search: Any) -> None:
        self._conductor = Conductor(
            config_of(task, search), RunDirectory(folder), Lengths(task.steps[-1])
        )

    def start(self) -> tuple[int, Point, int] | None:
        """See `Player`."""
        record = self._conductor.next_trial()
        return None if record is None else (record.number, record.values, record.last_step)

    def report(self, number: int, step: int, loss: float) -> bool:
        """See `Player`."""
        return self._conductor.report(number, step, {"select_loss": loss})

    def end(self, number: int, diverged: bool) -> None:
        """See `Player`."""
        self._conductor.end(number, "diverged" if diverged else "completed")


def config_of(task: Task, search: dict[str, Any]) -> SweepConfig:
    """Return the sweep over the recorded grid."""
    base = load_sweep(RECIPE).model_dump(mode="json")
    base["training"] |= {"eval_every_steps": task.steps[0]}
    base["sweep"] = {
        "space": {key: {"choice": values} for key, values in task.grid.items()},
        "num_trials": len(task.curves),
        "finalists": {"num": 0},
        **search,
    }
    return SweepConfig.model_validate_json(json.dumps(base))


class Independent:
    """Random search as elsewhere: draws that may repeat, and every trial to its end."""

    def __init__(self, task: Task, seed: int) -> None:
        self._grid, self._random, self._number = task.grid, random.Random(seed), -1

    def start(self) -> tuple[int, Point, int] | None:
        """See `Player`."""
        self._number += 1
        return self._number, {k: self._random.choice(v) for k, v in self._grid.items()}, 0

    def report(self, number: int, step: int, loss: float) -> bool:
        """See `Player`."""
        return False

    def end(self, number: int, diverged: bool) -> None:
        """See `Player`."""


@dataclass(frozen=True)
class _Stub:
    """What Ray's schedulers look at in a trial."""

    trial_id: int


class RayAsha(Independent):
    """Ray Tune's ASHA over independent draws."""

    def __init__(self, task: Task, seed: int) -> None:
        super().__init__(task, seed)
        self._scheduler = ASHAScheduler(
            time_attr="step",
            metric="loss",
            mode="min",
            max_t=task.steps[-1] + 1,  # a trial ends by itself at its last step
            grace_period=GRACE_STEPS,
            reduction_factor=ETA,
        )
        self._known: dict[int, _Stub] = {}

    def report(self, number: int, step: int, loss: float) -> bool:
        """See `Player`."""
        if number not in self._known:
            self._known[number] = _Stub(number)
            self._scheduler.on_trial_add(None, self._known[number])
        result = {"step": step, "loss": loss}
        decision = self._scheduler.on_trial_result(None, self._known[number], result)
        return bool(decision == TrialScheduler.STOP)


class OptunaAlone(Independent):
    """Optuna's own default sampler, every trial to its end."""

    def __init__(self, task: Task, seed: int) -> None:
        super().__init__(task, seed)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sampler = optuna.samplers.TPESampler(seed=seed)
        self._study = optuna.create_study(sampler=sampler)
        self._lowest: dict[int, float] = {}

    def start(self) -> tuple[int, Point, int] | None:
        """See `Player`."""
        trial = self._study.ask()
        return trial.number, {k: trial.suggest_categorical(k, v) for k, v in self._grid.items()}, 0

    def report(self, number: int, step: int, loss: float) -> bool:
        """See `Player`."""
        self._lowest[number] = min(loss, self._lowest.get(number, np.inf))
        return False

    def end(self, number: int, diverged: bool) -> None:
        """See `Player`."""
        failed = optuna.trial.TrialState.FAIL
        if diverged:
            self._study.tell(number, state=failed)
        else:
            self._study.tell(number, self._lowest[number])
