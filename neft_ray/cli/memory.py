"""Prints what a trial's workers hold, and warns where it is too much."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from neft_ray.config.sweep import SweepConfig
from neft_ray.errors import Problem, UserError

SHORT_NAMES = {
    "parameters": "params",
    "gradients": "grads",
    "optimizer": "optim",
    "activations": "activ",
}
PLAIN: dict[str, Any] = {"box": None, "padding": (0, 1, 0, 0), "pad_edge": False}

if TYPE_CHECKING:  # it loads torch
    from neft_ray.cost.forecast import MemoryForecast


def print_memory(console: Console, found: MemoryForecast | UserError) -> None:
    """Show what a worker holds, or why that is not known."""
    from neft_ray.memory.fit import GIGABYTE

    if isinstance(found, UserError):
        console.print(f"memory   unknown: {found}", soft_wrap=True)
        return
    console.print(_table(found))
    shape, room = found.shape, found.room
    size = "" if room.size is None else f"{room.size / GIGABYTE:.3g} GB, "
    console.print(
        f"memory   at the fullest moment of a step, tensors alone, for micro-batches of "
        f"{shape.rows} × {shape.tokens} tokens, all of them targets; of {size}{room.what}",
        soft_wrap=True,
        highlight=False,
    )
    if (at_once := found.trials_per_gpu) > 1:
        share = math.floor(100 / at_once) / 100
        console.print(
            f"memory   {at_once} trials fit on one GPU: workers.gpus: {share:g} shares it"
        )


def warn_of_memory(console: Console, file: Path, config: SweepConfig) -> None:
    """Say so where a file's trial will not fit, or where that is not known; data are not read."""
    from neft_ray.memory.fit import problem, room_of
    from neft_ray.memory.predict import Predictor

    room = room_of(config, config.sweep.slots)
    if room.size is None:
        console.print(f"{file}: memory {room.what}", soft_wrap=True, highlight=False)
        return
    try:
        _warn(console, problem(str(file), Predictor(config.trial), room))
    except UserError as error:
        console.print(f"{file}: memory unknown: {error}", soft_wrap=True, highlight=False)


def _warn(console: Console, found: Problem | None) -> None:
    if found is not None:
        console.print(f"warning: {found}", style="yellow", soft_wrap=True, highlight=False)


def _table(found: MemoryForecast) -> Table:
    from neft_ray.memory.fit import GIGABYTE, fits
    from neft_ray.memory.held import Held

    kinds = [field.name for field in fields(Held)]
    small = max(prediction.device for _, prediction in found.rows) < GIGABYTE
    unit, name_of_unit = (GIGABYTE / 1000, "MB") if small else (GIGABYTE, "GB")
    short = [SHORT_NAMES.get(kind, kind) for kind in kinds]
    table = Table(name_of_unit, *short, "host", "peak", "fits", **PLAIN)
    for column in table.columns[1:-1]:
        column.justify = "right"
    for name, prediction in found.rows:
        amounts = [getattr(prediction.held, kind) for kind in kinds]
        amounts += [prediction.host, prediction.device]
        answer = {None: "unknown", True: "yes", False: "no"}[fits(prediction, found.room)]
        table.add_row(name, *(f"{amount / unit:.1f}" for amount in amounts), answer)
    return table
