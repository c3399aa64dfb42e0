"""Rules: which trials are cut, paused or changed on their way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from neft_ray.config.schedulers import (
    Asha,
    Halving,
    Hyperband,
    MedianStopping,
    NoStopping,
    Pb2,
    Pbt,
    Population,
    Scheduler,
)
from neft_ray.config.trial import LIVE_KEYS
from neft_ray.sweep.rules.base import ArmFacts, Never, Rule
from neft_ray.sweep.rules.halving import Bracket, Brackets
from neft_ray.sweep.rules.population import Explorer, InStep, Perturbation
from neft_ray.sweep.rules.promotion import Promotion
from neft_ray.sweep.rules.stopping import asha, median


def _asha(config: Asha, arm: ArmFacts) -> Rule:
    if config.promote:
        return Promotion(config.rungs(arm.length), config.eta)
    return asha(config, arm.length)


def _brackets(config: Halving | Hyperband, arm: ArmFacts) -> Rule:
    planned = config.brackets(arm.length, arm.num_trials)
    return Brackets([Bracket(size, rungs, config.eta) for size, rungs in planned])


def _population(config: Population, arm: ArmFacts) -> Rule:
    live = {key: domain for key, domain in arm.space.items() if key in LIVE_KEYS}
    explorer: Explorer
    if isinstance(config, Pbt):
        explorer = Perturbation(config, live)
    else:
        from neft_ray.sweep.rules.bandit import Bandit  # loads scikit-learn, a second

        explorer = Bandit(live, arm.length // config.interval_steps)
    base = {key: arm.base[key] for key in live}
    return InStep(config, arm, explorer, base)


RULES: dict[type, Callable[[Any, ArmFacts], Rule]] = {
    NoStopping: lambda config, arm: Never(),
    Asha: _asha,
    Halving: _brackets,
    Hyperband: _brackets,
    MedianStopping: lambda config, arm: median(config),
    Pbt: _population,
    Pb2: _population,
}


def build_rule(config: Scheduler, arm: ArmFacts) -> Rule:
    """Return a fresh rule for an arm."""
    return RULES[type(config)](config, arm)


__all__ = ["ArmFacts", "Rule", "build_rule"]
