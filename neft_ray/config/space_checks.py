"""Rules over the search space: when keys are drawn, what is tried first, constraints that hold."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from neft_ray.config.arm_checks import ARMS, SPACE
from neft_ray.config.arm_space import (
    MAX_GRID_POINTS,
    MIN_ALLOWED,
    NUM_DRAWS,
    ArmSpace,
)
from neft_ray.config.constraints import Constraint, Unusable
from neft_ray.config.explain import nearest_trial_key, shown
from neft_ray.config.keys import TRIAL_KEYS, tag_of
from neft_ray.config.places import Finding, Path
from neft_ray.config.searchers import GridSearch
from neft_ray.config.space import Choice, Domain, Values, conditions, is_drawn, points, same
from neft_ray.config.sweep import TREATMENT, SweepConfig
from neft_ray.config.trial import TrialConfig

_FIRST: Path = ("sweep", "first")
_CONSTRAINTS: Path = ("sweep", "constraints")
_TRIAL: tuple[Path, ...] = tuple((name,) for name in TrialConfig.model_fields)


def _when(config: SweepConfig) -> Iterator[Finding]:
    """A `when` names keys that are drawn before, with values they can have."""
    space = config.sweep.space
    order = list(space)
    for key, domain in space.items():
        for other, listed in conditions(domain).items():
            place = (*SPACE, key, "when", other)
            if other == key:
                yield Finding(place, "depends on itself", "name another key")
            elif other not in space:
                known = other in TRIAL_KEYS
                what = "is not searched" if known else "not a setting of the trial"
                remedy = f"add it to sweep.space above {key}" if known else nearest_trial_key(other)
                yield Finding(place, what, remedy)
            elif order.index(other) > order.index(key):
                what = f"{other} is drawn after {key}"
                yield Finding(place, what, f"write {other} above {key}, and no `when` in a circle")
            else:
                for value in listed:
                    if not space[other].listed(value):
                        yield _outside(place, other, value, space[other])


def _first(config: SweepConfig) -> Iterator[Finding]:
    """First values are drawn from the space; a grid lists its own."""
    first, space = config.sweep.first, config.sweep.space
    if first and isinstance(config.sweep.searcher, GridSearch):
        yield Finding(_FIRST, "a grid tries all its points", "remove first")
    for number, entry in enumerate(first if isinstance(first, tuple) else ()):
        for key, value in entry.items():
            place = (*_FIRST, number, key)
            if key not in space:
                known = key in TRIAL_KEYS
                what = "is not searched" if known else "not a setting of the trial"
                remedy = "add it to sweep.space" if known else nearest_trial_key(key)
                yield Finding(place, what, remedy)
                continue
            if not space[key].listed(value):
                yield _outside(place, key, value, space[key])
            for other, listed in conditions(space[key]).items():
                if not any(same(entry.get(other), item) for item in listed):
                    wanted = " or ".join(shown(item) for item in listed)
                    what = f"is drawn only where {other} is {wanted}"
                    yield Finding(place, what, f"write {other} beside it")


def _outside(place: Path, key: str, value: object, domain: Domain) -> Finding:
    kind = tag_of(type(domain))
    what = f"{shown(value)} is not among the values of {key}, `{kind}: {_written(domain)}`"
    return Finding(place, what, "write one of them, or widen that domain")


def _written(domain: Domain) -> str:
    items = ["null" if item is None else str(item) for item in domain.corners]
    more = ["…"] if len(items) > 8 else []
    return f"[{', '.join(items[:8] + more)}]"


def _constraints(config: SweepConfig) -> Iterator[Finding]:
    """Each constraint can be read, names settings, and can be computed."""
    for number, text in enumerate(config.sweep.constraints):
        place = (*_CONSTRAINTS, number)
        try:
            constraint = Constraint.parse(text)
        except Unusable as error:
            yield Finding(place, f"{error.what}: {text!r}", error.remedy)
            continue
        unknown = [key for key in constraint.keys if key not in TRIAL_KEYS]
        for key in unknown:
            yield Finding(place, f"{key}: not a setting of the trial", nearest_trial_key(key))
        if unknown:
            continue
        listed = [_met_by(config, key) for key in constraint.keys]
        try:
            for values in itertools.islice(itertools.product(*listed), MAX_GRID_POINTS):
                constraint.holds(dict(zip(constraint.keys, values, strict=True)))
        except Unusable as error:
            yield Finding(place, error.what, error.remedy)


def _met_by(config: SweepConfig, key: str) -> list[Any]:
    """Return what a constraint may meet of a key: the base value only where a trial keeps it."""
    domain = config.sweep.space.get(key)
    found = [values[key] for values in config.sweep.arms.values() if key in values]
    if domain is None or domain.when:
        found.append(config.base_value(key))
    return [*(domain.corners if domain else ()), *found]


def _satisfiable(config: SweepConfig) -> Iterator[Finding]:
    """In every arm enough of the space keeps all constraints."""
    if not config.sweep.constraints or any(_constraints(config)) or any(_when(config)):
        return
    for arm in config.sweep.arms:
        space = ArmSpace.of(config, arm)
        what = None
        if space.allowed_points is not None:
            what = None if space.allowed_points else f"no point of the {arm} arm keeps them"
        elif not space.is_open({}):
            what = f"fewer than {MIN_ALLOWED} in {NUM_DRAWS} draws of the {arm} arm keep them"
        if what:
            yield Finding(_CONSTRAINTS, what, "narrow sweep.space to where they hold")


def _first_allowed(config: SweepConfig) -> Iterator[Finding]:
    """First values leave room for the constraints."""
    first = config.sweep.first
    if not isinstance(first, tuple) or not config.sweep.constraints:
        return
    if any(_constraints(config)) or any(_when(config)) or any(_first(config)):
        return
    space = ArmSpace.of(config, TREATMENT)
    for number, entry in enumerate(first):
        if not space.is_open(space.preset(entry)):
            yield Finding((*_FIRST, number), "breaks a constraint", "change one of the two")


SPACE_CHECKS: dict[Callable[[SweepConfig], Iterator[Finding]], tuple[Path, ...]] = {
    _when: (SPACE,),
    _first: (SPACE, _FIRST, ("sweep", "searcher")),
    _constraints: (*ARMS, _CONSTRAINTS, *_TRIAL),
    _satisfiable: (*ARMS, _CONSTRAINTS, *_TRIAL),
    _first_allowed: (*ARMS, _CONSTRAINTS, *_TRIAL, _FIRST, ("sweep", "searcher")),
}
"""Each rule with the settings that must be sound."""


def points_to_build(
    space: Mapping[str, Domain], config: SweepConfig, fixed: Mapping[str, Any]
) -> Iterator[Values]:
    """Yield the points that validation builds: a whole grid, or the corners of other searches.

    Args:
        space: The sound part of what an arm draws.
        config: The sweep.
        fixed: What the arm fixes.
    """
    named = {other for domain in space.values() for other in conditions(domain)}
    given = {key: config.base_value(key) for key in {*named, *space}}
    given.update(fixed)
    all_listed = all(isinstance(domain, Choice) for domain in space.values())
    size = math.prod(len(domain.corners) for domain in space.values())
    if isinstance(config.sweep.searcher, GridSearch) and all_listed and size <= MAX_GRID_POINTS:
        yield from points(space, given)
        return
    for end in (0, -1):
        values: Values = {}
        for key, domain in space.items():
            if is_drawn(domain, {**given, **values}):
                values[key] = domain.corners[end]
        yield values
    order = list(space)
    for key, domain in space.items():
        yield from ({**_needed(key, space, order), key: value} for value in domain.corners)


def _needed(key: str, space: Mapping[str, Domain], order: list[str]) -> Values:
    """Return values of other keys with which a key is drawn."""
    values: Values = {}
    for other, listed in conditions(space[key]).items():
        if other in space and order.index(other) < order.index(key):
            held = [value for wanted in listed for value in space[other].listed(wanted)]
            values |= _needed(other, space, order)
            if held:
                values[other] = held[0]
    return values
