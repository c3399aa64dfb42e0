"""The results as one JSON document: `results.json`, described by `docs/results.schema.json`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from neft_ray.report.arms import Arm
from neft_ray.report.finalists import Lift
from neft_ray.report.front import Candidate
from neft_ray.report.lift import Difference
from neft_ray.report.results import Comparison, Results, objectives_of
from neft_ray.report.surrogate import Surface
from neft_ray.report.tables import AT, measure_row, trial_row
from neft_ray.report.trials import Trial
from neft_ray.report.words import comparison_sentences, headline, lift_sentences

FORMAT = 1
"""Rises when a key changes its meaning or goes away."""


def results_json(results: Results) -> str:
    """Return `results.json`, as `docs/results.schema.json` describes it."""
    lift = results.lift
    content = {
        "format": FORMAT,
        "run": results.name,
        "finished": results.is_finished,
        "headline": headline(results),
        "sentences": [*(lift_sentences(lift) if lift else []), *comparison_sentences(results)],
        "objective": results.config.sweep.objective.at,
        "best_trial": results.best.name if results.best else None,
        "arms": {arm.name: _arm(arm) for arm in results.arms},
        "lift": _lift(lift),
        "no_lift_reason": results.no_lift_reason,
        "comparisons": [_comparison(comparison) for comparison in results.comparisons],
        "candidates": [_candidate(it, objectives_of(results.config)) for it in results.candidates],
        "importance": asdict(results.importance),
        "surface": _surface(results.surface),
        "no_surface_reason": results.no_surface_reason,
        "rungs": results.rungs,
        "trials": [_trial(trial) for trial in results.trials],
        "seconds": round(results.seconds, 3),
        "manifest": results.manifest,
        "config": results.config.model_dump(mode="json"),
    }
    text = json.dumps(finite(content), indent=2, ensure_ascii=False, allow_nan=False)
    return text + "\n"


def _lift(lift: Lift | None) -> dict[str, Any] | None:
    if lift is None:
        return None
    return {
        "treatment_trials": [trial.name for trial in lift.treatment],
        "control_trials": [trial.name for trial in lift.control],
        "num_planned_seeds": lift.num_planned_seeds,
        "left_out": lift.left_out,
        **{at: _difference(getattr(lift, at)) for at in AT},
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "first_arm": comparison.ours.name,
        "second_arm": comparison.theirs.name,
        "lift": _lift(comparison.lift),
        "no_lift_reason": comparison.no_lift_reason,
        "measures": [measure_row(found) for found in comparison.beside],
    }


def _candidate(candidate: Candidate, objectives: Mapping[str, str]) -> dict[str, Any]:
    return {
        "arm": candidate.arm,
        "values": candidate.trial.values,
        "num_seeds": candidate.num_seeds,
        "objectives": dict(zip(objectives, candidate.values, strict=True)),
        "is_on_front": candidate.is_on_front,
    }


def _surface(surface: Surface | None) -> dict[str, Any] | None:
    if surface is None:
        return None
    names = ("trial", "alpha", "learning_rate", "loss")
    return {
        "alphas": surface.alphas.tolist(),
        "learning_rates": surface.rates.tolist(),
        "mean": surface.mean_AR.tolist(),
        "standard_deviation": surface.std_AR.tolist(),
        "noise_standard_deviation": surface.noise_std,
        "prior_standard_deviation": surface.prior_std,
        "points": [dict(zip(names, point, strict=True)) for point in surface.points],
        "num_capped": surface.num_capped,
        "basis": surface.basis,
    }


def _trial(trial: Trial) -> dict[str, Any]:
    evaluations = [
        {"step": report.step, "decision": report.decision, "metrics": report.metrics}
        for report in trial.record.reports
    ]
    return trial_row(trial) | {
        "values": trial.values,
        "changes": [change.model_dump(mode="json") for change in trial.changes],
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


def finite(value: Any) -> Any:
    """Replace numbers that JSON does not have by None, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
