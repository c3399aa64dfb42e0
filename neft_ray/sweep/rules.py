"""Stopping rules: Ray Tune's schedulers, fed one report at a time, without a running experiment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any, Protocol

from ray.tune.schedulers import ASHAScheduler, MedianStoppingRule, TrialScheduler

from neft_ray.config.schedulers import Asha, MedianStopping, NoStopping, Scheduler


class Rule(Protocol):
    """Decides after every report of an arm's trials, in the order they arrive."""

    def stops(self, trial: int, step: int, loss: float) -> bool:
        """Record the report and say whether the trial ends here."""


class Never:
    """Stops nothing."""

    def stops(self, trial: int, step: int, loss: float) -> bool:
        """See `Rule`."""
        return False


@dataclass(frozen=True)
class _Stub:
    """What Ray's schedulers look at in a trial."""

    trial_id: int


class RayRule:
    """One of Ray Tune's schedulers. Replaying the reports rebuilds its rungs."""

    def __init__(self, scheduler: TrialScheduler) -> None:
        self._scheduler = scheduler
        self._known: dict[int, _Stub] = {}

    def stops(self, trial: int, step: int, loss: float) -> bool:
        """See `Rule`."""
        if trial not in self._known:
            self._known[trial] = _Stub(trial)
            self._scheduler.on_trial_add(None, self._known[trial])
        result = {"step": step, "select_loss": loss}
        decision = self._scheduler.on_trial_result(None, self._known[trial], result)
        return bool(decision == TrialScheduler.STOP)


COMMON: dict[str, Any] = {"time_attr": "step", "metric": "select_loss", "mode": "min"}


def _asha(config: Asha, num_steps: int) -> Rule:
    return RayRule(
        ASHAScheduler(
            max_t=num_steps + 1,  # a trial ends by itself at its last step
            grace_period=config.grace,
            reduction_factor=config.eta,
            **COMMON,
        )
    )


def _median(config: MedianStopping, num_steps: int) -> Rule:
    return RayRule(
        MedianStoppingRule(
            grace_period=config.grace,
            min_samples_required=config.min_trials,
            min_time_slice=inf,  # never pause: a slot runs its trial to a decision
            **COMMON,
        )
    )


RULES: dict[type, Callable[[Any, int], Rule]] = {
    NoStopping: lambda config, num_steps: Never(),
    Asha: _asha,
    MedianStopping: _median,
}


def build_rule(config: Scheduler, num_steps: int) -> Rule:
    """Return a fresh rule.

    Args:
        config: The `sweep.scheduler` section.
        num_steps: Optimizer steps of the longest trial.
    """
    return RULES[type(config)](config, num_steps)
