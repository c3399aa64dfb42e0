"""The search space: from which values a dotted key of the trial is drawn, and when it is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Discriminator, Field, Tag

from neft_ray.config.base import ListedOnce, Name, Positive, Section, broken_rule

Value = bool | int | float | str
Values = dict[str, Any]
"""A trial's values by dotted key."""

_Number = TypeVar("_Number", int, float)


def _ascending(ends: tuple[_Number, _Number]) -> tuple[_Number, _Number]:
    low, high = ends
    if not low < high:
        raise broken_rule(
            f"the lower end {low} is not below the upper end {high}", "write [low, high]"
        )
    return ends


_Listed = Annotated[tuple[Value | None, ...], Field(min_length=1), ListedOnce]
When = Annotated[dict[Name, Value | _Listed | None], Field(min_length=1)]
"""Other keys with the value, or the values, that they must have."""


class Choice(Section):
    """One of the listed values."""

    choice: _Listed
    when: When | None = None
    """Draw only where other keys have these values, such as `{noise.alpha: [5, 10]}`; elsewhere the
    trial's own value holds."""

    @property
    def corners(self) -> tuple[Value | None, ...]:
        """The values that validation tries: all of them."""
        return self.choice

    def at(self, place: float) -> Value | None:
        """Return the value at a place in [0, 1)."""
        return self.choice[int(place * len(self.choice))]

    def listed(self, value: object) -> tuple[Value | None, ...]:
        """Return a value as it is written here, in a tuple that is empty where it is not."""
        return tuple(item for item in self.choice if same(item, value))


class Uniform(Section):
    """A real number, uniform between both ends."""

    uniform: Annotated[tuple[float, float], AfterValidator(_ascending)]
    when: When | None = None
    """As in `choice`."""

    @property
    def corners(self) -> tuple[float, float]:
        """The values that validation tries: both ends."""
        return self.uniform

    def at(self, place: float) -> float:
        """Return the value at a place in [0, 1)."""
        low, high = self.uniform
        return min(low * (1 - place) + high * place, high)

    def listed(self, value: object) -> tuple[float, ...]:
        """Return a value as a real number, in a tuple that is empty where it is outside."""
        return _between(self.uniform, value)


class LogUniform(Section):
    """A positive real number, its logarithm uniform between both ends."""

    loguniform: Annotated[tuple[Positive, Positive], AfterValidator(_ascending)]
    when: When | None = None
    """As in `choice`."""

    @property
    def corners(self) -> tuple[float, float]:
        """The values that validation tries: both ends."""
        return self.loguniform

    def at(self, place: float) -> float:
        """Return the value at a place in [0, 1)."""
        low, high = self.loguniform
        value = math.exp(math.log(low) * (1 - place) + math.log(high) * place)
        return min(max(value, low), high)

    def listed(self, value: object) -> tuple[float, ...]:
        """Return a value as a real number, in a tuple that is empty where it is outside."""
        return _between(self.loguniform, value)


class IntRange(Section):
    """A whole number, both ends included."""

    int_range: Annotated[tuple[int, int], AfterValidator(_ascending)]
    when: When | None = None
    """As in `choice`."""

    @property
    def corners(self) -> tuple[int, int]:
        """The values that validation tries: both ends."""
        return self.int_range

    def at(self, place: float) -> int:
        """Return the value at a place in [0, 1)."""
        low, high = self.int_range
        return low + int(place * (high - low + 1))

    def listed(self, value: object) -> tuple[int, ...]:
        """Return a value in a tuple that is empty where it is no whole number or outside."""
        if not isinstance(value, int) or isinstance(value, bool):
            return ()
        return (value,) if self.int_range[0] <= value <= self.int_range[1] else ()


def _between(ends: tuple[float, float], value: object) -> tuple[float, ...]:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return ()
    return (float(value),) if ends[0] <= value <= ends[1] else ()


def same(one: object, other: object) -> bool:
    """Tell whether two values are equal; in Python true equals 1, here 5 equals 5.0 only."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _kind(domain: object) -> str | None:
    """Return the one key beside `when` that a domain is written with, None where there is none."""
    keys = list(type(domain).model_fields if isinstance(domain, Section) else ())
    if isinstance(domain, Mapping):
        keys = [str(key) for key in domain]
    keys = [key for key in keys if key != "when"]
    return keys[0] if len(keys) == 1 else None


Domain = Annotated[
    Annotated[Choice, Tag("choice")]
    | Annotated[Uniform, Tag("uniform")]
    | Annotated[LogUniform, Tag("loguniform")]
    | Annotated[IntRange, Tag("int_range")],
    Discriminator(_kind),
]


def conditions(domain: Domain) -> dict[str, tuple[Value | None, ...]]:
    """Return a domain's `when`: each other key with the values it may have."""
    when = domain.when or {}
    return {key: it if isinstance(it, tuple) else (it,) for key, it in when.items()}


def is_drawn(domain: Domain, values: Mapping[str, Any]) -> bool:
    """Tell whether a domain's `when` holds.

    Args:
        domain: Of any key.
        values: Of all other keys that `when` names.
    """
    return all(
        any(same(values[key], wanted) for wanted in listed)
        for key, listed in conditions(domain).items()
    )


def points(space: Mapping[str, Domain], given: Mapping[str, Any]) -> Iterator[Values]:
    """Yield every combination of a space's corners once; the last key varies fastest.

    Args:
        space: What is drawn.
        given: Values of what is not, where a `when` names it.
    """
    if not space:
        yield {}
        return
    *before, (last, domain) = space.items()
    for point in points(dict(before), given):
        drawn = is_drawn(domain, {**given, **point})
        yield from ({**point, last: value} for value in domain.corners) if drawn else (point,)
