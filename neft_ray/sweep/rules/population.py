"""Population-based training (Jaderberg et al., arXiv 1711.09846), all trials in step.

Deciding only when the whole population has come as far makes what follows independent of the order
in which reports arrive, and of the number of slots.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Protocol

import numpy as np

from neft_ray.config.schedulers import Pbt, Population
from neft_ray.config.space import Choice, Domain, LogUniform
from neft_ray.config.trial import LIVE_KEYS
from neft_ray.journal import CONTINUE, PAUSE, TrialRecord
from neft_ray.sweep.rules.base import Allows, ArmFacts, Branch, Move, Never, Resume, Values

MAX_TRIES = 100


class Explorer(Protocol):
    """Chooses the values with which a trial goes on from another's checkpoint."""

    def observed(self, generation: int, values: Values, before: float, after: float) -> None:
        """Note what an interval with these live values did to the select loss."""

    def explore(
        self, generation: int, values: Values, random: np.random.Generator, allows: Allows
    ) -> Values:
        """Return new live values near or better than the donor's.

        Args:
            generation: How many intervals have passed.
            values: The donor's.
            random: Of this branch alone.
            allows: Whether live values keep the constraints; the donor's do.
        """


class InStep(Never):
    """Pauses every trial after an interval; then the worst take over from the best."""

    takes_more: ClassVar[bool] = False

    def __init__(self, config: Population, arm: ArmFacts, explorer: Explorer, base: Values) -> None:
        """Begin without trials.

        Args:
            config: The scheduler's section.
            arm: What it is to know of its arm.
            explorer: Chooses new values.
            base: The base trial's live values that are searched, where a trial has none.
        """
        self._config, self._seed = config, arm.seed
        self._size, self._length = arm.num_trials, arm.length
        self._explorer, self._base, self._allows = explorer, base, arm.allows
        self._generation = 1
        self._members: dict[int, TrialRecord] = {}
        self._place: dict[int, int] = {}
        """Which member of the population a trial is, whatever its number."""
        self._vacant = 0
        """The place of the member that was replaced last."""
        self._losses: dict[int, float] = {}
        self._before: dict[int, float] = {}
        self._moves: deque[Move] = deque()

    def added(self, record: TrialRecord) -> None:
        """See `Rule`."""
        self._members[record.number] = record
        if record.parent is None:
            self._place[record.number] = len(self._members) - 1
        else:
            self._place[record.number] = self._vacant
            self._before[record.number] = self._before[record.parent]

    def reported(self, record: TrialRecord, place: int, loss: float) -> str:
        """See `Rule`."""
        due = self._generation * self._config.interval_steps
        if place < due or due >= self._length:
            return CONTINUE
        self._losses[record.number] = loss
        self._decide()
        return PAUSE

    def ended(self, record: TrialRecord) -> None:
        """See `Rule`."""
        self._size -= 1
        del self._members[record.number]
        self._decide()

    def move(self) -> Move | None:
        """See `Rule`."""
        return self._moves[0] if self._moves else None

    def made(self, move: Move) -> None:
        """See `Rule`."""
        self._moves.popleft()
        if isinstance(move, Branch):
            self._vacant = self._place[move.replaced]
            del self._members[move.replaced]

    def _decide(self) -> None:
        """Once all members have reported, say how each goes on: donors before they move on."""
        if not self._members or len(self._losses) < self._size:
            return
        ranked = sorted(self._losses, key=lambda n: (self._losses[n], self._place[n]))
        for number in self._in_place(self._before.keys() & self._losses.keys()):
            values, before = self._live(self._members[number].values), self._before[number]
            self._explorer.observed(self._generation, values, before, self._losses[number])
        num = math.floor(len(ranked) * self._config.quantile_fraction)
        best, worst = ranked[:num], ranked[len(ranked) - num :]
        step = self._generation * self._config.interval_steps
        branches = [self._branch(number, best, step) for number in self._in_place(worst)]
        going_on = sorted(set(ranked) - set(worst))
        self._moves += [*branches, *(Resume(number) for number in going_on)]
        self._before, self._losses = self._losses, {}
        self._generation += 1

    def _in_place(self, numbers: Iterable[int]) -> list[int]:
        return sorted(numbers, key=lambda number: self._place[number])

    def _branch(self, replaced: int, best: list[int], step: int) -> Branch:
        random = np.random.default_rng((self._seed, self._generation, self._place[replaced]))
        donor = self._members[int(random.choice(best))]
        live = self._explorer.explore(
            self._generation,
            self._live(donor.values),
            random,
            lambda live: self._allows({**donor.values, **live}),
        )
        change = {"after_step": step, **{LIVE_KEYS[key]: value for key, value in live.items()}}
        values = {**donor.values, "changes": [*donor.values.get("changes", ()), change]}
        return Branch(replaced, donor.number, step, values)

    def _live(self, values: Mapping[str, Any]) -> Values:
        """Return the searched live values that a trial trains with at its end."""
        found = {key: values.get(key, self._base[key]) for key in self._base}
        for change in values.get("changes", ()):
            found |= {key: change[LIVE_KEYS[key]] for key in found if LIVE_KEYS[key] in change}
        return found


class Perturbation:
    """PBT's explorer: multiply the donor's value by a factor, or draw it from the space anew."""

    def __init__(self, config: Pbt, space: Mapping[str, Domain]) -> None:
        self._config, self._space = config, space

    def observed(self, generation: int, values: Values, before: float, after: float) -> None:
        """See `Explorer`."""

    def explore(
        self, generation: int, values: Values, random: np.random.Generator, allows: Allows
    ) -> Values:
        """See `Explorer`. The donor's values where no change keeps the constraints."""
        for _ in range(MAX_TRIES):
            found = {key: self._one(self._space[key], at, random) for key, at in values.items()}
            if allows(found):
                return found
        return values

    def _one(self, domain: Domain, value: float, random: np.random.Generator) -> float:
        draws_anew = random.random() < self._config.resample_fraction
        if isinstance(domain, Choice):
            numbers = sorted(float(choice) for choice in domain.choice)  # type: ignore[arg-type]
            here = int(np.argmin([abs(number - value) for number in numbers]))
            step = random.choice((-1, 1))
            near = min(max(here + step, 0), len(numbers) - 1)
            return numbers[int(random.integers(len(numbers)))] if draws_anew else numbers[near]
        low, high = domain.corners
        if not draws_anew:
            return float(min(max(value * random.choice(self._config.factors), low), high))
        if isinstance(domain, LogUniform):
            return float(math.exp(random.uniform(math.log(low), math.log(high))))
        return float(random.uniform(low, high))
