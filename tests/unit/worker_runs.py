"""Runs whole trials as a worker does, with the driver's answers made up, on a disk as slow or small
as a test needs."""

import json
import os
import resource
import threading
from contextlib import contextmanager
from pathlib import Path

from neft_ray import worker
from neft_ray.config.trial import TrialConfig
from neft_ray.journal import STOPPED
from neft_ray.order import Order
from neft_ray.strategy.models import BaseModels
from neft_ray.train import stored
from neft_ray.working_copy import Pushing
from tests.unit.trial_runs import random_data, small_config

EVERY, STEPS = 3, 9
SCHEDULE = {"training.epochs": 3, "training.eval_every_steps": EVERY}
ASYNC = {"training.async_checkpoints": True}
BACKGROUND = "checkpoint"
"""What the threads that write are called."""
KEPT = ("train_loss", "grad_norm", "select_loss")


def trial_config(values=None, /) -> TrialConfig:
    """A small trial of nine steps that is evaluated at three of them."""
    return small_config(SCHEDULE | (values or {}))


class Link:
    """Answers a worker, and notes what it said and how many checkpoints there were then.

    Reports of steps in `stops` are answered with a stop. `act(step, engine)` is called after each
    step but the last; where it returns true, the worker is asked to stop, and where it returns
    `cancelled`, to stop for good. Among the events are steps that are not evaluated.
    """

    def __init__(self, folder, stops=(), act=lambda step, engine: False):
        self._checkpoints, self._stops, self._act = Path(folder) / "checkpoints", stops, act
        self.events, self.step = [], max(stored.steps_in(self._checkpoints), default=0)

    def report(self, engine, number, state):
        self.events.append(("report", state.step, stored.steps_in(self._checkpoints)))
        return state.step in self._stops

    def should_stop(self, engine):
        self.step += 1
        if self.step % EVERY:
            self.events.append(("step", self.step))
        wish = self._act(self.step, engine)
        return wish if isinstance(wish, str) else STOPPED if wish else ""


def run_trial(folder, config, stops=(), act=lambda step, engine: False, models=None):
    """Runs a trial in a folder; returns how it ended, why, and the events."""
    folder = Path(folder)
    data = folder.parent / f"data-{os.getpid()}"
    if not data.exists():
        random_data().save(data)
    folder.mkdir(exist_ok=True, parents=True)
    link = Link(folder, stops, act)
    order = Order(1, config.canonical_json, str(folder), str(data), False)
    ended = worker.run_trial(order, link, models or BaseModels(), Pushing(folder))
    return *ended, link.events


def curve(folder):
    """What a trial's metrics say that does not depend on the clock."""
    lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
    points = [json.loads(line) for line in lines]
    found = [(p["step"], key, p["metrics"].get(key)) for p in points for key in KEPT]
    return [point for point in found if point[2] is not None]


class SlowDisk:
    """A disk that forces nothing of a background thread's to its surface before it is let."""

    def __init__(self):
        self.gate = threading.Event()
        self._fsync = os.fsync

    def __enter__(self):
        os.fsync = self._wait
        return self

    def __exit__(self, *_):
        os.fsync = self._fsync
        self.gate.set()

    def _wait(self, file):
        if threading.current_thread() is not threading.main_thread():
            assert self.gate.wait(60)
        self._fsync(file)

    def let_all_be_written(self):
        """Lets the writers go on, and waits for them."""
        self.gate.set()
        for thread in threading.enumerate():
            if thread.name.startswith(BACKGROUND):
                thread.join()

    def let_later(self):
        """Lets the writers go on while somebody waits for them already."""
        threading.Timer(0.2, self.gate.set).start()


@contextmanager
def small_files(num_bytes):
    """Lets this process write no larger files, as a full disk would not."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
