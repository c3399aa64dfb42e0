"""Rules over several settings: the space fits the trial, the arms differ, rungs are evaluated."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from neft_ray.config.arm_space import MAX_GRID_POINTS
from neft_ray.config.explain import explain, nearest_trial_key, shown
from neft_ray.config.keys import TRIAL_KEYS, describe, hint_of, tag_of, takes
from neft_ray.config.places import Finding, Path
from neft_ray.config.schedulers import Paced, Population
from neft_ray.config.searchers import GridSearch
from neft_ray.config.space import Choice, Domain, LogUniform, Uniform, Value
from neft_ray.config.space_checks import SPACE_CHECKS, points_to_build
from neft_ray.config.strategy import DeepspeedConfig, FsdpConfig
from neft_ray.config.sweep import SweepConfig
from neft_ray.config.trial import TrialConfig

_ABSENT = object()
_SPACE: Path = ("sweep", "space")
_CONTROL: Path = ("sweep", "control")
SHARED_KEYS = {
    "training.seed": "write it under `training`; `sweep.finalists.seeds` lists further seeds",
    "workers.num": "write it under `workers`; slots are of one size",
    "workers.gpus": "write it under `workers`; slots are of one size",
    "workers.cpus": "write it under `workers`; slots are of one size",
    "workers.timeout_seconds": "write it under `workers`; slots are of one size",
    "training.eval_every_steps": "write it under `training`; trials compare at the same steps",
    "training.async_checkpoints": "write it under `training`; it changes no curve",
    "changes": "search α and learning rate with `scheduler: {kind: pbt}`",
} | {
    key: "write it under `strategy`; it spreads a trial and tunes nothing"
    for key in TRIAL_KEYS
    if key.startswith("strategy.")
}
"""Keys that have one value in all trials of a sweep, and what to do instead."""


def cross_check(config: SweepConfig, doubted: Callable[[Path], bool]) -> Iterator[Finding]:
    """Apply every rule whose settings are not in doubt."""
    for check, needs in _CHECKS.items():
        if not any(map(doubted, needs)):
            yield from check(config)


def _keys(config: SweepConfig) -> Iterator[Finding]:
    """What the space searches and the control arm fixes are settings of the trial."""
    for place, keys in ((_SPACE, config.sweep.space), (_CONTROL, config.sweep.control or {})):
        for key in keys:
            if key not in TRIAL_KEYS:
                yield Finding((*place, key), "not a setting of the trial", nearest_trial_key(key))
            elif key in SHARED_KEYS:
                yield Finding((*place, key), "must be the same in all trials", SHARED_KEYS[key])


def _ranges(config: SweepConfig) -> Iterator[Finding]:
    """Ranges of real numbers are over settings that take them; a grid has no ranges."""
    on_grid = isinstance(config.sweep.searcher, GridSearch)
    for key, domain in config.sweep.space.items():
        if on_grid and not isinstance(domain, Choice):
            what = f"`{tag_of(type(domain))}` cannot be listed in a grid"
            remedy = "use `choice`, or `searcher: {kind: random}`"
            yield Finding((*_SPACE, key), what, remedy)
        if key in TRIAL_KEYS and not _drawable(key, domain):
            what = f"`{tag_of(type(domain))}` draws real numbers"
            remedy = f"use `int_range` or `choice`: {key} is {describe(hint_of(TRIAL_KEYS[key]))}"
            yield Finding((*_SPACE, key), what, remedy)


def _values(config: SweepConfig) -> Iterator[Finding]:
    """A trial can be built at every point of a grid, at every choice and end of a range."""
    control = {k: v for k, v in (config.sweep.control or {}).items() if k in TRIAL_KEYS}
    space = {k: d for k, d in config.sweep.space.items() if k in TRIAL_KEYS and _drawable(k, d)}
    beside = {key: domain for key, domain in space.items() if key not in control}
    trial = config.trial
    for point in points_to_build(space, config, {}):
        yield from _build(trial, point, ())
    for point in points_to_build(beside, config, control) if control else ():
        yield from _build(trial, {**point, **control}, control)


def _grid_size(config: SweepConfig) -> Iterator[Finding]:
    """A grid is small enough to be built point by point."""
    size = math.prod(len(domain.corners) for domain in config.sweep.space.values())
    if isinstance(config.sweep.searcher, GridSearch) and size > MAX_GRID_POINTS:
        what = f"a grid of {size} points, more than {MAX_GRID_POINTS}"
        yield Finding(_SPACE, what, "list fewer choices, or use `searcher: {kind: random}`")


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


def _shards_in_host_memory(config: SweepConfig) -> Iterator[Finding]:
    """Only a GPU has anything to move to the host's memory."""
    strategy = config.strategy
    if isinstance(strategy, FsdpConfig) and strategy.cpu_offload and not config.workers.gpus:
        what = "the shards are in the host's memory already: workers.gpus is 0"
        remedy = "give the workers GPUs, or write cpu_offload: false"
        yield Finding(("strategy", "cpu_offload"), what, remedy)


def _async_checkpoints(config: SweepConfig) -> Iterator[Finding]:
    """DeepSpeed's shards are written where they are, not from a copy."""
    if config.training.async_checkpoints and isinstance(config.strategy, DeepspeedConfig):
        what = "DeepSpeed writes its checkpoints while training waits"
        remedy = "write async_checkpoints: false, or strategy: {kind: fsdp}"
        yield Finding(("training", "async_checkpoints"), what, remedy)


def _params_dtype(config: SweepConfig) -> Iterator[Finding]:
    """Parameters in half precision are computed with in half precision."""
    if getattr(config.strategy, "params_dtype", "float32") == "float32":
        return
    if "float32" in config.values_of("model.dtype"):
        what = "bfloat16 parameters cannot be computed with in float32"
        remedy = "write model.dtype: bfloat16, or params_dtype: float32"
        yield Finding(("strategy", "params_dtype"), what, remedy)


def _control_in_space(config: SweepConfig) -> Iterator[Finding]:
    """What the control arm fixes varies in the treatment arm."""
    for key, value in (config.sweep.control or {}).items():
        domain = config.sweep.space.get(key)
        if isinstance(domain, Choice) and set(domain.choice) == {value}:
            yield _same_in_both_arms(key, value, f"give sweep.space.{key} other choices")


def _control_beside_space(config: SweepConfig) -> Iterator[Finding]:
    """What the control arm fixes and the space does not search differs from the base trial."""
    if not config.sweep.space.keys() <= TRIAL_KEYS.keys():
        return  # a misspelt key may be the one that is fixed
    for key, value in (config.sweep.control or {}).items():
        if key in TRIAL_KEYS and key not in config.sweep.space:
            base: object = config
            for word in key.split("."):
                base = getattr(base, word, _ABSENT)  # a section that is left out has no settings
            if base == value:
                yield _same_in_both_arms(key, value, "fix another value, or search this key")


def _same_in_both_arms(key: str, value: Value | None, remedy: str) -> Finding:
    what = f"{shown(value)} is also the only value of the treatment arm"
    return Finding((*_CONTROL, key), what, remedy)


_CHECKS: dict[Callable[[SweepConfig], Iterator[Finding]], tuple[Path, ...]] = {
    _keys: (),
    _ranges: (),
    _grid_size: (),
    _values: (),
    _num_trials: (("sweep", "searcher"), ("sweep", "num_trials")),
    _rungs: (("sweep", "scheduler"), ("training",)),
    _shards_in_host_memory: (("strategy",), ("workers",)),
    _async_checkpoints: (("training",), ("strategy",)),
    _params_dtype: (("strategy",), ("model",), _SPACE, _CONTROL),
    _control_in_space: (_SPACE, _CONTROL),
    _control_beside_space: (_SPACE, _CONTROL, *((name,) for name in TrialConfig.model_fields)),
    **SPACE_CHECKS,
}
"""Each rule with the settings that must be sound. The others judge every key by itself."""


def _build(
    trial: TrialConfig, values: Mapping[str, Any], control: Collection[str]
) -> Iterator[Finding]:
    """Build a trial; yield what is wrong, at the key of the space or control arm it comes from."""
    try:
        trial.with_values(values)
    except ValidationError as error:
        for found in explain(error):
            words = {key: zip(key.split("."), found.path, strict=False) for key in values}
            key = max(words, key=lambda key: sum(one == other for one, other in words[key]))
            yield replace(found, path=(*(_CONTROL if key in control else _SPACE), key))


def _drawable(key: str, domain: Domain) -> bool:
    """Tell whether a setting takes the real numbers of a range, if it is one."""
    return not isinstance(domain, Uniform | LogUniform) or takes(hint_of(TRIAL_KEYS[key]), float)
