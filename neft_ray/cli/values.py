"""What `--json` prints of runs, trials and problems: plain values under keys that stay."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from neft_ray.errors import Problem, UserError
from neft_ray.journal import TrialRecord, read_records
from neft_ray.run_directory import RunDirectory, trial_name

if TYPE_CHECKING:  # it loads torch
    from neft_ray.cost.disk import DiskNeed
    from neft_ray.cost.forecast import Forecast, MemoryForecast
    from neft_ray.launch.doctor import Checked
    from neft_ray.pipeline.garbage import Garbage


def print_json(content: Any) -> None:
    """Print a value as one JSON document."""
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))


def run_values(run: RunDirectory, state: str) -> dict[str, Any]:
    """Return a run: `run`, `path`, `state`, `num_trials`, `num_ended`, `best_select_loss`.

    Losses are in nats per supervised token; null where there is none.
    """
    records = read_records(run.journal_file).values()
    losses = [record.best.metrics["select_loss"] for record in records if record.best]
    return {
        "run": run.name,
        "path": str(run.root),
        "state": state,
        "num_trials": len(records),
        "num_ended": sum(record.ended is not None for record in records),
        "best_select_loss": min(losses, default=None),
    }


def trial_values(record: TrialRecord) -> dict[str, Any]:
    """Return a trial: its name, arm, phase, searched values, seed, steps, loss, status, reason."""
    return {
        "trial": trial_name(record.number),
        "arm": record.arm,
        "phase": record.phase,
        "values": dict(record.values),
        "seed": record.seed,
        "step": record.last_step,
        "num_steps": record.num_steps,
        "best_select_loss": record.best.metrics["select_loss"] if record.best else None,
        "last_select_loss": _last_loss(record),
        "status": record.status,
        "reason": record.reason,
    }


def forecast_values(found: Forecast) -> dict[str, Any]:
    """Return what a sweep would do and cost: trials, disk, time, memory and problems.

    Bytes, seconds and hours say so in their names; null is what is not known, and `unknown` says
    why of disk and memory.
    """
    unknown = {
        name: str(part)
        for name, part in (("disk", found.disk), ("memory", found.memory))
        if isinstance(part, UserError)
    }
    return {
        "rows": dict(found.num_rows),
        "num_steps": found.plan.num_steps,
        "rungs": list(found.plan.rungs),
        "arms": [asdict(arm) for arm in found.plan.arms],
        "num_finalists_per_arm": found.plan.num_finalists,
        "finalist_steps": found.plan.finalist_steps,
        "evaluation_fraction": found.evaluations.share,
        "slots": found.slots,
        "disk": _disk_values(found.disk, found.free_bytes),
        "time": _time_values(found),
        "memory": _memory_values(found.memory),
        "unknown": unknown,
        "problems": [problem_values(problem) for problem in found.problems()],
    }


def _disk_values(need: DiskNeed | UserError, free: float) -> dict[str, Any] | None:
    if isinstance(need, UserError):
        return None
    return {
        "num_checkpoints": need.num_checkpoints,
        "checkpoint_bytes": need.checkpoint,
        "model_bytes": need.models,
        "total_bytes": need.total,
        "free_bytes": free,
    }


def _time_values(found: Forecast) -> dict[str, Any] | None:
    cost, speed = found.estimate, found.speed
    if cost is None or speed is None:
        return None
    return {
        **cost.amounts(),
        "first_result_seconds": found.first_result_seconds,
        "step_seconds": {arm.name: speed.of(arm.name) for arm in found.plan.arms},
        "source": speed.source,
    }


def _memory_values(memory: MemoryForecast | UserError) -> dict[str, Any] | None:
    from neft_ray.memory.fit import fits

    if isinstance(memory, UserError):
        return None
    return {
        "micro_batch_rows": memory.shape.rows,
        "micro_batch_tokens_per_row": memory.shape.tokens,
        "device": memory.room.what,
        "device_bytes": memory.room.size,
        "trials_per_gpu": memory.trials_per_gpu,
        "strategies": [
            {
                "name": name,
                "held_bytes": asdict(prediction.held),
                "host_bytes": prediction.host,
                "peak_bytes": prediction.device,
                "fits": fits(prediction, memory.room),
            }
            for name, prediction in memory.rows
        ],
    }


def checked_values(checked: Checked) -> dict[str, Any]:
    """Return what was looked at of a cluster: `what`, `state`, `told`, `problems`.

    `state` is fine, bad, or unknown where nothing can be said yet.
    """
    state = "fine" if checked.is_fine else "unknown"
    return {
        "what": checked.what,
        "state": "bad" if checked.problems else state,
        "told": checked.told,
        "problems": [problem_values(problem) for problem in checked.problems],
    }


def garbage_values(item: Garbage) -> dict[str, Any]:
    """Return something to delete: `what`, `path`, `num_bytes`, and whose it is, `run`, or null."""
    return {
        "what": item.what,
        "path": str(item.path),
        "num_bytes": item.num_bytes,
        "run": item.run.name if item.run else None,
    }


def problem_values(problem: Problem) -> dict[str, str]:
    """Return a problem: `where`, `what`, `remedy`."""
    return {"where": problem.where, "what": problem.what, "remedy": problem.remedy}


def _last_loss(record: TrialRecord) -> float | None:
    loss = record.reports[-1].metrics["select_loss"] if record.reports else math.nan
    return loss if math.isfinite(loss) else None
