"""Proposers: the values of an arm's n-th trial, a pure function of what the arm has seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from neft_ray.config.arm_space import ArmSpace
from neft_ray.config.schedulers import Paced, Rungs
from neft_ray.config.searchers import BohbSearch, GridSearch, OptunaSearch, RandomSearch
from neft_ray.config.space import Values
from neft_ray.config.sweep import SweepConfig
from neft_ray.journal import Report, TrialRecord
from neft_ray.sweep.search.draws import Random, Scrambled
from neft_ray.sweep.search.plain import Drawn, Grid

if TYPE_CHECKING:  # they load Optuna
    from neft_ray.sweep.search.models import Model

__all__ = ["Proposer", "Values", "build_proposer"]


class Proposer(Protocol):
    """Proposes the values of trials, one after another."""

    num_trials: int
    """Planned."""

    def num_left(self, history: Sequence[TrialRecord]) -> int:
        """Return how many planned trials are still to come; below 0 after further ones."""

    def can_go_on(self, history: Sequence[TrialRecord]) -> bool:
        """Tell whether there is a point that was not run, planned or not."""

    def propose(self, history: Sequence[TrialRecord], priors: Sequence[TrialRecord] = ()) -> Values:
        """Return the values of the next trial.

        Args:
            history: All earlier trials of the arm, in order.
            priors: Trials of earlier runs that are known from the start.
        """


def build_proposer(config: SweepConfig, arm: str, length: int) -> Proposer:
    """Return an arm's proposer.

    Args:
        config: The sweep.
        arm: Its name. Arms draw from different random streams.
        length: How long the base trial is, in the unit of the scheduler's rungs.
    """
    search, searcher = config.sweep, config.sweep.searcher
    space, arm_index = ArmSpace.of(config, arm), list(config.sweep.arms).index(arm)
    if isinstance(searcher, GridSearch):
        return Grid(space)
    assert search.num_trials is not None  # config/checks.py
    first, size = space.first(config), len(space.domains)
    key = (searcher.seed, arm_index)
    if isinstance(searcher, OptunaSearch | BohbSearch):
        from neft_ray.sweep.search.modelled import Modelled

        told = (_tokens if _in_tokens(config) else _step, search.objective.at)
        model = _model(config, space, arm_index, length)
        return Modelled(space, model, key, search.num_trials, first, told)
    stream = Random(size, *key) if isinstance(searcher, RandomSearch) else Scrambled(size, *key)
    return Drawn(space, stream, search.num_trials, first)


def _model(config: SweepConfig, space: ArmSpace, arm_index: int, length: int) -> Model:
    from neft_ray.sweep.search.models import Bohb, Gaussian, Parzen

    searcher, scheduler = config.sweep.searcher, config.sweep.scheduler
    conditional = any(domain.when is not None for domain in space.domains.values())
    if isinstance(searcher, BohbSearch):
        rungs = scheduler.rungs(length) if isinstance(scheduler, Rungs) else []
        return Bohb(searcher, arm_index, rungs, conditional)
    assert isinstance(searcher, OptunaSearch)
    if searcher.sampler == "gp":
        return Gaussian(searcher.num_startup_trials)
    return Parzen(searcher.num_startup_trials, conditional)


def _in_tokens(config: SweepConfig) -> bool:
    scheduler = config.sweep.scheduler
    return isinstance(scheduler, Paced) and scheduler.unit == "tokens"


def _step(report: Report) -> float:
    return report.step


def _tokens(report: Report) -> float:
    return report.metrics["tokens_trained"]
