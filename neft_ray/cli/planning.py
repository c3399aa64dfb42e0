"""The command that says what a sweep would do and cost before it starts: plan."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from neft_ray.cli.options import AsStandIn, Overrides, SweepFile
from neft_ray.cli.sweeps import replaced
from neft_ray.config.load import load_sweep
from neft_ray.config.sweep import SweepConfig
from neft_ray.cost.disk import DiskNeed, disk_need, disk_problem
from neft_ray.cost.estimate import budget_problems, estimate
from neft_ray.cost.text import size_text, time_text
from neft_ray.errors import Problem, UserError
from neft_ray.plan import Plan, check_first_rung, make_plan
from neft_ray.sweep.address import is_here
from neft_ray.working_copy import here

if TYPE_CHECKING:  # they load torch
    from neft_ray.cost.evaluation import EvaluationShare
    from neft_ray.cost.pace import Speed
    from neft_ray.data.tokenized import TokenizedData

Compare = Annotated[bool, typer.Option(help="Memory under all strategies and stages.")]
Slots = Annotated[
    int | None, typer.Option(min=1, help="Trials at the same time; default: as this machine holds.")
]
Measure = Annotated[
    bool, typer.Option("--measure", help="Time a few real steps of the base trial now.")
]


def plan(
    file: SweepFile,
    overrides: Overrides = None,
    compare: Compare = False,
    slots: Slots = None,
    measure: Measure = False,
    stand_in: AsStandIn = False,
) -> None:
    """Show what a sweep would do and cost: trials, rungs, time, money, disk, memory.

    Ends with an error if it cannot fit. What is not known is said to be unknown.
    """
    from neft_ray.cost.evaluation import evaluation_share
    from neft_ray.cost.here import slots_here
    from neft_ray.pipeline.session import open_data

    config = load_sweep(file, overrides or [])
    if stand_in:
        config, _ = replaced(config)
    data = open_data(config)
    tokenized = data.data(config.trial)
    lengths = data.lengths(config.trial)
    check_first_rung(config, *lengths)
    made = make_plan(config, *lengths)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    rows = tokenized.summary["rows"]
    console.print(f"rows     {', '.join(f'{count} {name}' for name, count in rows.items())}")
    _print_trials(console, made)
    _print_evaluations(console, evaluation_share(config.trial, tokenized))
    planned = _Planned(
        config, made, slots or (slots_here(config) if is_here() else config.sweep.slots)
    )
    problems = [
        *planned.print_disk(console, tokenized),
        *planned.print_costs(console, planned.speed(tokenized if measure else None)),
        *planned.print_memory(console, tokenized, compare),
    ]
    if problems:
        raise UserError(problems)


@dataclass(frozen=True)
class _Planned:
    config: SweepConfig
    plan: Plan
    slots: int | None
    """None where it is not known."""

    def speed(self, measured_on: TokenizedData | None) -> Speed | None:
        from neft_ray.cost.earlier import earlier_speed
        from neft_ray.cost.measure import measure

        if measured_on is not None:
            return measure(self.config, self.plan, measured_on)
        return earlier_speed(self.config, here(self.config.storage))

    def print_disk(self, console: Console, data: TokenizedData) -> Iterator[Problem]:
        from neft_ray.memory.predict import Predictor

        config, storage = self.config, here(self.config.storage)
        try:
            sizes = Predictor(config.trial, data.summary["longest_tokens"]).sizes
        except UserError as error:
            console.print(f"disk     unknown: {error}")
            return
        need = disk_need(config, self.plan, sizes.trained, sizes.all, self.slots or 1)
        console.print(f"disk     {_disk_text(need)}; {size_text(_free(storage))} are free")
        if (problem := disk_problem(storage, need, _free(storage))) is not None:
            yield problem

    def print_costs(self, console: Console, speed: Speed | None) -> Iterator[Problem]:
        if self.slots is None:
            console.print("slots    unknown: trials are to run on another machine; give --slots")
            return
        console.print(f"slots    {self.slots} {'trial' if self.slots == 1 else 'trials'} at a time")
        if speed is None:
            console.print(
                "time     unknown: no run here did the same work; --measure times a few steps"
            )
            return
        config, found = self.config, estimate(self.plan, self.config, self.slots, speed)
        first = speed.first_seconds + max(speed.step_seconds.values()) * (
            config.training.eval_every_steps
        )
        steps = ", ".join(f"{arm.name} {speed.of(arm.name):.3g} s" for arm in self.plan.arms)
        console.print(
            f"time     about {time_text(found.hours * 3600)}, the first result after "
            f"{time_text(first)}; a step with its share of evaluations: {steps} ({speed.source})"
        )
        dollars = "unknown dollars (set sweep.price)"
        if found.dollars is not None:
            dollars = f"{found.dollars:.2f} dollars"
        console.print(f"cost     {found.gpu_hours:.3g} GPU-hours, {dollars}")
        for key, limit in config.sweep.budget.model_dump().items():
            needs = found.amounts()[key]
            if limit is not None and needs is not None:
                ends = "ends the search early" if needs > limit else "is enough"
                console.print(
                    f"budget   {limit:.3g} {key.replace('_', ' ')} of {needs:.3g}: {ends}"
                )
        yield from budget_problems(config, self.plan, self.slots, speed)

    def print_memory(
        self, console: Console, data: TokenizedData, compare: bool
    ) -> Iterator[Problem]:
        from neft_ray.cli.memory import print_memory

        longest = data.summary["longest_tokens"]
        found = print_memory(console, self.config, longest, compare, self.slots)
        if found is not None:
            yield found


COMMANDS = [plan]


def _free(storage: Path) -> int:
    there = next(folder for folder in (storage, *storage.resolve().parents) if folder.exists())
    return shutil.disk_usage(there).free


def _disk_text(need: DiskNeed) -> str:
    return (
        f"about {size_text(need.total)}: at most {need.num_checkpoints} checkpoints of "
        f"{size_text(need.checkpoint)}, and {size_text(need.models)} of models"
    )


def _print_evaluations(console: Console, found: EvaluationShare) -> None:
    text = f"evaluations are about {found.share:.0%} of a trial's operations"
    if not found.is_little:
        text += f"; with training.eval_every_steps: {found.enough_steps} they would be a tenth"
    console.print(text)


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
