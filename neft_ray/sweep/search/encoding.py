"""How the values of an arm's space look to Optuna."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from neft_ray.config.arm_space import ArmSpace
from neft_ray.config.space import Choice, IntRange, LogUniform, Uniform, same


class Encoding:
    """Values as parameters with distributions, and back.

    Choices go by index: Optuna compares them with ==, under which True equals 1. Numbers among
    choices are ordered, so that a model knows their neighbours.
    """

    def __init__(self, space: ArmSpace, fills_in: bool) -> None:
        """Encode a space.

        Args:
            space: The arm's.
            fills_in: Whether keys that are not drawn get the middle of their domain.
        """
        self._domains, self._fills_in = space.domains, fills_in
        self._listed = {
            key: _in_order(domain)
            for key, domain in space.domains.items()
            if isinstance(domain, Choice)
        }
        self._distributions = {key: self._distribution(key) for key in space.domains}

    def params(
        self, values: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
        """Return values as parameters, with their distributions."""
        if self._fills_in:
            values = {key: domain.at(0.5) for key, domain in self._domains.items()} | dict(values)
        params = {key: self._encode(key, value) for key, value in values.items()}
        return params, {key: self._distributions[key] for key in params}

    def suggested(self, trial: optuna.Trial, key: str) -> Any:
        """Return the value that a trial suggests for a key."""
        match distribution := self._distributions[key]:
            case CategoricalDistribution():
                found = trial.suggest_categorical(key, distribution.choices)
            case IntDistribution():
                found = trial.suggest_int(key, distribution.low, distribution.high)
            case _:
                low, high = distribution.low, distribution.high
                found = trial.suggest_float(key, low, high, log=distribution.log)
        return self._listed[key][found] if key in self._listed else found

    def _encode(self, key: str, value: Any) -> Any:
        if key not in self._listed:
            return value
        return next(i for i, item in enumerate(self._listed[key]) if same(item, value))

    def _distribution(self, key: str) -> BaseDistribution:
        match domain := self._domains[key]:
            case Choice():
                size = len(domain.choice)
                ordered = all(map(_is_number, domain.choice))
                return (
                    IntDistribution(0, size - 1)
                    if ordered
                    else CategoricalDistribution(range(size))
                )
            case Uniform():
                return FloatDistribution(*domain.uniform)
            case LogUniform():
                return FloatDistribution(*domain.loguniform, log=True)
            case IntRange():
                return IntDistribution(*domain.int_range)


def _in_order(domain: Choice) -> tuple[Any, ...]:
    listed: tuple[Any, ...] = domain.choice
    return tuple(sorted(listed)) if all(map(_is_number, listed)) else listed


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
