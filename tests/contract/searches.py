"""Every searcher on a small space with a condition, and arms of trials with random fates."""

import json
import math
import random

import pytest

from neft_ray.config.checks import cross_check
from neft_ray.config.sweep import SweepConfig
from neft_ray.journal import (
    CANCELLED,
    COMPLETED,
    DIVERGED,
    FAILED,
    PAUSED,
    RUNNING,
    STOPPED,
    Report,
    TrialRecord,
)
from neft_ray.sweep.propose import build_proposer

ALPHA, RATE, DECAY = "noise.alpha", "optimizer.learning_rate", "optimizer.weight_decay"
SYMMETRIC, EPOCHS, SCHEDULE = "noise.symmetric", "training.epochs", "noise.schedule"
NUM_STEPS, NUM_TRIALS = 80, 24
SEARCHERS = {
    "grid": {"kind": "grid"},
    "random": {"kind": "random"},
    "quasi_random": {"kind": "quasi_random"},
    "tpe": {"kind": "optuna", "num_startup_trials": 8},
    "gp": {"kind": "optuna", "sampler": "gp", "num_startup_trials": 8},
    "bohb": {"kind": "bohb", "num_startup_trials": 8},
}
LISTED = {
    ALPHA: {"choice": [15, 5, 10.0]},
    SYMMETRIC: {"choice": [True, False]},
    RATE: {"choice": [1e-3, 1e-4, 3e-4]},
    SCHEDULE: {"choice": ["linear", "cosine"], "when": {ALPHA: [5, 10], SYMMETRIC: True}},
}
RANGES = LISTED | {
    RATE: {"loguniform": [1e-4, 1e-2]},
    DECAY: {"uniform": [0, 0.5], "when": {SYMMETRIC: False}},
    EPOCHS: {"int_range": [1, 4]},
}
STATUSES = (COMPLETED, STOPPED, STOPPED, STOPPED, DIVERGED, FAILED, CANCELLED, PAUSED, RUNNING)
both_arms = pytest.mark.parametrize("arm", ["treatment", "control"])


def sweep(searcher, seed=3, **search) -> SweepConfig:
    on_grid = searcher == "grid"
    sections = {
        "name": "x",
        "model": {"path": "builtin:base"},
        "data": {"train": "builtin:tales"},
        "noise": {"alpha": 5},
        "training": {"eval_every_steps": 10},
        "sweep": {
            "space": LISTED if on_grid else RANGES,
            "control": {ALPHA: 0},
            "searcher": SEARCHERS[searcher] | ({} if on_grid else {"seed": seed}),
            "scheduler": {"kind": "asha", "grace_steps": 10, "eta": 2},
            "num_trials": None if on_grid else NUM_TRIALS,
        }
        | search,
    }
    config = SweepConfig.model_validate_json(json.dumps(sections))
    assert not list(cross_check(config, lambda path: False))
    return config


def proposer_of(config, arm="treatment"):
    return build_proposer(config, arm, NUM_STEPS)


def ended(number, values, status, draw) -> TrialRecord:
    """A trial with a curve that its values and a random number shape."""
    record = TrialRecord(number, "treatment", "search", values, 0, 0.0, NUM_STEPS)
    num = {COMPLETED: 8, FAILED: 0}.get(status, draw.choice([1, 2, 4]))
    bowl = (math.log10(values.get(RATE, 1e-3)) + 3) ** 2 + draw.random() / 10
    losses = [2 + bowl + 1 / step for step in range(1, num + 1)]
    if status == DIVERGED:
        losses[-1] = math.nan
    record.reports += [
        Report(10 * index, {"select_loss": loss}, "continue", 0.0)
        for index, loss in enumerate(losses, start=1)
    ]
    record.status = status
    return record


def played(proposer, statuses=STATUSES, num=NUM_TRIALS, priors=()) -> list[TrialRecord]:
    """The trials of an arm, one after another, each with a random fate."""
    draw, history = random.Random(0), []
    for number in range(min(num, proposer.num_trials)):
        values = proposer.propose(history, priors)
        history.append(ended(number, values, draw.choice(statuses), draw))
    return history
