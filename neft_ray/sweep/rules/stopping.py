"""Rules that stop trials at once: Ray Tune's schedulers, fed one report at a time."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any

from ray.tune.schedulers import ASHAScheduler, MedianStoppingRule, TrialScheduler

from neft_ray.config.schedulers import Asha, MedianStopping
from neft_ray.journal import CONTINUE, STOP, TrialRecord
from neft_ray.sweep.rules.base import Never


@dataclass(frozen=True)
class _Stub:
    """What Ray's schedulers look at in a trial."""

    trial_id: int


class RayRule(Never):
    """One of Ray Tune's schedulers. Replaying the reports rebuilds its rungs."""

    def __init__(self, scheduler: TrialScheduler) -> None:
        self._scheduler = scheduler
        self._known: dict[int, _Stub] = {}

    def added(self, record: TrialRecord) -> None:
        """See `Rule`."""
        self._known[record.number] = _Stub(record.number)
        self._scheduler.on_trial_add(None, self._known[record.number])

    def reported(self, record: TrialRecord, place: int, loss: float) -> str:
        """See `Rule`."""
        result = {"place": place, "select_loss": loss}
        decision = self._scheduler.on_trial_result(None, self._known[record.number], result)
        return STOP if decision == TrialScheduler.STOP else CONTINUE


COMMON: dict[str, Any] = {"time_attr": "place", "metric": "select_loss", "mode": "min"}


def asha(config: Asha, length: int) -> RayRule:
    """Return the stopping variant of successive halving."""
    return RayRule(
        ASHAScheduler(
            max_t=length + 1,
            stop_last_trials=False,  # a trial ends by itself at its last step, wherever that is
            grace_period=config.grace,
            reduction_factor=config.eta,
            **COMMON,
        )
    )


def median(config: MedianStopping) -> RayRule:
    """Return the median stopping rule."""
    return RayRule(
        MedianStoppingRule(
            grace_period=config.grace,
            min_samples_required=config.min_trials,
            min_time_slice=inf,  # never pause: a slot runs its trial to a decision
            **COMMON,
        )
    )
