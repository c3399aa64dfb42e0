"""Rules over the arms of a sweep: what the space searches and what each control fixes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from neft_ray.config.explain import nearest_trial_key, shown
from neft_ray.config.keys import TRIAL_KEYS
from neft_ray.config.places import Finding, Path
from neft_ray.config.space import Choice, Value
from neft_ray.config.sweep import CONTROL, TREATMENT, SweepConfig
from neft_ray.config.trial import LIVE_KEYS

SPACE: Path = ("sweep", "space")
CONTROLS: Path = ("sweep", "controls")
ARMS = (SPACE, ("sweep", "control"), CONTROLS)
"""Where arms are described."""
SHARED_KEYS = {
    "training.seed": "write it under `training`; `sweep.finalists.seeds` lists further seeds",
    "workers.num": "write it under `workers`; slots are of one size",
    "workers.gpus": "write it under `workers`; slots are of one size",
    "workers.cpus": "write it under `workers`; slots are of one size",
    "workers.timeout_seconds": "write it under `workers`; slots are of one size",
    "workers.grow_after_seconds": "write it under `workers`; slots are of one size",
    "training.eval_every_steps": "write it under `training`; trials compare at the same steps",
    "model.compile": "write it under `model`; it changes a curve by rounding alone",
    "training.async_checkpoints": "write it under `training`; it changes no curve",
    "changes": "search α and learning rate with `scheduler: {kind: pbt}`",
} | {
    key: "write it under `strategy`; it spreads a trial and tunes nothing"
    for key in TRIAL_KEYS
    if key.startswith("strategy.")
}
"""Keys that have one value in all trials of a sweep, and what to do instead."""

_ABSENT = object()


@dataclass(frozen=True)
class ControlArm:
    """An arm that fixes values, and where the file says so."""

    name: str
    place: Path
    fixed: Mapping[str, Value | None]


def control_arms(config: SweepConfig) -> list[ControlArm]:
    """Return the control arm and the further controls."""
    first = [ControlArm(CONTROL, ("sweep", CONTROL), config.sweep.control or {})]
    further = (config.sweep.controls or {}).items()
    return first + [ControlArm(name, (*CONTROLS, name), fixed) for name, fixed in further]


def searched_and_fixed_keys(config: SweepConfig) -> Iterator[Finding]:
    """What the space searches and the controls fix are settings of the trial."""
    places = [(SPACE, list(config.sweep.space))]
    places += [(arm.place, list(arm.fixed)) for arm in control_arms(config)]
    for place, keys in places:
        for key in keys:
            if key not in TRIAL_KEYS:
                yield Finding((*place, key), "not a setting of the trial", nearest_trial_key(key))
            elif key in SHARED_KEYS:
                yield Finding((*place, key), "must be the same in all trials", SHARED_KEYS[key])


def arm_names(config: SweepConfig) -> Iterator[Finding]:
    """A further control has a name of its own, which can stand in files and tables."""
    for name in config.sweep.controls or {}:
        if name in (TREATMENT, CONTROL):
            remedy = "choose another name; the control arm itself is `sweep.control`"
            yield Finding((*CONTROLS, name), f"'{name}' is the name of another arm", remedy)
        elif not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", name):
            what = f"{shown(name)} cannot name an arm"
            yield Finding((*CONTROLS, name), what, "use up to 40 letters, digits, _ and -")


def control_in_space(config: SweepConfig) -> Iterator[Finding]:
    """What the control arm fixes varies in the treatment arm."""
    for key, value in (config.sweep.control or {}).items():
        if _only_choice(config, key, value):
            yield _same_in_both_arms(key, value, f"give sweep.space.{key} other choices")


def control_beside_space(config: SweepConfig) -> Iterator[Finding]:
    """What the control arm fixes and the space does not search differs from the base trial."""
    if not config.sweep.space.keys() <= TRIAL_KEYS.keys():
        return  # a misspelt key may be the one that is fixed
    for key, value in (config.sweep.control or {}).items():
        if _is_base_value(config, key, value):
            yield _same_in_both_arms(key, value, "fix another value, or search this key")


def equal_arms(config: SweepConfig) -> Iterator[Finding]:
    """A further control differs from the treatment and from every other control."""
    arms = control_arms(config)
    if not all(key in TRIAL_KEYS for arm in arms for key in (*arm.fixed, *config.sweep.space)):
        return
    seen: list[tuple[str, Mapping[str, tuple[bool, Value | None]]]] = [(TREATMENT, {})]
    for arm in arms:
        marks = {
            key: (isinstance(value, bool), value)
            for key, value in arm.fixed.items()
            if not (_only_choice(config, key, value) or _is_base_value(config, key, value))
        }
        twin = next((name for name, others in seen if others == marks), None)
        if arm.name != CONTROL and twin is not None:
            what = f"its trials are those of the {twin} arm"
            yield Finding(arm.place, what, "fix another value, or remove this control")
        if arm.fixed:
            seen.append((arm.name, marks))


def changes_beside_arms(config: SweepConfig) -> Iterator[Finding]:
    """What changes on the way would replace what the space draws and the arms fix."""
    chosen = {*config.sweep.space, *(key for arm in control_arms(config) for key in arm.fixed)}
    for number, change in enumerate(config.changes):
        for key, name in LIVE_KEYS.items():
            if key in chosen and getattr(change, name) is not None:
                what = f"replaces {key}, which the sweep searches or an arm fixes"
                yield Finding(
                    ("changes", number, name), what, f"remove it, or {SHARED_KEYS['changes']}"
                )


def _only_choice(config: SweepConfig, key: str, value: Value | None) -> bool:
    domain = config.sweep.space.get(key)
    return isinstance(domain, Choice) and set(domain.choice) == {value}


def _is_base_value(config: SweepConfig, key: str, value: Value | None) -> bool:
    """Tell whether a setting that is not searched has a value in the base trial already."""
    if key not in TRIAL_KEYS or key in config.sweep.space:
        return False
    base: object = config
    for word in key.split("."):
        base = getattr(base, word, _ABSENT)  # a section that is left out has no settings
    return base == value


def _same_in_both_arms(key: str, value: Value | None, remedy: str) -> Finding:
    what = f"{shown(value)} is also the only value of the treatment arm"
    return Finding(("sweep", CONTROL, key), what, remedy)
