"""What a rule is: it decides after every report of an arm's trials which of them go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from neft_ray.config.space import Domain
from neft_ray.journal import CONTINUE, TrialRecord

Values = dict[str, Any]
Allows = Callable[[Mapping[str, Any]], bool]


@dataclass(frozen=True)
class Resume:
    """A paused trial goes on."""

    trial: int


@dataclass(frozen=True)
class Cut:
    """A paused trial ends."""

    trial: int
    reason: str


@dataclass(frozen=True)
class Branch:
    """A paused trial ends, and a new one goes on from another's checkpoint with other values."""

    replaced: int
    donor: int
    step: int
    values: Values
    """Of the whole new trial: those of the donor, and its `changes`."""


Move = Resume | Cut | Branch


@dataclass(frozen=True)
class ArmFacts:
    """What a rule needs to know of its arm.

    Attributes:
        num_trials: Planned.
        length: Of the base trial, in the scheduler's unit; others may be shorter or longer.
        space: What the arm searches.
        base: The base trial's values of the keys that are searched.
        allows: Whether a trial's values keep the constraints.
        seed: Of the searcher.
    """

    num_trials: int
    length: int
    space: Mapping[str, Domain]
    base: Values
    allows: Allows
    seed: int = 0


class Rule(Protocol):
    """Decides after every report, in the order they arrive, by nothing but these reports.

    Telling a new rule of the same events in the same order brings it to the same state: this is
    how a sweep goes on after a crash.
    """

    takes_more: ClassVar[bool]
    """Whether an arm may have more trials than planned, to make up for steps that were saved."""

    def added(self, record: TrialRecord) -> None:
        """Note a new trial."""

    def reported(self, record: TrialRecord, place: int, loss: float) -> str:
        """Record a report and return CONTINUE, STOP or PAUSE.

        Args:
            record: The trial, without this report.
            place: How far it has come, in the scheduler's unit.
            loss: Its select loss, finite.
        """

    def ended(self, record: TrialRecord) -> None:
        """Note that a running trial ended by itself and reports no more."""

    def move(self) -> Move | None:
        """Return what is to become of a paused trial next; None while there is nothing to say."""

    def made(self, move: Move) -> None:
        """Note that the move which `move` returned was made."""


class Never:
    """Stops nothing; the base of rules that never pause."""

    takes_more: ClassVar[bool] = True

    def added(self, record: TrialRecord) -> None:
        """See `Rule`."""

    def reported(self, record: TrialRecord, place: int, loss: float) -> str:
        """See `Rule`."""
        return CONTINUE

    def ended(self, record: TrialRecord) -> None:
        """See `Rule`."""

    def move(self) -> Move | None:
        """See `Rule`."""
        return None

    def made(self, move: Move) -> None:
        """See `Rule`."""
