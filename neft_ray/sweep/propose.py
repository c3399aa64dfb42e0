"""Proposers: the values of an arm's n-th trial, a pure function of what the arm has seen.

Optuna's samplers are seeded anew for every proposal from (seed, n), so there is no random state
to keep: after a crash the same history gives the same next proposal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState, create_trial

from neft_ray.config.searchers import GridSearch, OptunaSearch, RandomSearch
from neft_ray.config.space import (
    Choice,
    Domain,
    IntRange,
    LogUniform,
    Uniform,
    grid_points,
)
from neft_ray.config.sweep import SearchConfig
from neft_ray.journal import COMPLETED, RUNNING, STOPPED, TrialRecord

Values = dict[str, Any]


class Proposer(Protocol):
    """Proposes the values of trials, one after another."""

    num_trials: int
    can_go_on: bool
    """Whether there are proposals beyond `num_trials`."""

    def propose(self, history: Sequence[TrialRecord]) -> Values:
        """Return the values of the next trial, given all earlier ones of the arm in order."""


class Grid:
    """Every combination, the last key changing fastest."""

    can_go_on = False

    def __init__(self, points: Sequence[Values]) -> None:
        self._points = points
        self.num_trials = len(points)

    def propose(self, history: Sequence[TrialRecord]) -> Values:
        """See `Proposer`."""
        return dict(self._points[len(history)])


class Sampled:
    """Draws from Optuna's random or TPE sampler."""

    can_go_on = True

    def __init__(
        self,
        space: Mapping[str, Domain],
        searcher: RandomSearch | OptunaSearch,
        num_trials: int,
        arm_index: int,
        at: str,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.num_trials = num_trials
        self._choices = {k: d.choice for k, d in space.items() if isinstance(d, Choice)}
        self._distributions = {key: _distribution(domain) for key, domain in space.items()}
        self._searcher, self._arm_index, self._at = searcher, arm_index, at

    def propose(self, history: Sequence[TrialRecord]) -> Values:
        """See `Proposer`. Stopped trials are told as pruned at their last step."""
        if not self._distributions:
            return {}
        study = optuna.create_study(direction="minimize", sampler=self._sampler(len(history)))
        for record in history:
            study.add_trial(self._told(record))
        params = study.ask(self._distributions).params
        return {key: self._decode(key, value) for key, value in params.items()}

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        key = (self._searcher.seed, self._arm_index, number)
        seed = int(np.random.SeedSequence(key).generate_state(1)[0])
        if isinstance(self._searcher, RandomSearch):
            return optuna.samplers.RandomSampler(seed=seed)
        return optuna.samplers.TPESampler(
            seed=seed,
            n_startup_trials=self._searcher.num_startup_trials,
            multivariate=True,
            constant_liar=True,
        )

    def _told(self, record: TrialRecord) -> optuna.trial.FrozenTrial:
        state = {
            RUNNING: TrialState.RUNNING,
            COMPLETED: TrialState.COMPLETE,
            STOPPED: TrialState.PRUNED,
        }.get(record.status, TrialState.FAIL)
        value = record.objective(self._at) if state is TrialState.COMPLETE else None
        if value is not None and not math.isfinite(value):
            state, value = TrialState.FAIL, None
        steps = {
            r.step: r.metrics["select_loss"]
            for r in record.reports
            if math.isfinite(r.metrics["select_loss"])
        }
        return create_trial(
            state=state,
            value=value,
            params={key: self._encode(key, record.values[key]) for key in self._distributions},
            distributions=self._distributions,
            intermediate_values=steps,
        )

    def _encode(self, key: str, value: Any) -> Any:
        return self._choices[key].index(value) if key in self._choices else value

    def _decode(self, key: str, value: Any) -> Any:
        return self._choices[key][value] if key in self._choices else value


def build_proposer(config: SearchConfig, fixed: Mapping[str, Any], arm_index: int) -> Proposer:
    """Return an arm's proposer.

    Args:
        config: The `sweep` section.
        fixed: What the arm fixes; these keys leave the space.
        arm_index: Arms draw from different random streams.
    """
    space = {key: domain for key, domain in config.space.items() if key not in fixed}
    if isinstance(config.searcher, GridSearch):
        return Grid(grid_points(space))
    assert config.num_trials is not None  # config/checks.py
    assert isinstance(config.searcher, RandomSearch | OptunaSearch)
    return Sampled(space, config.searcher, config.num_trials, arm_index, config.objective.at)


def _distribution(domain: Domain) -> BaseDistribution:
    match domain:
        case Choice():
            # by index: Optuna compares choices with ==, under which True equals 1
            return CategoricalDistribution(range(len(domain.choice)))
        case Uniform():
            return FloatDistribution(*domain.uniform)
        case LogUniform():
            return FloatDistribution(*domain.loguniform, log=True)
        case IntRange():
            return IntDistribution(*domain.int_range)
