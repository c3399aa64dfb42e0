"""Draws without a model: the n-th is a function of the seed, the arm and n alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from neft_ray.config.arm_space import ArmSpace
from neft_ray.config.space import Values
from neft_ray.errors import bad_input

MAX_DRAWS = 20_000
"""So many draws in a row may break the constraints."""
MAX_REPEATS = 100
"""So many draws in a row may repeat earlier points before the first unused one is taken."""
_BLOCK = 64

Key = tuple[tuple[str, bool, Any], ...]


def seed_of(*key: int) -> int:
    """Return a seed of 32 bits that no other key shares."""
    return int(np.random.SeedSequence(key).generate_state(1)[0])


def mark(values: Mapping[str, Any]) -> Key:
    """Return a point as something to look up; True is not 1."""
    return tuple((key, isinstance(value, bool), value) for key, value in values.items())


class Stream(Protocol):
    """Points of the unit cube by number."""

    def __call__(self, number: int) -> Sequence[float]:
        """Return the point of a number: a pure function."""


class Random:
    """Independent uniform points."""

    def __init__(self, size: int, *key: int) -> None:
        self._size, self._key = size, key

    def __call__(self, number: int) -> Sequence[float]:
        """See `Stream`."""
        found: list[float] = np.random.default_rng((*self._key, number)).random(self._size).tolist()
        return found


class Scrambled:
    """A scrambled Sobol sequence, drawn in blocks."""

    def __init__(self, size: int, *key: int) -> None:
        from scipy.stats.qmc import Sobol  # a second to load

        self._sequence = Sobol(size, scramble=True, rng=seed_of(*key))
        self._points: list[list[float]] = []

    def __call__(self, number: int) -> Sequence[float]:
        """See `Stream`."""
        while len(self._points) <= number:
            self._points += self._sequence.random(_BLOCK).tolist()
        return self._points[number]


class Drawing:
    """Draws points that keep the constraints and, where points are listed, are new."""

    def __init__(self, space: ArmSpace, stream: Stream) -> None:
        self._space, self._stream = space, stream
        self._axis = {key: index for index, key in enumerate(space.domains)}

    def draw(self, numbers: Callable[[], int], preset: Mapping[str, Any], seen: set[Key]) -> Values:
        """Return the next point.

        Args:
            numbers: Gives the number of the next point of the stream.
            preset: Values that are not drawn.
            seen: Points that are not to come again, as long as others are left.

        Raises:
            UserError: If no draw keeps the constraints.
        """
        listed = self._space.allowed_points
        num_repeats = 0
        for _ in range(MAX_DRAWS):
            place = self._stream(numbers())
            values = self._space.drawn(
                lambda key, at=place: self._space.domains[key].at(at[self._axis[key]]),  # type: ignore[misc]
                preset,
            )
            if not self._space.allows(values):
                continue
            if listed is None or preset or mark(values) not in seen:
                return values
            num_repeats += 1
            if num_repeats >= MAX_REPEATS or len(seen) >= len(listed):
                unused = (point for point in listed if mark(point) not in seen)
                return dict(next(unused, values))
        what = f"none of {MAX_DRAWS} draws keeps them with {dict(preset)}"
        raise bad_input("sweep.constraints", what, "narrow sweep.space to where they hold")
