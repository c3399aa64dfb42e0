"""The search space: from which values a dotted key of the trial is drawn."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Discriminator, Field, Tag

from neft_ray.config.base import ListedOnce, Positive, Section, broken_rule

Value = bool | int | float | str

_Number = TypeVar("_Number", int, float)


def _ascending(ends: tuple[_Number, _Number]) -> tuple[_Number, _Number]:
    low, high = ends
    if not low < high:
        raise broken_rule(
            f"the lower end {low} is not below the upper end {high}", "write [low, high]"
        )
    return ends


class Choice(Section):
    """One of the listed values."""

    choice: Annotated[tuple[Value | None, ...], Field(min_length=1), ListedOnce]

    @property
    def corners(self) -> tuple[Value | None, ...]:
        """The values that validation tries: all of them."""
        return self.choice


class Uniform(Section):
    """A real number, uniform between both ends."""

    uniform: Annotated[tuple[float, float], AfterValidator(_ascending)]

    @property
    def corners(self) -> tuple[float, float]:
        """The values that validation tries: both ends."""
        return self.uniform


class LogUniform(Section):
    """A positive real number, its logarithm uniform between both ends."""

    loguniform: Annotated[tuple[Positive, Positive], AfterValidator(_ascending)]

    @property
    def corners(self) -> tuple[float, float]:
        """The values that validation tries: both ends."""
        return self.loguniform


class IntRange(Section):
    """A whole number, both ends included."""

    int_range: Annotated[tuple[int, int], AfterValidator(_ascending)]

    @property
    def corners(self) -> tuple[int, int]:
        """The values that validation tries: both ends."""
        return self.int_range


def _kind(domain: object) -> str | None:
    """Return the one key that a domain is written with, None where there is not exactly one."""
    keys = list(type(domain).model_fields if isinstance(domain, Section) else ())
    if isinstance(domain, Mapping):
        keys = [str(key) for key in domain]
    return keys[0] if len(keys) == 1 else None


Domain = Annotated[
    Annotated[Choice, Tag("choice")]
    | Annotated[Uniform, Tag("uniform")]
    | Annotated[LogUniform, Tag("loguniform")]
    | Annotated[IntRange, Tag("int_range")],
    Discriminator(_kind),
]


def grid_points(space: Mapping[str, Domain]) -> list[dict[str, Value | None]]:
    """Return every combination of a space's choices; the last key varies fastest.

    Raises:
        ValueError: If a domain is a range: a grid needs `choice` everywhere.
    """
    axes = []
    for key, domain in space.items():
        if not isinstance(domain, Choice):
            raise ValueError(f"{key}: a grid needs `choice`, not a range")
        axes.append(domain.choice)
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*axes)]
