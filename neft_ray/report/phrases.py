"""How the report writes things: losses, values, configurations, arms, budgets, intervals."""

from __future__ import annotations

import math
from typing import Any

from neft_ray.config.trial import ChangeConfig
from neft_ray.report.arms import Arm
from neft_ray.report.lift import Difference
from neft_ray.report.trials import ALPHA, LEARNING_RATE, Trial
from neft_ray.run_directory import trial_name


def arm_title(arm: Arm) -> str:
    """Return an arm's name with what it fixes, such as `control arm (α = 0)`."""
    fixed = ", ".join(f"{short_key(key)} = {value_text(value)}" for key, value in arm.fixed.items())
    return f"{arm.name} arm ({fixed})" if fixed else f"{arm.name} arm"


def configuration_text(trial: Trial) -> str:
    """Return α, learning rate and the other searched values of a trial, and their changes."""
    others = {k: trial.values[k] for k in trial.own_keys if k not in (ALPHA, LEARNING_RATE)}
    values = {ALPHA: trial.alpha, LEARNING_RATE: trial.learning_rate, **others}
    text = ", ".join(f"{short_key(key)} {value_text(value)}" for key, value in values.items())
    return "; ".join([text, *map(change_text, trial.changes)])


def remarks_text(trial: Trial) -> str:
    """Return what else there is to say of a trial: problems, where it began, what changed."""
    record = trial.record
    parts = [trial.problem]
    if record.parent is not None:
        parts.append(f"goes on from {trial_name(record.parent)} at step {record.parent_step}")
    if record.reason and record.reason not in trial.problem:
        parts.append(record.reason)
    return "; ".join(filter(None, [*parts, *map(change_text, trial.changes)]))


def change_text(change: ChangeConfig) -> str:
    """Return what holds in a trial from a step on, such as `after step 40: α 12`."""
    values = {ALPHA: change.alpha, LEARNING_RATE: change.learning_rate}
    parts = [f"{short_key(k)} {value_text(v)}" for k, v in values.items() if v is not None]
    return f"after step {change.after_step}: {', '.join(parts)}"


def budget_text(arm: Arm) -> str:
    """Return what an arm's search spent and spared."""
    text = f"{len(arm.trials)} of {arm.num_planned} trials"
    if (num_more := len(arm.trials) - arm.num_planned) > 0:
        text = f"{arm.num_planned} trials and {num_more} more to spend as much as the others"
    elif len(arm.trials) == arm.num_points:
        text += ", every point of its space"
    text += f", {arm.steps:,} of {arm.full_steps:,} optimizer steps spent"
    if arm.saved_steps:
        share = arm.saved_steps / arm.full_steps
        text += (
            f", {count(len(arm.cut), 'trial')} cut, {arm.saved_steps:,} steps saved ({share:.0%})"
        )
    return text


def best_text(arm: Arm) -> str:
    """Return the best configuration of an arm's search with its loss."""
    best, report = arm.best, arm.best_report
    if best is None or report is None:
        return "no trial has a finite select loss"
    return (
        f"best is {configuration_text(best)} with select loss "
        f"{loss_text(report.metrics['select_loss'])} at step {report.step} of "
        f"{best.record.num_steps} ({best.name})"
    )


def loss_text(loss: float) -> str:
    """Return a loss in nats with three decimals, a dash where there is none."""
    return fixed_text(loss, 3)


def fixed_text(value: float, decimals: int) -> str:
    """Return a number with so many decimals, a dash where there is none."""
    if not math.isfinite(value):
        return "–"
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")


def value_text(value: Any) -> str:
    """Return a hyper-parameter with three significant digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def interval_text(difference: Difference) -> str:
    """Return the 95 % interval, seeds and rows of a difference."""
    size = f"{count(len(difference.seeds), 'seed')}, {count(difference.num_rows, 'row')}"
    if difference.interval is None:
        return f"no interval from so little: {size}"
    return f"95 % interval {bounds_text(difference)}, {size}"


def bounds_text(difference: Difference) -> str:
    """Return both ends of the 95 % interval of a difference."""
    if difference.interval is None:
        return "no interval from so little"
    return " to ".join(map(loss_text, difference.interval))


def sentence(text: str) -> str:
    """Return a text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def short_key(key: str) -> str:
    """Return what a setting is called in a sentence or table."""
    return {ALPHA: "α", LEARNING_RATE: "learning rate"}.get(key, key)


def count(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where it is one."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
