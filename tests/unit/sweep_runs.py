"""Drives a conductor without Ray: synthetic curves, any number of slots, crashes at any event."""

import json
import math
import random
from pathlib import Path

from neft_ray.config.sweep import SweepConfig
from neft_ray.run_directory import RunDirectory
from neft_ray.sweep.conductor import Conductor

ALPHA, RATE = "noise.alpha", "optimizer.learning_rate"
NUM_STEPS, EVAL_STEPS = 80, 10
TOKENS_PER_STEP = 100


def sweep_config(**search) -> SweepConfig:
    search = {
        "space": {ALPHA: {"choice": [5, 10, 15]}, RATE: {"loguniform": [1e-4, 1e-2]}},
        "control": {ALPHA: 0},
        "searcher": {"kind": "random"},
        "scheduler": {"kind": "asha", "grace_steps": 10, "eta": 2},
        "num_trials": 6,
        "finalists": {"num": 1, "seeds": [1, 2]},
    } | search
    sections = {
        "name": "synthetic",
        "model": {"path": "builtin:base"},
        "data": {"train": "builtin:tales"},
        "training": {"eval_every_steps": EVAL_STEPS},
        "sweep": search,
    }
    return SweepConfig.model_validate_json(json.dumps(sections))


class Lengths:
    """Every trial is as long as the others."""

    def num_steps(self, config) -> int:
        return NUM_STEPS

    def num_tokens(self, config) -> int:
        return NUM_STEPS * TOKENS_PER_STEP


def open_conductor(config: SweepConfig, root: Path) -> Conductor:
    root.mkdir(parents=True, exist_ok=True)
    return Conductor(config, RunDirectory(root), Lengths())


def loss_of(config, step: int) -> float:
    """A bowl in the learning rate whose bottom α shifts, falling with the steps."""
    noise, optimizer = config.at(step)
    rate, alpha = optimizer.learning_rate, noise.alpha
    bowl = (math.log10(rate) + 3 + alpha / 30) ** 2
    return 3 + bowl + 10 / (step + 10) + 0.01 * config.training.seed


class Killed(Exception):
    """The driver died."""


class Simulation:
    """Slots that work through a conductor's trials in a seeded random order."""

    def __init__(self, config, root, num_slots=1, seed=0, loss=loss_of):
        self.config, self.root, self.num_slots = config, root, num_slots
        self.random = random.Random(seed)
        self.loss = loss
        self.num_started = 0

    def run(self, max_events: int | None = None) -> Conductor:
        """Run to the end, or die after so many events."""
        conductor = open_conductor(self.config, self.root)
        live: list[tuple[int, int]] = []
        events = 0
        while True:
            while len(live) < self.num_slots and (record := conductor.next_trial()):
                self.num_started += 1
                live.append((record.number, record.last_step))
            if not live:
                assert conductor.is_finished
                conductor.close()
                return conductor
            number, step = live.pop(self.random.randrange(len(live)))
            if max_events is not None and events >= max_events:
                raise Killed
            events += 1
            self._advance(conductor, live, number, step + EVAL_STEPS)

    def _advance(self, conductor, live, number, step):
        record = conductor.records[number]
        loss = self.loss(conductor.trial_config(record), step)
        metrics = {"select_loss": loss, "tokens_trained": step * TOKENS_PER_STEP}
        stops = conductor.report(number, step, metrics)
        if not math.isfinite(loss):
            conductor.end(number, "diverged", "not finite")
        elif stops:
            conductor.end(number, "stopped")
        elif step == record.num_steps:
            conductor.end(number, "completed")
        else:
            live.append((number, step))


def of(conductor, arm, phase="search"):
    """The records of an arm's trials."""
    return [r for r in conductor.records.values() if (r.arm, r.phase) == (arm, phase)]


def search_of(conductor, arm="treatment"):
    return of(conductor, arm)


def reached(records, step):
    """Losses of the trials at a step, of those that have come so far."""
    return {
        r.number: p.metrics["select_loss"] for r in records for p in r.reports if p.step == step
    }


def table(conductor) -> list[tuple]:
    """What a sweep came to, without times."""
    return [
        (r.number, r.arm, r.phase, dict(r.values), r.seed, r.status, report)
        for r in conductor.records.values()
        for report in [(p.step, p.metrics["select_loss"], p.decision) for p in r.reports]
    ]
