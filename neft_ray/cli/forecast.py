"""Prints what a sweep would do and cost."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from neft_ray.cli.memory import print_memory
from neft_ray.cost.evaluation import EvaluationShare
from neft_ray.cost.forecast import Forecast
from neft_ray.cost.text import size_text, time_text
from neft_ray.errors import UserError
from neft_ray.plan import Plan


def print_forecast(console: Console, found: Forecast) -> None:
    """Show trials, rungs, disk, time, money and memory; what is not known is said to be unknown."""
    rows = ", ".join(f"{count} {name}" for name, count in found.num_rows.items())
    console.print(f"rows     {rows}")
    _print_trials(console, found.plan)
    _print_evaluations(console, found.evaluations)
    _print_disk(console, found)
    _print_costs(console, found)
    print_memory(console, found.memory)


def _print_trials(console: Console, made: Plan) -> None:
    table = Table("arm", "phase", "trials", *(f"at step {r}" for r in made.rungs), "steps")
    for arm in made.arms:
        at_rungs = [str(count) for count in arm.trials_at_rung]
        table.add_row(arm.name, "search", str(arm.num_trials), *at_rungs, str(arm.steps))
    blanks = [""] * len(made.rungs)
    for arm in made.arms if made.num_finalists else []:
        steps = str(made.num_finalists * made.num_steps)
        table.add_row(arm.name, "finalists", str(made.num_finalists), *blanks, steps)
    console.print(table)
    search = sum(arm.steps for arm in made.arms)
    full = sum(arm.full_steps for arm in made.arms)
    console.print(
        f"a whole trial is {made.num_steps} steps; the search takes about {search} of {full} steps "
        f"without early stopping ({search / full:.0%}), the finalists {made.finalist_steps} more"
    )
    for arm in made.arms:
        if arm.num_trials < max(other.num_trials for other in made.arms):
            console.print(f"the {arm.name} arm has no more points than that to try")
        if arm.num_left_out:
            points = f"{arm.num_left_out} points of the {arm.name} arm"
            console.print(f"the constraints leave out {points}")
        if arm.forwards_per_row > 1:
            times = f"{arm.forwards_per_row} times the time"
            console.print(
                f"symmetric noise: a step of the {arm.name} arm takes {times} of a plain one"
            )


def _print_evaluations(console: Console, found: EvaluationShare) -> None:
    text = f"evaluations are about {found.share:.0%} of a trial's operations"
    if not found.is_little:
        text += f"; with training.eval_every_steps: {found.enough_steps} they would be a tenth"
    console.print(text)


def _print_disk(console: Console, found: Forecast) -> None:
    need = found.disk
    if isinstance(need, UserError):
        console.print(f"disk     unknown: {need}")
        return
    console.print(
        f"disk     about {size_text(need.total)}: at most {need.num_checkpoints} checkpoints of "
        f"{size_text(need.checkpoint)}, and {size_text(need.models)} of models; "
        f"{size_text(found.free_bytes)} are free"
    )


def _print_costs(console: Console, found: Forecast) -> None:
    if found.slots is None:
        console.print("slots    unknown: trials are to run on another machine; give --slots")
        return
    console.print(f"slots    {found.slots} {'trial' if found.slots == 1 else 'trials'} at a time")
    speed, cost, first = found.speed, found.estimate, found.first_result_seconds
    if speed is None or cost is None or first is None:
        console.print(
            "time     unknown: no run here did the same work; --measure times a few steps"
        )
        return
    steps = ", ".join(f"{arm.name} {speed.of(arm.name):.3g} s" for arm in found.plan.arms)
    console.print(
        f"time     about {time_text(cost.hours * 3600)}, the first result after "
        f"{time_text(first)}; a step with its share of evaluations: {steps} ({speed.source})"
    )
    dollars = "unknown dollars (set sweep.price)"
    if cost.dollars is not None:
        dollars = f"{cost.dollars:.2f} dollars"
    console.print(f"cost     {cost.gpu_hours:.3g} GPU-hours, {dollars}")
    for key, limit in found.config.sweep.budget.model_dump().items():
        needs = cost.amounts()[key]
        if limit is not None and needs is not None:
            ends = "ends the search early" if needs > limit else "is enough"
            console.print(f"budget   {limit:.3g} {key.replace('_', ' ')} of {needs:.3g}: {ends}")
