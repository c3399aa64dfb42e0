"""The models: what each of Optuna's samplers sees of an arm's trials, and how it is set."""

from __future__ import annotations

import heapq
import math
import warnings
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from neft_ray.config.searchers import BohbSearch
from neft_ray.journal import DIVERGED, RUNNING
from neft_ray.sweep.search.told import OPEN, Told, best_and_latest

TPE_TRIALS = (30, 90)
"""The Parzen estimator sees so many of the best trials, and so many of the latest others."""
GP_TRIALS = (25, 75)
"""The same for the Gaussian process, whose cost grows with their number's cube."""


class Model(Protocol):
    """A view on the history, and the sampler that learns from it."""

    fills_in: bool
    """Whether keys that were not drawn are told with the middle of their domain."""

    def view(self, number: int, told: Sequence[Told]) -> list[FrozenTrial] | None:
        """Return the trials that the n-th proposal learns from; None to draw it at random."""

    def sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        """Return a fresh sampler."""


class Parzen:
    """The tree-structured Parzen estimator over whole and pruned trials."""

    fills_in = False

    def __init__(self, num_startup_trials: int, conditional: bool) -> None:
        """Learn once enough trials have ended; `conditional` where a space has a `when`."""
        self._num_startup_trials, self._conditional = num_startup_trials, conditional

    def view(self, number: int, told: Sequence[Told]) -> list[FrozenTrial] | None:
        """See `Model`. Stopped trials are told as pruned at their last report."""
        if sum(it.state is not OPEN for it in told) < self._num_startup_trials:
            return None
        seen = best_and_latest(told, lambda it: it.rank, *TPE_TRIALS)
        return [it.frozen(n, it.state, it.value) for n, it in enumerate(seen, start=1)]

    def sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        """See `Model`."""
        return _parzen(seed, self._conditional)


class Gaussian:
    """A Gaussian process with expected improvement over completed trials.

    Diverged ones are told with the worst loss of the others: left out, they would be tried again.
    """

    fills_in = True

    def __init__(self, num_startup_trials: int) -> None:
        self._num_startup_trials = num_startup_trials

    def view(self, number: int, told: Sequence[Told]) -> list[FrozenTrial] | None:
        """See `Model`."""
        completed = [it.value for it in told if it.value is not None]
        if len(completed) < self._num_startup_trials:
            return None
        worst = max(completed)
        useful = [
            it for it in told if it.value is not None or it.state is OPEN or it.status == DIVERGED
        ]
        seen = best_and_latest(useful, lambda it: it.rank, *GP_TRIALS)
        found = []
        for n, it in enumerate(seen, start=1):
            value = worst if it.status == DIVERGED else it.value
            state = TrialState.RUNNING if value is None else TrialState.COMPLETE
            found.append(it.frozen(n, state, value, whole=False))
        return found

    def sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        """See `Model`."""
        return optuna.samplers.GPSampler(
            seed=seed,
            independent_sampler=optuna.samplers.RandomSampler(seed=seed),
            n_startup_trials=0,
            deterministic_objective=False,
        )


class Bohb:
    """The Parzen estimator over the losses at one rung: the furthest that enough trials reached."""

    fills_in = False

    def __init__(
        self, searcher: BohbSearch, arm_index: int, rungs: Sequence[int], conditional: bool
    ) -> None:
        """Learn rung by rung.

        Args:
            searcher: The section.
            arm_index: Arms draw at random for different trials.
            rungs: Where trials are compared; every evaluation if there are none.
            conditional: Whether the space has a `when`.
        """
        self._searcher, self._arm_index = searcher, arm_index
        self._rungs, self._conditional = rungs, conditional

    def view(self, number: int, told: Sequence[Told]) -> list[FrozenTrial] | None:
        """See `Model`. Trials that have not come to the rung are left out unless they run.

        Diverged ones count as the worst that came there, however well they began.
        """
        key = (self._searcher.seed, self._arm_index, number, 1)
        if np.random.default_rng(key).random() < self._searcher.random_fraction:
            return None
        rung = self._furthest(told)
        if rung is None:
            return None
        values = {id(it): _loss_at(it, rung) for it in told}
        worst = max(loss for loss in values.values() if loss is not None)
        values |= {id(it): worst for it in told if it.status == DIVERGED}
        seen = [it for it in told if values[id(it)] is not None or it.status == RUNNING]
        found = []
        num_best, num_latest = TPE_TRIALS
        best = best_and_latest(seen, lambda it: _or_inf(values[id(it)]), num_best, num_latest)
        for n, it in enumerate(best, start=1):
            value = values[id(it)]
            state = TrialState.RUNNING if value is None else TrialState.COMPLETE
            found.append(it.frozen(n, state, value, whole=False))
        return found

    def sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        """See `Model`."""
        return _parzen(seed, self._conditional)

    def _furthest(self, told: Sequence[Told]) -> float | None:
        """Return the furthest rung that enough trials have reached with a finite loss."""
        least = self._searcher.num_startup_trials
        places = heapq.nlargest(least, (it.last_place for it in told if it.losses))
        if len(places) < least:
            return None
        if not self._rungs:
            return places[-1]
        return max((rung for rung in self._rungs if rung <= places[-1]), default=None)


def _loss_at(told: Told, rung: float) -> float | None:
    """Return a trial's loss at the first report from a rung on; None if it has not come so far."""
    if told.last_place < rung:
        return None
    return next(loss for place, loss in told.losses.items() if place >= rung)


def _or_inf(value: float | None) -> float:
    return math.inf if value is None else value


def _parzen(seed: int, conditional: bool) -> optuna.samplers.BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=seed,
            n_startup_trials=1,  # the view decides when the model begins
            multivariate=True,
            group=conditional,
            constant_liar=True,
        )
