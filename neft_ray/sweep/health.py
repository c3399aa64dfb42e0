"""Whether a trial is stopped for its own sake, before it is compared with others."""

from __future__ import annotations

from neft_ray.config.sweep import HealthConfig
from neft_ray.journal import DIVERGED, STOPPED, TrialRecord


def given_up(record: TrialRecord, max_failures: int, reason: str) -> str:
    """Return why a trial whose workers died once more is given up; empty where it goes on.

    Args:
        record: The trial, without this crash.
        max_failures: How often its workers may die.
        reason: Of this crash.
    """
    if record.num_crashes < max_failures:
        return ""
    return f"its workers died {record.num_crashes + 1} times, at last: {reason}"


def ailment(config: HealthConfig, record: TrialRecord, loss: float) -> tuple[str, str] | None:
    """Return status and reason of a trial that is to stop at a report; None for a sound one.

    Args:
        config: The `sweep.health` section.
        record: The trial, without the report.
        loss: The report's select loss, in nats per supervised token; finite.
    """
    best = record.best
    if best is None:
        return None
    rise = loss - best.metrics["select_loss"]
    if config.spike_nats is not None and rise > config.spike_nats:
        return DIVERGED, f"spiked: its select loss rose {rise:.3g} nats above its lowest"
    if config.patience_evaluations is None or rise < 0:
        return None
    since = len(record.reports) - record.reports.index(best)
    if since < config.patience_evaluations:
        return None
    return STOPPED, f"stalled: no lower select loss in {since} evaluations"
