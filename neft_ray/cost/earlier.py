"""The speed of an earlier run that did the same work, found in a storage folder."""

from __future__ import annotations

from pathlib import Path

from neft_ray.config.load import load_sweep
from neft_ray.config.sweep import SweepConfig
from neft_ray.cost.pace import Pace, Speed
from neft_ray.errors import UserError
from neft_ray.journal import read_records
from neft_ray.run_directory import find_runs

SECTIONS = ("model", "data", "batch", "strategy", "workers")
"""What decides how long a step takes, beside the machine; noise and optimizer hardly do."""


def earlier_speed(config: SweepConfig, storage: Path) -> Speed | None:
    """Return the speed of the newest run in a storage folder that does the same work per step.

    None where there is none; a run that this version cannot read is none.
    """
    for run in reversed(find_runs(storage)):
        try:
            before = load_sweep(run.config_file)
            records = read_records(run.journal_file)
        except (UserError, OSError):
            continue
        if _work(before) == _work(config):
            speed = Pace(records.values()).speed(f"measured in {run.name}")
            if speed is not None:
                return speed
    return None


def _work(config: SweepConfig) -> tuple[object, ...]:
    training = config.training
    often = (training.eval_every_steps, training.train_loss_rows, training.async_checkpoints)
    sections = (getattr(config, name) for name in SECTIONS)
    return (*sections, *often, config.noise.symmetric)
