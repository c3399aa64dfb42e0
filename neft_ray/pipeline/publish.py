"""The best model of a run: exported once per best trial, and registered in MLflow."""

from __future__ import annotations

import json
import shutil
from typing import Any

from neft_ray.config.trial import TrialConfig
from neft_ray.export import export_trial
from neft_ray.journal import Report, TrialRecord
from neft_ray.pipeline.session import Session
from neft_ray.report import Results, summary_lines
from neft_ray.run_directory import RunDirectory, trial_name
from neft_ray.tracking.cards import read_card
from neft_ray.tracking.champion import Candidate, Registered, register
from neft_ray.tracking.mirrored import Mirrored

ORIGIN_FILE = "neft_ray.json"
"""Inside the exported model: which trial it is, at which step."""


def export_best(run: RunDirectory, best: TrialRecord, config: TrialConfig, summary: str) -> None:
    """Export the best trial as `best_model`, unless it is that trial already.

    A sweep that went on may have found a better one; the model of before is then replaced, and
    stays where it is until the new one is complete.

    Raises:
        UserError: If no checkpoint is left, or the disk is full.
    """
    identity = {"run": run.name, "trial": trial_name(best.number), "hash": config.config_hash}
    if (_origin(run) or {}).items() >= identity.items():
        return
    fresh, old = run.root / ".best_model.new", run.root / ".best_model.old"
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    step = export_trial(run, best, config, fresh, summary)
    (fresh / ORIGIN_FILE).write_text(json.dumps(identity | {"step": step}, indent=2))
    if run.best_model.exists():
        run.best_model.rename(old)
    fresh.rename(run.best_model)
    shutil.rmtree(old, ignore_errors=True)


def register_best(
    session: Session, run: RunDirectory, best: TrialRecord, results: Results
) -> Registered:
    """Register the best model in MLflow: once per best trial, however often a run is concluded.

    Raises:
        UserError: If MLflow is away or refuses.
    """
    trial_run, card = Mirrored.of(run.trial(best.number)), read_card(run.trial(best.number))
    assert trial_run is not None and card is not None
    config, report = run.trial_config(best.number), published_report(run, best)
    assert report is not None
    tags = {"neft_ray.run": run.name, "neft_ray.trial": trial_name(best.number)}
    tags |= {f"neft_ray.{name}": f"{value:.6g}" for name, value in _lifts(results).items()}
    candidate = Candidate(
        folder=run.best_model,
        name=session.config.name,
        run_id=trial_run.run_id,
        key=card.key,
        select_loss=report.metrics["select_loss"],
        data_hash=session.dataset(config).digest,
        description=_description(best, report, config, results),
        tags=tags,
    )
    made = register(session.store, candidate)
    entry = {"trial": trial_name(best.number), "version": made.version, "alias": made.alias}
    run.write_manifest(run.manifest | {"registered": {"model": candidate.name, **entry}})
    return made


def _description(best: TrialRecord, report: Report, config: TrialConfig, results: Results) -> str:
    words = (
        f"{trial_name(best.number)} of {results.name}, α {config.noise.alpha:g}, learning rate "
        f"{config.optimizer.learning_rate:.3g}: select loss "
        f"{report.metrics['select_loss']:.4f} at step {report.step}"
    )
    return "\n\n".join([words, *summary_lines(results)])


def _lifts(results: Results) -> dict[str, float]:
    return {key: value for key, value in results.headline_metrics.items() if "lift" in key}


def published_trial(run: RunDirectory) -> str | None:
    """Return the trial that a run's `best_model` is of, such as t007; None before there is one."""
    origin = _origin(run)
    return origin["trial"] if origin else None


def published_report(run: RunDirectory, record: TrialRecord) -> Report | None:
    """Return the evaluation of the step that a run's `best_model` is of.

    Args:
        run: With a `best_model`.
        record: Its trial.

    Returns:
        That of the best step where none is noted; None where the trial has no finite loss.
    """
    step = (_origin(run) or {}).get("step")
    return next((report for report in record.reports if report.step == step), record.best)


def _origin(run: RunDirectory) -> dict[str, Any] | None:
    path = run.best_model / ORIGIN_FILE
    return json.loads(path.read_text()) if path.exists() else None
