"""The `scheduler` section: which trials are cut, paused or changed on their way."""

from __future__ import annotations

import math
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from neft_ray.config.base import Count, Fraction, Section, broken_rule


class NoStopping(Section):
    """Every trial runs to its end."""

    kind: Literal["none"]


class Paced(Section):
    """Compares trials from a first point on, counted in optimizer steps or in tokens."""

    grace_steps: Count | None = None
    """The first rung, in optimizer steps."""
    grace_tokens: Count | None = None
    """The first rung, in tokens trained: for trials whose steps differ in size."""

    @model_validator(mode="after")
    def _one_unit(self) -> Self:
        if (self.grace_steps is None) == (self.grace_tokens is None):
            raise broken_rule(
                "needs one of grace_steps and grace_tokens", "write how long no trial is cut"
            )
        return self

    @property
    def unit(self) -> Literal["steps", "tokens"]:
        """What rungs are counted in."""
        return "steps" if self.grace_tokens is None else "tokens"

    @property
    def grace(self) -> int:
        """The first rung, in `unit`."""
        return self.grace_steps or self.grace_tokens or 0


class Bracket(NamedTuple):
    """Trials that are compared with each other."""

    size: int
    """How many begin in it."""
    rungs: tuple[int, ...]
    """Where they are compared."""


class Rungs(Paced):
    """Compares trials at rungs that are `eta` times further apart each."""

    eta: Annotated[int, Field(ge=2)] = 4
    """At a rung the best 1/eta of the trials go on."""

    def rungs(self, length: int) -> list[int]:
        """Return where trials of a `length`, in `unit`, are compared."""
        places, place = [], self.grace
        while place < length:
            places.append(place)
            place *= self.eta
        return places

    def brackets(self, length: int, num_trials: int) -> list[Bracket]:
        """Return the brackets of an arm whose trials are of a `length`, in `unit`."""
        return [Bracket(num_trials, tuple(self.rungs(length)))]


class Asha(Rungs):
    """Asynchronous successive halving (Li et al., arXiv 1810.05934)."""

    kind: Literal["asha"]
    promote: bool = False
    """False, the stopping variant: a trial that is among the best 1/eta of those that reached the
    rung before it goes on, others end. True, the paper's: every trial pauses at a rung, and goes on
    from its checkpoint as soon as it is among the best 1/eta."""


class Halving(Rungs):
    """Successive halving in step: a rung is decided when all trials have reached it."""

    kind: Literal["halving"]


class Hyperband(Rungs):
    """Halving in several brackets (Li et al., arXiv 1603.06560).

    Each has a later first rung and fewer trials, for losses whose order early on says little.
    """

    kind: Literal["hyperband"]

    def brackets(self, length: int, num_trials: int) -> list[Bracket]:
        """Return brackets of about equal cost, the one that cuts earliest first.

        They repeat until all trials have a place.
        """
        rungs = tuple(self.rungs(length))
        found: list[Bracket] = []
        while num_trials:
            for num_skipped in range(len(rungs) + 1):
                num_cuts = len(rungs) - num_skipped
                size = math.ceil((len(rungs) + 1) / (num_cuts + 1) * self.eta**num_cuts)
                size = min(size, num_trials)
                num_trials -= size
                found += [Bracket(size, rungs[num_skipped:])] * bool(size)
        return found


class MedianStopping(Paced):
    """Stop a trial whose best loss is worse than the median of the others' running averages."""

    kind: Literal["median"]
    min_trials: Count = 3
    """So many other trials must have come as far before one is stopped."""


class Population(Section):
    """Trains all trials side by side; the worst take over from the best, with other values."""

    interval_steps: Count
    """Optimizer steps between two comparisons; all trials wait for the last one."""
    quantile_fraction: Annotated[float, Field(gt=0, le=0.5)] = 0.25
    """So many of the worst go on from the checkpoints of as many of the best."""


class Pbt(Population):
    """Population-based training (Jaderberg et al., arXiv 1711.09846) of α and learning rate."""

    kind: Literal["pbt"]
    factors: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.8, 1.25)
    """A value that is taken over is multiplied by one of these."""
    resample_fraction: Fraction = 0.25
    """How often it is drawn from the space anew instead."""


class Pb2(Population):
    """Population-based bandits (Parker-Holder et al., arXiv 2002.02518).

    New values come from a Gaussian process of what improved the loss: few trials are enough.
    """

    kind: Literal["pb2"]


Scheduler = Annotated[
    NoStopping | Asha | Halving | Hyperband | MedianStopping | Pbt | Pb2,
    Field(discriminator="kind"),
]
