"""The results as tables and as JSON: `trials.csv`, `evaluations.csv`, `results.json`."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from neft_ray.report.lift import Difference
from neft_ray.report.results import Results
from neft_ray.report.trials import Arm, Trial
from neft_ray.report.words import headline, lift_sentences

FORMAT = 1
"""Of `results.json`: rises when a key changes its meaning or goes away."""


def trial_row(trial: Trial) -> dict[str, Any]:
    """Return what `results.json` and `trials.csv` say of a trial.

    Keys: `trial` its id; `arm`; `phase` search or finalist; `alpha`; `learning_rate`; `seed`;
    `steps` optimizer steps done; `num_steps` of the whole trial; `status` completed, stopped,
    diverged, failed, running or interrupted; `best_select_loss` in nats per supervised token and
    `best_step`; `end_select_loss` at the last evaluation; `report_loss_at_best` and
    `report_loss_at_end`, of finalists; `num_crashes`; `problem` in words; `seconds` from start
    to end, interruptions included. None where there is nothing.
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
        "seconds": round(record.ended - record.started, 3) if record.ended else None,
    }


def trials_csv(trials: Sequence[Trial]) -> str:
    """Return one line per trial: `trial_row`, then every searched value under its dotted key."""
    return _csv([trial_row(trial) | dict(trial.values) for trial in trials])


def evaluations_csv(trials: Sequence[Trial]) -> str:
    """Return one line per evaluation: which trial, which step, the decision, and all metrics."""
    rows = []
    for trial in trials:
        whole = trial_row(trial)
        own = {
            key: whole[key] for key in ("trial", "arm", "phase", "alpha", "learning_rate", "seed")
        }
        for report in trial.record.reports:
            rows.append({**own, "step": report.step, **report.metrics, "decision": report.decision})
    return _csv(rows)


def results_json(results: Results) -> str:
    """Return `results.json`. Losses are in nats per supervised token; not finite reads null.

    Keys: `format`; `run` its name; `finished`; `headline` and `sentences`, the lift in words;
    `objective` best or end; `best_trial` its id; `arms` by name, with `fixed` values, the search's
    `num_trials`, `num_planned`, `num_cut`, `steps` spent, `full_steps` had none been cut,
    `saved_steps`, and `best_trial`; `lift`, null if not measured; `no_lift_reason`; `rungs` in
    steps; `trials`, see `trial_row`, with `values`, `crash_reasons` and `evaluations`; `seconds`
    from first to last event; `manifest`; `config` as resolved.

    The lift has `treatment_trials`, `control_trials`, `num_planned_seeds`, `left_out`, and the
    comparisons `at_best`, `at_end` and `against_early_stopping` (treatment at its end, control at
    its best step), each with `difference` treatment − control, `interval` of 95 %, `verdict`,
    both arms' losses, `seeds`, `seed_differences`, `num_rows` and the diverged runs.
    """
    lift = results.lift
    content = {
        "format": FORMAT,
        "run": results.name,
        "finished": results.is_finished,
        "headline": headline(results),
        "sentences": lift_sentences(lift) if lift else [],
        "objective": results.config.sweep.objective.at,
        "best_trial": results.best.name if results.best else None,
        "arms": {arm.name: _arm(arm) for arm in results.arms},
        "lift": lift and {
            "treatment_trials": [trial.name for trial in lift.treatment],
            "control_trials": [trial.name for trial in lift.control],
            "num_planned_seeds": lift.num_planned_seeds,
            "left_out": lift.left_out,
            "at_best": _difference(lift.at_best),
            "at_end": _difference(lift.at_end),
            "against_early_stopping": _difference(lift.against_early_stopping),
        },
        "no_lift_reason": results.no_lift_reason,
        "rungs": results.rungs,
        "trials": [_trial(trial) for trial in results.trials],
        "seconds": round(results.seconds, 3),
        "manifest": results.manifest,
        "config": results.config.model_dump(mode="json"),
    }  # fmt: skip
    text = json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False)
    return text + "\n"


def _trial(trial: Trial) -> dict[str, Any]:
    evaluations = [
        {"step": report.step, "decision": report.decision, "metrics": report.metrics}
        for report in trial.record.reports
    ]
    return trial_row(trial) | {
        "values": trial.values,
        "crash_reasons": trial.crash_reasons,
        "evaluations": evaluations,
    }


def _arm(arm: Arm) -> dict[str, Any]:
    return {
        "fixed": arm.fixed,
        "num_trials": len(arm.trials),
        "num_planned": arm.num_planned,
        "num_cut": len(arm.cut),
        "steps": arm.steps,
        "full_steps": arm.full_steps,
        "saved_steps": arm.saved_steps,
        "best_trial": arm.best.name if arm.best else None,
    }


def _difference(difference: Difference | None) -> dict[str, Any] | None:
    if difference is None:
        return None
    derived = {"difference": difference.difference, "verdict": difference.verdict}
    return derived | asdict(difference)


def _finite(value: Any) -> Any:
    """Replace numbers that JSON does not have by None, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = dict.fromkeys(key for row in rows for key in row)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
