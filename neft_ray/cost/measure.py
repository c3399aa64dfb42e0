"""Measures a few real steps of a sweep's base trial, in this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TypeVar

import torch

from neft_ray.config.strategy import DdpConfig
from neft_ray.config.sweep import SweepConfig
from neft_ray.config.trial import TrialConfig
from neft_ray.cores import use_cores
from neft_ray.cost.pace import Speed
from neft_ray.data.tokenized import TokenizedData
from neft_ray.errors import bad_input
from neft_ray.noise import EmbeddingNoise
from neft_ray.plan import Plan
from neft_ray.strategy.models import BaseModels
from neft_ray.strategy.registry import build_engine
from neft_ray.train import checkpoint
from neft_ray.train.contents import State
from neft_ray.train.loop import train
from neft_ray.train.metrics import evaluate

T = TypeVar("T")
NUM_STEPS = 5
"""Timed, after one that is not: the first allocates."""


def measure(config: SweepConfig, plan: Plan, data: TokenizedData) -> Speed:
    """Return the speed of the base trial on this machine: steps, evaluation, checkpoint.

    Args:
        config: The sweep, with one worker.
        plan: Of the sweep, for arms whose steps run every row twice.
        data: Of the base trial.

    Raises:
        UserError: If a trial has several workers, or needs a GPU that is not here.
    """
    trial = config.trial
    workers, again = trial.workers, "start the sweep: after two reports its speed is known"
    if workers.most > 1 or not isinstance(trial.strategy, DdpConfig):
        raise bad_input("--measure", "measures one worker with the strategy ddp", again)
    if workers.gpus and not torch.cuda.is_available():
        raise bad_input("--measure", "workers need a GPU, and this machine has none", again)
    use_cores(workers.cpus)
    device = torch.device("cuda" if workers.gpus else "cpu")
    start, engine = _timed(lambda: build_engine(trial, BaseModels(), device))
    noise = EmbeddingNoise.of(trial.noise, trial.training.seed)
    seconds = []
    with noise.attached(engine.plain.embedding):
        steps = train(engine, data, noise, trial)
        for _ in islice(steps, 1):
            began = time.perf_counter()
        for _ in islice(steps, NUM_STEPS):
            seconds.append(time.perf_counter() - began)
            began = time.perf_counter()
    evaluation, (metrics, _) = _timed(lambda: evaluate(engine, data, trial, False))
    with TemporaryDirectory() as folder:
        state = State(1, trial.config_hash, metrics)
        saving, _ = _timed(lambda: checkpoint.save(engine, Path(folder), state))
    engine.close()
    rest = (evaluation + saving) / trial.training.eval_every_steps
    if not seconds:
        raise bad_input("--measure", "a trial has a single step", again)
    step = median(seconds)
    return Speed(
        _by_arm(plan, trial, step, rest),
        start,
        start,
        f"{len(seconds)} steps, timed now, without the start of a slot",
    )


def _by_arm(plan: Plan, trial: TrialConfig, step: float, rest: float) -> dict[str, float]:
    copies = trial.noise.num_copies
    return {arm.name: step * arm.forwards_per_row / copies + rest for arm in plan.arms}


def _timed(call: Callable[[], T]) -> tuple[float, T]:
    began = time.perf_counter()
    found = call()
    return time.perf_counter() - began, found
