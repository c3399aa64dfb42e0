"""All that `plan` says of a sweep before it starts: trials, disk, time and money, memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from neft_ray.config.sweep import SweepConfig
from neft_ray.cost.disk import DiskNeed, disk_need, disk_problem, free_bytes
from neft_ray.cost.estimate import Estimate, budget_problems, estimate
from neft_ray.cost.evaluation import EvaluationShare, evaluation_share
from neft_ray.cost.pace import Speed
from neft_ray.data.tokenized import TokenizedData
from neft_ray.errors import Problem, UserError
from neft_ray.memory.fit import Room, problem, room_of, trials_per_gpu
from neft_ray.memory.predict import Prediction, Predictor, Shape
from neft_ray.plan import Plan
from neft_ray.working_copy import here


@dataclass(frozen=True)
class MemoryForecast:
    """What one worker holds at the fullest moment of a step.

    Attributes:
        shape: The micro-batch that it is told for.
        room: The memory there is.
        rows: A prediction by the name of its strategy: the file's, or all.
        trials_per_gpu: Trials that fit on one GPU; 1 where that is not known.
        problem: Why the file's does not fit, with what would.
    """

    shape: Shape
    room: Room
    rows: Sequence[tuple[str, Prediction]]
    trials_per_gpu: int
    problem: Problem | None


@dataclass(frozen=True)
class Forecast:
    """What a sweep would do and cost.

    Attributes:
        config: The sweep.
        plan: Its arms, trials and steps.
        num_rows: Of its data, by split.
        evaluations: How much of a trial is evaluation.
        slots: Trials at the same time; None where that is not known.
        speed: As measured; None where nothing was.
        free_bytes: Of the storage.
        disk: What the storage is to hold, or why that is not known.
        memory: What a worker holds, or why that is not known.
    """

    config: SweepConfig
    plan: Plan
    num_rows: dict[str, int]
    evaluations: EvaluationShare
    slots: int | None
    speed: Speed | None
    free_bytes: float
    disk: DiskNeed | UserError
    memory: MemoryForecast | UserError

    @property
    def storage(self) -> Path:
        """The folder that holds the runs, or will."""
        return here(self.config.storage)

    @property
    def estimate(self) -> Estimate | None:
        """Time and money; None where slots or speed are not known."""
        if self.slots is None or self.speed is None:
            return None
        return estimate(self.plan, self.config, self.slots, self.speed)

    @property
    def first_result_seconds(self) -> float | None:
        """When the first evaluation comes."""
        if self.speed is None:
            return None
        every = self.config.training.eval_every_steps
        return self.speed.first_seconds + max(self.speed.step_seconds.values()) * every

    def problems(self) -> Iterator[Problem]:
        """Yield why the sweep cannot fit, as far as that is known."""
        if isinstance(self.disk, DiskNeed):
            found = disk_problem(self.storage, self.disk, self.free_bytes)
            yield from [found] if found else []
        if self.slots is not None and self.speed is not None:
            yield from budget_problems(self.config, self.plan, self.slots, self.speed)
        if isinstance(self.memory, MemoryForecast) and self.memory.problem:
            yield self.memory.problem


def make_forecast(
    config: SweepConfig,
    plan: Plan,
    data: TokenizedData,
    slots: int | None,
    speed: Speed | None,
    compare: bool,
) -> Forecast:
    """Return what a sweep would do and cost.

    Args:
        config: The sweep.
        plan: Its arms, trials and steps.
        data: Of its base trial.
        slots: Trials at the same time; None: not known.
        speed: As measured; None: nothing was.
        compare: Predict memory under all strategies and stages.
    """
    predictor = Predictor(config.trial, data.summary["longest_tokens"])
    disk: DiskNeed | UserError
    memory: MemoryForecast | UserError
    try:
        sizes = predictor.sizes
        disk = disk_need(config, plan, sizes.trained, sizes.all, slots or 1)
    except UserError as error:
        disk = error
    try:
        memory = _memory(config, predictor, slots, compare)
    except UserError as error:
        memory = error
    return Forecast(
        config=config,
        plan=plan,
        num_rows=data.summary["rows"],
        evaluations=evaluation_share(config.trial, data),
        slots=slots,
        speed=speed,
        free_bytes=free_bytes(here(config.storage)),
        disk=disk,
        memory=memory,
    )


def _memory(
    config: SweepConfig, predictor: Predictor, slots: int | None, compare: bool
) -> MemoryForecast:
    """Return what a worker holds.

    Raises:
        UserError: If the model cannot be traced.
    """
    room = room_of(config, slots or config.sweep.slots)
    named = predictor.compared() if compare else [("this file", config.trial)]
    return MemoryForecast(
        shape=predictor.shape,
        room=room,
        rows=[(name, predictor.of(trial)) for name, trial in named],
        trials_per_gpu=trials_per_gpu(predictor, room),
        problem=problem(config.name, predictor, room),
    )
