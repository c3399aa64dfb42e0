"""Proposers that learn: Optuna's samplers, told of the arm's trials anew for every proposal.

A sampler is seeded from (seed, arm, n) and sees what `told.py` makes of the history, so there is no
random state to keep: after a crash the same history gives the same next proposal.
"""

from __future__ import annotations

import copy
from collections.abc import Container, Mapping, Sequence
from itertools import count
from typing import Any

import optuna
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from neft_ray.config.arm_space import ArmSpace
from neft_ray.config.space import Values
from neft_ray.journal import TrialRecord
from neft_ray.sweep.search.draws import Drawing, Random, mark, seed_of
from neft_ray.sweep.search.encoding import Encoding
from neft_ray.sweep.search.models import Model
from neft_ray.sweep.search.supply import Supply
from neft_ray.sweep.search.told import Memory, Place

MAX_ASKED = 4
"""So often the model is asked again where a proposal breaks a constraint or repeats a point."""


class Modelled:
    """Asks a model; draws at random where it has nothing to say, or nothing usable."""

    def __init__(
        self,
        space: ArmSpace,
        model: Model,
        key: tuple[int, int],
        num_trials: int,
        first: Sequence[Values],
        told: tuple[Place, str],
    ) -> None:
        """Learn within a space.

        Args:
            space: The arm's.
            model: Learns.
            key: The searcher's seed and the arm's number.
            num_trials: Planned.
            first: Points to try first, whole or in part.
            told: How far a report's trial had come, and which objective counts.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space, self._model, self._key, self._first = space, model, key, first
        self._encoding = Encoding(space, model.fills_in)
        self._memory = Memory(self._encoded, *told)
        self._supply = Supply(space, num_trials)
        self.num_trials = self._supply.num_trials
        self.num_left, self.can_go_on = self._supply.num_left, self._supply.can_go_on

    def propose(self, history: Sequence[TrialRecord], priors: Sequence[TrialRecord] = ()) -> Values:
        """See `Proposer`."""
        number = len(history)
        preset = self._first[number] if number < len(self._first) else {}
        known = self._model.view(number, self._memory.update([*priors, *history]))
        listed = self._space.allowed_points
        seen = self._supply.seen(history)
        for attempt in range(MAX_ASKED) if known is not None and self._space.domains else ():
            values = self._asked(known or [], seed_of(*self._key, number, attempt), preset)
            is_new = listed is None or bool(preset) or mark(values) not in seen
            if is_new and self._space.allows(values):
                return values
        stream = Random(len(self._space.domains), *self._key, number, MAX_ASKED)
        return Drawing(self._space, stream).draw(count().__next__, preset, seen)

    def _encoded(self, values: Mapping[str, Any]) -> tuple[Any, Any] | None:
        return self._encoding.params(values) if self._space.holds(values) else None

    def _asked(self, known: Sequence[FrozenTrial], seed: int, preset: Mapping[str, Any]) -> Values:
        study = optuna.create_study(
            direction="minimize", storage=_Known(known), sampler=self._model.sampler(seed)
        )
        trial = study.ask()
        return self._space.drawn(lambda key: self._encoding.suggested(trial, key), preset)


class _Known(InMemoryStorage):  # type: ignore[misc]
    """A storage in which the given trials lie beside the one that is asked for.

    Optuna would copy and check every trial of every proposal; a history only grows.
    """

    def __init__(self, known: Sequence[FrozenTrial]) -> None:
        super().__init__()
        self._given = known

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the given trials, whose numbers begin at 1, and then the asked one, number 0."""
        given = [trial for trial in self._given if states is None or trial.state in states]
        given += super().get_all_trials(study_id, deepcopy=False, states=states)
        return copy.deepcopy(given) if deepcopy else given
