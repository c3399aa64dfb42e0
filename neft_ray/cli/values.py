"""What `--json` prints of runs, trials and problems: plain values under keys that stay."""

from __future__ import annotations

import json
import math
from typing import Any

import typer

from neft_ray.errors import Problem
from neft_ray.journal import RUNNING, TrialRecord, read_records
from neft_ray.run_directory import RunDirectory, trial_name


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
        "num_ended": sum(record.status != RUNNING for record in records),
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


def problem_values(problem: Problem) -> dict[str, str]:
    """Return a problem: `where`, `what`, `remedy`."""
    return {"where": problem.where, "what": problem.what, "remedy": problem.remedy}


def _last_loss(record: TrialRecord) -> float | None:
    loss = record.reports[-1].metrics["select_loss"] if record.reports else math.nan
    return loss if math.isfinite(loss) else None
