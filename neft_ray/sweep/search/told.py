"""What Optuna's models are told of an arm's trials, and of how many: the best and the latest."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import is_
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from neft_ray.journal import COMPLETED, DIVERGED, PAUSED, RUNNING, STOPPED, Report, TrialRecord

Place = Callable[[Report], float]
"""How far a report's trial had come, in the unit of rungs."""

FAIL, OPEN = TrialState.FAIL, TrialState.RUNNING  # a member is looked up slowly
_STATES = {
    RUNNING: OPEN,
    PAUSED: OPEN,
    COMPLETED: TrialState.COMPLETE,
    STOPPED: TrialState.PRUNED,
    DIVERGED: TrialState.PRUNED,
}


@dataclass(frozen=True)
class Told:
    """One trial as the models see it.

    Attributes:
        num_reports: How many reports it had.
        status: Which it had.
        params: Its values as Optuna's.
        distributions: Where they come from.
        losses: Its finite select losses by place.
        state: A diverged trial counts as pruned before its first report, the worst there is;
            failed and cancelled ones say nothing of their values.
        value: Its objective, if it is complete.
        rank: Best first, as Optuna's Parzen estimator sorts finished trials.
        last_place: How far it had come.
    """

    num_reports: int
    status: str
    params: Mapping[str, Any]
    distributions: Mapping[str, BaseDistribution]
    losses: Mapping[float, float]
    state: TrialState
    value: float | None
    rank: tuple[float, ...]
    last_place: float

    def is_of(self, record: TrialRecord) -> bool:
        """Tell whether a trial is still as it was told."""
        return (self.status, self.num_reports) == (record.status, len(record.reports))

    def frozen(
        self, number: int, state: TrialState, value: float | None, whole: bool = True
    ) -> FrozenTrial:
        """Return it as a trial of Optuna's.

        Args:
            number: Among the trials told.
            state: Told.
            value: Told.
            whole: With its intermediate values.
        """
        kept = whole and self.status != DIVERGED
        return FrozenTrial(
            number=number,
            trial_id=-number,
            state=state,
            value=value,
            params=dict(self.params),
            distributions=dict(self.distributions),
            user_attrs={},
            system_attrs={},
            intermediate_values={int(place): self.losses[place] for place in self.losses if kept},
            datetime_start=None,
            datetime_complete=None,
        )


class Memory:
    """An arm's trials as told, brought up to date by what has changed.

    What it returns is a function of the records alone, whatever it was given before.
    """

    def __init__(
        self,
        encode: Callable[[Mapping[str, Any]], tuple[Any, Any] | None],
        place: Place,
        at: str,
    ) -> None:
        """Remember nothing yet.

        Args:
            encode: Gives a trial's params and distributions; None where the space, narrower than
                it was, no longer holds its values.
            place: How far a report's trial had come.
            at: `best` or `end`: the objective.
        """
        self._encode, self._place, self._at = encode, place, at
        self._records: list[TrialRecord] = []
        self._known: list[Told] = []
        self._open: list[int] = []

    def update(self, records: Sequence[TrialRecord]) -> list[Told]:
        """Return all trials in order, without those that say nothing of their values."""
        if len(records) < len(self._records) or not all(map(is_, self._records, records)):
            self._records, self._known, self._open = [], [], []
        for index in self._open:
            if not self._known[index].is_of(records[index]):
                self._known[index] = self._told(records[index])
        for record in records[len(self._records) :]:
            self._open.append(len(self._known))
            self._known.append(self._told(record))
        self._open = [i for i in self._open if self._known[i].status in (RUNNING, PAUSED)]
        self._records = list(records)
        return [told for told in self._known if told.state is not FAIL]

    def _told(self, record: TrialRecord) -> Told:
        state = _STATES.get(record.status, FAIL)
        losses = {
            self._place(r): r.metrics["select_loss"]
            for r in record.reports
            if math.isfinite(r.metrics["select_loss"])
        }
        value = record.objective(self._at) if state is TrialState.COMPLETE else None
        if value is not None and not math.isfinite(value):
            state, value = FAIL, None
        last = next(reversed(losses), 0.0)
        if value is not None:
            rank: tuple[float, ...] = (0, value)
        elif state is TrialState.PRUNED and record.status != DIVERGED and losses:
            rank = (1, -last, losses[last])
        else:
            rank = (2,)
        num_reports = len(record.reports)
        if (encoded := self._encode(record.values)) is None:
            return Told(num_reports, record.status, {}, {}, {}, FAIL, None, (2,), last)
        params, distributions = encoded
        return Told(
            num_reports, record.status, params, distributions, losses, state, value, rank, last
        )


def best_and_latest(
    told: Iterable[Told], rank: Callable[[Told], Any], num_best: int, num_latest: int
) -> list[Told]:
    """Return at most so many trials in their order: the best, and of the others the latest.

    A model's cost grows with the trials it sees; this bounds it. The Parzen estimator weighs older
    trials less anyway.
    """
    trials = list(told)
    if len(trials) <= num_best + num_latest:
        return trials
    order = sorted(range(len(trials)), key=lambda index: rank(trials[index]))
    best = set(order[:num_best])
    others = [index for index in range(len(trials)) if index not in best]
    return [trials[index] for index in sorted([*best, *others[-num_latest:]])]
