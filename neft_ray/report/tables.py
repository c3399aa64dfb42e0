"""The results as tables: trials, their evaluations, the lift and what is measured beside it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from neft_ray.report.beside import MeasureDifference
from neft_ray.report.lift import Difference
from neft_ray.report.phrases import remarks_text
from neft_ray.report.results import Comparison
from neft_ray.report.trials import Trial

AT = ("at_end", "at_best", "against_early_stopping")
"""What of a `Lift` is compared."""


def trial_row(trial: Trial) -> dict[str, Any]:
    """Return what `results.json` and `trials.csv` say of a trial.

    Keys: `trial` its id; `arm`; `phase` search or finalist; `alpha`; `learning_rate`; `seed`;
    `steps` optimizer steps done; `num_steps` of the whole trial; `status` completed, stopped,
    diverged, failed, cancelled, running, paused or interrupted; `best_select_loss` in nats per
    supervised token and `best_step`; `end_select_loss` at the last evaluation;
    `report_loss_at_best` and `report_loss_at_end`, of finalists; `num_crashes`; `problem` in words;
    `remarks`: the problem, why it ended, where it began and what changed on the way; `seconds` from
    start to end, interruptions included. None where there is nothing.
    """
    record, best = trial.record, trial.record.best
    last = record.reports[-1] if record.reports else None
    return {
        "trial": trial.name,
        "arm": record.arm,
        "phase": record.phase,
        "alpha": trial.alpha,
        "learning_rate": trial.learning_rate,
        "seed": record.seed,
        "steps": trial.steps,
        "num_steps": record.num_steps,
        "status": trial.status,
        "best_select_loss": best.metrics["select_loss"] if best else None,
        "best_step": best.step if best else None,
        "end_select_loss": last.metrics["select_loss"] if last else None,
        "report_loss_at_best": best.metrics.get("report_loss") if best else None,
        "report_loss_at_end": last.metrics.get("report_loss") if last else None,
        "num_crashes": record.num_crashes,
        "problem": trial.problem,
        "remarks": remarks_text(trial),
        "seconds": round(record.ended - record.started, 3) if record.ended else None,
    }


def trial_rows(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Return every trial: `trial_row`, then every searched value under its dotted key."""
    return [trial_row(trial) | dict(trial.values) for trial in trials]


def trials_csv(trials: Sequence[Trial]) -> str:
    """Return one line per trial, see `trial_rows`."""
    return csv_of(trial_rows(trials))


def evaluations_csv(trials: Sequence[Trial]) -> str:
    """Return one line per evaluation, see `evaluation_rows`."""
    return csv_of(evaluation_rows(trials))


def evaluation_rows(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Return every evaluation: which trial, which step, the decision, and all metrics."""
    rows = []
    for trial in trials:
        whole = trial_row(trial)
        own = {
            key: whole[key] for key in ("trial", "arm", "phase", "alpha", "learning_rate", "seed")
        }
        for report in trial.record.reports:
            rows.append({**own, "step": report.step, **report.metrics, "decision": report.decision})
    return rows


def lift_csv(comparisons: Sequence[Comparison]) -> str:
    """Return one line per comparison of finalists, see `lift_rows`."""
    return csv_of(lift_rows(comparisons))


def lift_rows(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Return two arms' finalists compared: which arms, `at` which steps, losses and interval."""
    measured = [
        (comparison, at, getattr(comparison.lift, at))
        for comparison in comparisons
        if comparison.lift
        for at in AT
    ]
    return [
        _arms_of(comparison) | {"at": at} | _flat_difference(difference)
        for comparison, at, difference in measured
        if difference is not None
    ]


def measures_csv(comparisons: Sequence[Comparison]) -> str:
    """Return one line per comparison and measure at the finalists' end, unknown ones included."""
    return csv_of(measure_rows(comparisons))


def measure_rows(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Return every measure of every comparison: which arms, then `measure_row`."""
    return [_arms_of(c) | measure_row(it) for c in comparisons for it in c.beside]


def measure_row(found: MeasureDifference) -> dict[str, Any]:
    """Return what is said of a measure in two arms; None where it is unknown.

    Keys: `measure`; `unit`; `first` and `second`, means over seeds; `difference`; `low` and `high`
    of its 95 % interval; `num_seeds`; `says` higher, lower, no evidence or unknown.
    """
    low, high = (found.interval if found.is_known else None) or (None, None)
    return {
        "measure": found.measure.name,
        "unit": found.measure.unit,
        "first": found.treatment if found.is_known else None,
        "second": found.control if found.is_known else None,
        "difference": found.difference if found.is_known else None,
        "low": low,
        "high": high,
        "num_seeds": len(found.seeds),
        "says": found.verdict,
    }


def _arms_of(comparison: Comparison) -> dict[str, Any]:
    return {"first_arm": comparison.ours.name, "second_arm": comparison.theirs.name}


def _flat_difference(difference: Difference) -> dict[str, Any]:
    low, high = difference.interval or (None, None)
    return {
        "first_loss": difference.treatment_loss,
        "second_loss": difference.control_loss,
        "difference": difference.difference,
        "low": low,
        "high": high,
        "verdict": difference.verdict,
        "num_seeds": len(difference.seeds),
        "num_rows": difference.num_rows,
        "num_first_diverged": difference.num_treatment_diverged,
        "num_second_diverged": difference.num_control_diverged,
    }


def csv_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV, with a column for every key that any of them has."""
    columns = dict.fromkeys(key for row in rows for key in row)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
