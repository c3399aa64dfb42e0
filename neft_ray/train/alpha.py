"""The α of every step by the configuration alone, and whether the noise measured agrees with it."""

from __future__ import annotations

from collections.abc import Mapping

from neft_ray.config.trial import NoiseConfig
from neft_ray.schedules import SCHEDULES, warmed_up

TOLERANCE = 0.01
"""Relative; beside it, five standard errors of the measured α are allowed."""


def alpha_factor(config: NoiseConfig, step: int, num_steps: int) -> float:
    """Return what the schedule multiplies α by in a step, counted from 1.

    Progress is 0 just before the first step and 1 just after the last, so no step has factor 0.
    """
    factor = warmed_up(SCHEDULES[config.schedule], config.warmup_fraction)
    return factor(step / (num_steps + 1))


def wrong_alpha(
    config: NoiseConfig, metrics: Mapping[str, float], step: int, num_steps: int
) -> str | None:
    """Say in what the noise of a step was not the configured one; None where it was.

    Args:
        config: What the trial was meant to have. The noise object is not asked: it may have been
            given another α, which is how transformers' search over α came to vary nothing.
        metrics: What the training loop yielded.
        step: Optimizer step, counted from 1.
        num_steps: Of the whole trial.
    """
    expected = config.alpha * alpha_factor(config, step, num_steps)
    measured = metrics.get("noise_alpha_measured", 0.0)
    error = metrics.get("noise_alpha_error", 0.0)
    if abs(measured - expected) <= TOLERANCE * expected + 5 * error:
        return None
    return (
        f"the noise measured at step {step} has α = {measured:.4g}, but noise.alpha: "
        f"{config.alpha:g} with schedule: {config.schedule} says {expected:.4g}; "
        "the trial shows nothing about its configuration"
    )
