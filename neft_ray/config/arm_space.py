"""The space of one arm: what it draws, what it fixes, when a key is drawn, and the constraints."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from neft_ray.config.constraints import Constraint
from neft_ray.config.searchers import GridSearch
from neft_ray.config.space import Choice, Domain, Values, conditions, is_drawn, points, same
from neft_ray.config.sweep import SweepConfig

MAX_GRID_POINTS = 20_000
NUM_DRAWS, MIN_ALLOWED = 3000, 3
"""So many of so many draws must keep the constraints."""
PAPER_ALPHAS, PAPER_LEARNING_RATE = (5.0, 10.0, 15.0), 5e-5


@dataclass(frozen=True)
class ArmSpace:
    """Where one arm's values come from.

    Attributes:
        domains: What is drawn, in order.
        given: Values of what is not drawn: the arm's own, else the base trial's.
        fixed: The arm's own among them.
        constraints: What proposals keep.
    """

    domains: Mapping[str, Domain]
    given: Mapping[str, Any]
    fixed: Mapping[str, Any]
    constraints: tuple[Constraint, ...] = ()

    @classmethod
    def of(cls, config: SweepConfig, arm: str) -> ArmSpace:
        """Return the space of an arm of a sweep that was checked."""
        search, fixed = config.sweep, config.sweep.arms[arm]
        constraints = tuple(map(Constraint.parse, search.constraints))
        named = [key for constraint in constraints for key in constraint.keys]
        named += [key for domain in search.space.values() for key in conditions(domain)]
        base = {key: config.base_value(key) for key in {*named, *search.space}}
        domains = {key: domain for key, domain in search.space.items() if key not in fixed}
        return cls(domains, {**base, **fixed}, fixed, constraints)

    def drawn(self, draw: Callable[[str], Any], preset: Mapping[str, Any]) -> Values:
        """Return values, each preset or drawn, of those keys whose `when` holds."""
        values: Values = {}
        for key, domain in self.domains.items():
            if domain.when is None or is_drawn(domain, {**self.given, **values}):
                values[key] = preset[key] if key in preset else draw(key)
        return values

    def allows(self, values: Mapping[str, Any]) -> bool:
        """Tell whether values keep every constraint."""
        if not self.constraints:
            return True
        known = {**self.given, **values}
        return all(constraint.holds(known) for constraint in self.constraints)

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Tell whether values are such as are drawn here: the keys, their domains, constraints."""
        if not all(k in self.domains and self.domains[k].listed(v) for k, v in values.items()):
            return False
        needed = self.drawn(lambda key: None, values)
        return needed.keys() == values.keys() and self.allows(values)

    @cached_property
    def all_points(self) -> list[Values] | None:
        """Every point, kept constraints or not; None where there are ranges, or too many."""
        sizes = [len(domain.corners) for domain in self.domains.values()]
        listed = all(isinstance(domain, Choice) for domain in self.domains.values())
        if not listed or math.prod(sizes) > MAX_GRID_POINTS:
            return None
        return list(points(self.domains, self.given))

    @cached_property
    def allowed_points(self) -> list[Values] | None:
        """Every point that keeps the constraints; None where there are ranges, or too many."""
        found = self.all_points
        return None if found is None else [point for point in found if self.allows(point)]

    @property
    def num_left_out(self) -> int:
        """How many points of a grid the constraints leave out."""
        return len(self.all_points or ()) - len(self.allowed_points or ())

    def is_open(self, preset: Mapping[str, Any]) -> bool:
        """Tell whether draws beside preset values keep the constraints often enough to be found."""
        if not self.constraints:
            return True
        places, num = random.Random(0), 0
        for _ in range(NUM_DRAWS):
            values = self.drawn(lambda key: self.domains[key].at(places.random()), preset)
            num += self.allows(values)
            if num == MIN_ALLOWED:
                return True
        return False

    def first(self, config: SweepConfig) -> list[Values]:
        """Return what is to be tried first in this arm, each of it once.

        Keys that the arm fixes or does not hold are left out, and so is what breaks a constraint.
        """
        given = config.sweep.first
        found: list[Values] = []
        for entry in given if isinstance(given, tuple) else self._paper():
            preset = self.preset(entry)
            if preset and self.is_open(preset) and not any(alike(preset, it) for it in found):
                found.append(preset)
        return found

    def preset(self, entry: Mapping[str, Any]) -> Values:
        """Return those values of an entry that this arm draws, as their domains write them."""
        listed = {k: self.domains[k].listed(v) for k, v in entry.items() if k in self.domains}
        preset = {key: value[0] for key, value in listed.items() if value}
        drawn = self.drawn(lambda key: None, preset)
        return {key: value for key, value in preset.items() if key in drawn}

    def _paper(self) -> list[Values]:
        rate = {"optimizer.learning_rate": PAPER_LEARNING_RATE}
        return [{"noise.alpha": alpha} | rate for alpha in PAPER_ALPHAS]


def alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether two points are the same."""
    return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)


def num_trials(config: SweepConfig, arm: str) -> int:
    """Return how many trials an arm searches: never more than its space has points."""
    points = num_points(config, arm)
    if isinstance(config.sweep.searcher, GridSearch):
        return points or 0
    assert config.sweep.num_trials is not None  # config/checks.py
    return config.sweep.num_trials if points is None else min(config.sweep.num_trials, points)


def num_points(config: SweepConfig, arm: str) -> int | None:
    """Return how many points the space of an arm has; None where it has ranges."""
    found = ArmSpace.of(config, arm).allowed_points
    return None if found is None else len(found)
