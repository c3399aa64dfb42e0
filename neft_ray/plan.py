"""The plan of a sweep: arms, trials, rungs and steps against the full grid, before it starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from neft_ray.config.arm_space import ArmSpace, num_trials
from neft_ray.config.schedulers import Bracket, Paced, Population, Rungs
from neft_ray.config.sweep import TREATMENT, SweepConfig
from neft_ray.errors import bad_input


@dataclass(frozen=True)
class ArmPlan:
    """What one arm's search costs.

    Attributes:
        name: The arm.
        num_trials: Configurations searched.
        trials_at_rung: How many trials get as far as each rung if rungs cut evenly.
        steps: Optimizer steps of all its trials, if rungs cut evenly.
        full_steps: The same without early stopping.
        forwards_per_row: How often a step runs each of its rows, in the trial that does so most:
            2 where noise is symmetric. A step then costs twice the time.
        num_left_out: Points that the constraints leave out, where points are listed.
    """

    name: str
    num_trials: int
    trials_at_rung: Sequence[int]
    steps: int
    full_steps: int
    forwards_per_row: int = 1
    num_left_out: int = 0


@dataclass(frozen=True)
class Plan:
    """What a sweep is going to do.

    Attributes:
        num_steps: Optimizer steps of a whole trial.
        rungs: Steps at which the rule compares trials.
        arms: The searches.
        num_finalists: Finalist trials per arm, over all seeds.
    """

    num_steps: int
    rungs: Sequence[int]
    arms: Sequence[ArmPlan]
    num_finalists: int

    @property
    def single(self) -> Plan:
        """The plan of the base trial alone."""
        arm = ArmPlan(TREATMENT, 0, (), 0, 0)
        return Plan(self.num_steps, (), (arm,), 1)

    @property
    def finalist_steps(self) -> int:
        """Optimizer steps of all finalists, which run to their end."""
        return self.num_finalists * len(self.arms) * self.num_steps

    @property
    def groups(self) -> list[tuple[str, str, int]]:
        """Arm, phase and number of trials."""
        searches = [(arm.name, "search", arm.num_trials) for arm in self.arms]
        finals = [(arm.name, "finalist", self.num_finalists) for arm in self.arms]
        return searches + (finals if self.num_finalists else [])


def make_plan(config: SweepConfig, num_steps: int, num_tokens: int = 0) -> Plan:
    """Return the plan of a sweep.

    Args:
        config: The sweep.
        num_steps: Optimizer steps of its base trial.
        num_tokens: Tokens that the base trial trains on, for rungs in tokens.
    """
    search = config.sweep
    length = Length(num_steps, num_tokens)
    rungs = length.rungs(search.scheduler) if isinstance(search.scheduler, Rungs) else []
    arms = [_arm(name, num_trials(config, name), rungs, length, config) for name in search.arms]
    num_finalists = search.finalists.num * len(search.finalists.seeds)
    return Plan(num_steps, rungs, arms, num_finalists)


def check_first_rung(config: SweepConfig, num_steps: int, num_tokens: int) -> None:
    """Refuse a scheduler that would never compare anything.

    Args:
        config: The sweep.
        num_steps: Optimizer steps of its base trial.
        num_tokens: Tokens that the base trial trains on.

    Raises:
        UserError: If its first comparison is not before the end of the base trial.
    """
    scheduler = config.sweep.scheduler
    if isinstance(scheduler, Population):
        key, first, length = "interval_steps", scheduler.interval_steps, num_steps
    elif isinstance(scheduler, Paced):
        length = num_steps if scheduler.unit == "steps" else num_tokens
        key, first = f"grace_{scheduler.unit}", scheduler.grace
    else:
        return
    if first >= length:
        what = f"{first:,}, and a trial ends at {length:,}: none would ever be compared"
        remedy = "write less, train for more epochs, or write `scheduler: {kind: none}`"
        raise bad_input(f"sweep.scheduler.{key}", what, remedy)


@dataclass(frozen=True)
class Length:
    """How long the base trial is, in either unit of a scheduler."""

    num_steps: int
    num_tokens: int

    def rungs(self, scheduler: Rungs) -> list[int]:
        """Return the optimizer steps, about, at which a scheduler compares."""
        return [self.steps_at(scheduler, place) for place in scheduler.rungs(self._of(scheduler))]

    def brackets(self, scheduler: Rungs, num_trials: int) -> list[Bracket]:
        """Return the brackets of an arm, with rungs in optimizer steps."""
        return [
            Bracket(size, tuple(self.steps_at(scheduler, place) for place in rungs))
            for size, rungs in scheduler.brackets(self._of(scheduler), num_trials)
        ]

    def steps_at(self, scheduler: Rungs, place: int) -> int:
        """Return the optimizer steps of a place in the scheduler's unit."""
        return -(-place * self.num_steps // self._of(scheduler))

    def _of(self, scheduler: Rungs) -> int:
        return self.num_steps if scheduler.unit == "steps" else self.num_tokens


def _arm(
    name: str, num_trials: int, rungs: Sequence[int], length: Length, config: SweepConfig
) -> ArmPlan:
    scheduler, num_steps = config.sweep.scheduler, length.num_steps
    at_rung, steps = dict.fromkeys(rungs, 0), 0
    brackets, eta = [Bracket(num_trials, ())], 1
    if isinstance(scheduler, Rungs):
        brackets, eta = length.brackets(scheduler, num_trials), scheduler.eta
    for alive, places in brackets:
        before = 0
        for place in places:
            steps += alive * (place - before)
            at_rung[place] += alive
            alive, before = max(1, alive // eta), place
        steps += alive * (num_steps - before)
    forwards = _forwards_per_row(config, config.sweep.arms[name])
    full_steps, left_out = num_trials * num_steps, ArmSpace.of(config, name).num_left_out
    return ArmPlan(name, num_trials, list(at_rung.values()), steps, full_steps, forwards, left_out)


def _forwards_per_row(config: SweepConfig, fixed: Mapping[str, object]) -> int:
    """Return the most that `NoiseConfig.num_copies` becomes in an arm."""
    seen: dict[str, Sequence[object]] = {}
    for key in ("alpha", "symmetric"):
        dotted, base = f"noise.{key}", getattr(config.noise, key)
        domain = config.sweep.space.get(dotted)
        searched = domain.corners if domain is not None else (base,)
        seen[key] = (fixed[dotted],) if dotted in fixed else searched
    noises = (
        config.noise.model_copy(update={"alpha": alpha, "symmetric": symmetric})
        for alpha in seen["alpha"]
        for symmetric in seen["symmetric"]
    )
    return max(noise.num_copies for noise in noises)
