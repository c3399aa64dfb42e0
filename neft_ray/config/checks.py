"""Rules over several settings: the space fits the trial, the arms differ, rungs are evaluated."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from neft_ray.config.arm_checks import (
    ARMS,
    CONTROLS,
    SPACE,
    arm_names,
    changes_beside_arms,
    control_arms,
    control_beside_space,
    control_in_space,
    equal_arms,
    searched_and_fixed_keys,
)
from neft_ray.config.arm_space import MAX_GRID_POINTS
from neft_ray.config.explain import explain
from neft_ray.config.keys import TRIAL_KEYS, describe, hint_of, tag_of, takes
from neft_ray.config.model_checks import MODEL_CHECKS
from neft_ray.config.places import Finding, Path
from neft_ray.config.schedulers import Paced, Population
from neft_ray.config.searchers import GridSearch
from neft_ray.config.space import Choice, Domain, LogUniform, Uniform
from neft_ray.config.space_checks import SPACE_CHECKS, points_to_build
from neft_ray.config.sweep import SweepConfig
from neft_ray.config.trial import TrialConfig


def cross_check(config: SweepConfig, doubted: Callable[[Path], bool]) -> Iterator[Finding]:
    """Apply every rule whose settings are not in doubt."""
    for check, needs in _CHECKS.items():
        if not any(map(doubted, needs)):
            yield from check(config)


def _ranges(config: SweepConfig) -> Iterator[Finding]:
    """Ranges of real numbers are over settings that take them; a grid has no ranges."""
    on_grid = isinstance(config.sweep.searcher, GridSearch)
    for key, domain in config.sweep.space.items():
        if on_grid and not isinstance(domain, Choice):
            what = f"`{tag_of(type(domain))}` cannot be listed in a grid"
            remedy = "use `choice`, or `searcher: {kind: random}`"
            yield Finding((*SPACE, key), what, remedy)
        if key in TRIAL_KEYS and not _drawable(key, domain):
            what = f"`{tag_of(type(domain))}` draws real numbers"
            remedy = f"use `int_range` or `choice`: {key} is {describe(hint_of(TRIAL_KEYS[key]))}"
            yield Finding((*SPACE, key), what, remedy)


def _values(config: SweepConfig) -> Iterator[Finding]:
    """A trial can be built at every point of a grid, at every choice and end of a range."""
    space = {k: d for k, d in config.sweep.space.items() if k in TRIAL_KEYS and _drawable(k, d)}
    trial = config.trial
    for point in points_to_build(space, config, {}):
        yield from _build(trial, point, {})
    for arm in control_arms(config):
        fixed = {key: value for key, value in arm.fixed.items() if key in TRIAL_KEYS}
        beside = {key: domain for key, domain in space.items() if key not in fixed}
        for point in points_to_build(beside, config, fixed) if fixed else ():
            yield from _build(trial, {**point, **fixed}, dict.fromkeys(fixed, arm.place))


def _grid_size(config: SweepConfig) -> Iterator[Finding]:
    """A grid is small enough to be built point by point."""
    size = math.prod(len(domain.corners) for domain in config.sweep.space.values())
    if isinstance(config.sweep.searcher, GridSearch) and size > MAX_GRID_POINTS:
        what = f"a grid of {size} points, more than {MAX_GRID_POINTS}"
        yield Finding(SPACE, what, "list fewer choices, or use `searcher: {kind: random}`")


def _num_trials(config: SweepConfig) -> Iterator[Finding]:
    """The number of trials is given, unless the grid gives it."""
    path = ("sweep", "num_trials")
    on_grid = isinstance(config.sweep.searcher, GridSearch)
    if on_grid and config.sweep.num_trials is not None:
        yield Finding(path, "a grid has as many trials as points", "remove num_trials")
    if not on_grid and config.sweep.num_trials is None:
        kind = config.sweep.searcher.kind
        yield Finding(path, "missing", f"write how many trials {kind} search runs in each arm")


def _rungs(config: SweepConfig) -> Iterator[Finding]:
    """Trials are cut where they are evaluated."""
    scheduler, every = config.sweep.scheduler, config.training.eval_every_steps
    if isinstance(scheduler, Paced):
        key, first = "grace_steps", scheduler.grace_steps
    elif isinstance(scheduler, Population):
        key, first = "interval_steps", scheduler.interval_steps
    else:
        return
    if first is None or first % every == 0:
        return
    below = first // every * every
    nearest = f"{below} or {below + every}" if below else f"{every}"
    what = f"{first} is no multiple of training.eval_every_steps, {every}"
    yield Finding(("sweep", "scheduler", key), what, f"write {nearest}")


def _padded_length(config: SweepConfig) -> Iterator[Finding]:
    """The noise's scale is that of a padded row only where rows are padded."""
    if "packed" in config.values_of("batch.kind") and "padded" in config.values_of("noise.length"):
        what = "packed rows have no padding to count"
        yield Finding(("noise", "length"), what, "write length: own, or batch.kind: padded")


def _budget(config: SweepConfig) -> Iterator[Finding]:
    """What is limited can be counted."""
    price, budget, gpus = config.sweep.price, config.sweep.budget, config.workers.gpus
    if budget.dollars is not None and price.dollars(1, 1) is None:
        remedy = "write sweep.price, such as `price: {dollars_per_gpu_hour: 2.2}`"
        yield Finding(("sweep", "budget", "dollars"), "nothing has a price", remedy)
    if budget.gpu_hours is not None and not gpus:
        what, remedy = "no GPU is used: workers.gpus is 0", "write budget.hours instead"
        yield Finding(("sweep", "budget", "gpu_hours"), what, remedy)
    if price.of_a_gpu_hour is not None and not gpus:
        key = "dollars_per_gpu_hour" if price.instance is None else "instance"
        what = "is the price of GPUs, and workers.gpus is 0"
        remedy = "give the workers GPUs, or write dollars_per_cpu_hour instead"
        yield Finding(("sweep", "price", key), what, remedy)
    if gpus and price.of_a_gpu_hour is None and price.dollars_per_cpu_hour is not None:
        what = "is the price of cores, and the workers' GPUs have none"
        remedy = "write dollars_per_gpu_hour too; 0 where that of the cores covers them"
        yield Finding(("sweep", "price", "dollars_per_cpu_hour"), what, remedy)


def _weights(config: SweepConfig) -> Iterator[Finding]:
    """What is weighed is measured: of the answers of finalists."""
    finalists = config.sweep.finalists
    if config.sweep.objective.weights and not (finalists.num and finalists.generated_rows):
        what = "no finalist answers anything that could be weighed"
        remedy = "let sweep.finalists.num and generated_rows be 1 or more, or remove the weights"
        yield Finding(("sweep", "objective", "weights"), what, remedy)


_CHECKS: dict[Callable[[SweepConfig], Iterator[Finding]], tuple[Path, ...]] = {
    searched_and_fixed_keys: (),
    arm_names: (CONTROLS,),
    _ranges: (),
    _grid_size: (),
    _values: (),
    _num_trials: (("sweep", "searcher"), ("sweep", "num_trials")),
    _rungs: (("sweep", "scheduler"), ("training",)),
    _padded_length: (("noise",), ("batch",), *ARMS),
    _budget: (("sweep", "price"), ("sweep", "budget"), ("workers",)),
    _weights: (("sweep", "objective"), ("sweep", "finalists")),
    control_in_space: ARMS,
    control_beside_space: (*ARMS, *((name,) for name in TrialConfig.model_fields)),
    equal_arms: ARMS,
    changes_beside_arms: (("changes",), *ARMS),
    **MODEL_CHECKS,
    **SPACE_CHECKS,
}
"""Each rule with the settings that must be sound. The others judge every key by itself."""


def _build(
    trial: TrialConfig, values: Mapping[str, Any], fixed: Mapping[str, Path]
) -> Iterator[Finding]:
    """Build a trial; yield what is wrong, at the key it comes from.

    Args:
        trial: The base trial.
        values: Replace its own.
        fixed: Where the values stand that an arm fixes; the others are the space's.
    """
    try:
        trial.with_values(values)
    except ValidationError as error:
        for found in explain(error):
            words = {key: zip(key.split("."), found.path, strict=False) for key in values}
            key = max(words, key=lambda key: sum(one == other for one, other in words[key]))
            yield replace(found, path=(*fixed.get(key, SPACE), key))


def _drawable(key: str, domain: Domain) -> bool:
    """Tell whether a setting takes the real numbers of a range, if it is one."""
    return not isinstance(domain, Uniform | LogUniform) or takes(hint_of(TRIAL_KEYS[key]), float)
