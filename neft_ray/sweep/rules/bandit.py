"""Population-based bandits (Parker-Holder et al., arXiv 2002.02518): explore by a model."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from neft_ray.config.space import Choice, Domain, LogUniform
from neft_ray.sweep.rules.base import Allows, Values

Floats = NDArray[np.float64]
NUM_CANDIDATES = 512
MAX_OBSERVATIONS = 256
"""The most recent ones: what was good early on says little later."""


class Bandit:
    """Models how much an interval lowers the loss, given when it was and with which values.

    Time is one more dimension of the model, with a length scale of its own, so that old
    observations fade. The values with the highest upper confidence bound are tried next; those
    chosen for the same generation count as observed at their mean, so that they spread.
    """

    def __init__(self, space: Mapping[str, Domain], num_generations: int) -> None:
        """Begin without observations.

        Args:
            space: The live keys that are searched.
            num_generations: Of the whole sweep.
        """
        self._space, self._num_generations = space, max(1, num_generations)
        self._seen: list[tuple[int, list[float], float]] = []
        self._chosen: list[tuple[int, list[float]]] = []

    def observed(self, generation: int, values: Values, before: float, after: float) -> None:
        """See `Explorer`."""
        self._seen.append((generation, self._unit(values), before - after))

    def explore(
        self, generation: int, values: Values, random: np.random.Generator, allows: Allows
    ) -> Values:
        """See `Explorer`. Before anything is observed, values are drawn from the space."""
        drawn = random.random((NUM_CANDIDATES, len(self._space)))
        drawn[0] = self._unit(values)
        candidates = np.array([it for it in drawn if allows(self._values(it))])
        best = candidates[min(1, len(candidates) - 1)]
        if self._seen:
            self._chosen = [entry for entry in self._chosen if entry[0] == generation]
            best = candidates[int(np.argmax(self._bound(generation, candidates)))]
            self._chosen.append((generation, best.tolist()))
        return self._values(best)

    def _bound(self, generation: int, candidates: Floats) -> Floats:
        """Return the upper confidence bound of the improvement at every candidate."""
        seen = self._seen[-MAX_OBSERVATIONS:]
        places = np.array([[g / self._num_generations, *where] for g, where, _ in seen])
        gains = np.array([gain for *_, gain in seen])
        gains = (gains - gains.mean()) / (gains.std() or 1.0)
        kernel = ConstantKernel() * RBF(np.ones(places.shape[1]), (0.05, 20)) + WhiteKernel(0.1)
        model = GaussianProcessRegressor(kernel, random_state=0)
        asked = np.column_stack(
            [np.full(len(candidates), (generation + 1) / self._num_generations), candidates]
        )
        with warnings.catch_warnings():  # a length scale at its bound is an answer
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(places, gains)
        if self._chosen:
            time = (generation + 1) / self._num_generations
            pending = np.array([[time, *where] for _, where in self._chosen])
            fixed = GaussianProcessRegressor(model.kernel_, optimizer=None)
            means = model.predict(pending)
            model = fixed.fit(np.vstack([places, pending]), np.append(gains, means))
        mean, deviation = model.predict(asked, return_std=True)
        width = math.sqrt(0.2 + math.log(1 + 0.4 * generation))  # the paper's c₁ and c₂
        bound: Floats = mean + width * deviation
        return bound

    def _values(self, places: Floats) -> Values:
        pairs = zip(self._space.items(), places.tolist(), strict=True)
        return {key: _value(domain, place) for (key, domain), place in pairs}

    def _unit(self, values: Values) -> list[float]:
        return [_place(domain, values[key]) for key, domain in self._space.items()]


def _numbers(domain: Choice) -> list[float]:
    return sorted(float(choice) for choice in domain.choice)  # type: ignore[arg-type]


def _place(domain: Domain, value: float) -> float:
    """Return where a value lies in its domain, in [0, 1]."""
    if isinstance(domain, Choice):
        numbers = _numbers(domain)
        here = int(np.argmin([abs(number - value) for number in numbers]))
        return here / max(1, len(numbers) - 1)
    low, high = domain.corners
    if isinstance(domain, LogUniform):
        return math.log(value / low) / math.log(high / low)
    return float((value - low) / (high - low))


def _value(domain: Domain, place: float) -> float:
    """Return the value at a place in [0, 1] of a domain."""
    if isinstance(domain, Choice):
        numbers = _numbers(domain)
        return numbers[round(place * (len(numbers) - 1))]
    low, high = domain.corners
    if isinstance(domain, LogUniform):
        return float(min(max(low * (high / low) ** place, low), high))
    return float(low + (high - low) * place)
