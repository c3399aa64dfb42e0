"""Time and money of a whole sweep before it starts, and whether its budget is worth starting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from neft_ray.config.sweep import SweepConfig
from neft_ray.cost.pace import Speed
from neft_ray.cost.schedule import seconds_left
from neft_ray.cost.text import HOUR
from neft_ray.errors import Problem
from neft_ray.plan import ArmPlan, Plan


@dataclass(frozen=True)
class Estimate:
    """What a sweep takes, by the keys of `sweep.budget`."""

    hours: float
    gpu_hours: float
    dollars: float | None
    """None without a price."""

    def amounts(self) -> Mapping[str, float | None]:
        """Return it by those keys."""
        return {"hours": self.hours, "gpu_hours": self.gpu_hours, "dollars": self.dollars}


def estimate(plan: Plan, config: SweepConfig, slots: int, speed: Speed) -> Estimate:
    """Return what a sweep takes on so many slots, all of them held until it ends.

    Args:
        plan: Of the sweep.
        config: For workers and prices.
        slots: Trials at the same time.
        speed: As measured.
    """
    hours = (seconds_left(plan, (), slots, speed) + speed.first_seconds) / HOUR
    workers = config.workers
    gpu_hours = hours * slots * workers.least * workers.gpus
    cpu_hours = hours * slots * workers.least * workers.cpus
    return Estimate(hours, gpu_hours, config.sweep.price.dollars(gpu_hours, cpu_hours))


def least(plan: Plan) -> Plan:
    """Return the smallest sweep that finds anything: every trial to its first rung, finalists."""
    first = plan.rungs[0] if plan.rungs else plan.num_steps
    arms = [_to_first_rung(arm, first) for arm in plan.arms]
    return replace(plan, arms=arms)


def budget_problems(config: SweepConfig, plan: Plan, slots: int, speed: Speed) -> Iterator[Problem]:
    """Yield what is wrong with a budget that ends before the smallest sweep would."""
    needed = estimate(least(plan), config, slots, speed).amounts()
    for key, limit in config.sweep.budget.model_dump().items():
        needs = needed.get(key)
        if limit is not None and needs is not None and needs > limit:
            what = (
                f"{limit:.3g} is less than one round of the search and the finalists, {needs:.3g}"
            )
            remedy = "raise it, or lower sweep.num_trials, sweep.finalists or training.epochs"
            yield Problem(f"sweep.budget.{key}", what, remedy)


def _to_first_rung(arm: ArmPlan, first: int) -> ArmPlan:
    return replace(arm, steps=arm.num_trials * first)
