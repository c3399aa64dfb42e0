"""The command that says what a sweep would do and cost before it starts: plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from neft_ray.cli.options import AsJson, AsStandIn, Overrides, SweepFile, grouped
from neft_ray.cli.sweeps import replaced
from neft_ray.cli.values import forecast_values, print_json
from neft_ray.config.load import load_sweep
from neft_ray.errors import ExitCode, UserError
from neft_ray.plan import check_first_rung, make_plan
from neft_ray.sweep.address import is_here
from neft_ray.terminal import waiting
from neft_ray.working_copy import here

if TYPE_CHECKING:  # they load torch
    from neft_ray.config.sweep import SweepConfig
    from neft_ray.cost.forecast import Forecast

Compare = Annotated[bool, typer.Option(help="Memory under all strategies and stages.")]
Slots = Annotated[
    int | None, typer.Option(min=1, help="Trials at the same time; default: as this machine holds.")
]
Measure = Annotated[
    bool, typer.Option("--measure", help="Time a few real steps of the base trial now.")
]


@dataclass(frozen=True)
class Asked:
    """The options of `plan`."""

    overrides: Overrides = None
    compare: Compare = False
    slots: Slots = None
    measure: Measure = False
    stand_in: AsStandIn = False
    as_json: AsJson = False


@grouped
def plan(file: SweepFile, asked: Asked) -> None:
    """Show what a sweep would do and cost: trials, rungs, time, money, disk, memory.

    Ends with an error if it cannot fit. What is not known is said to be unknown.
    """
    config = load_sweep(file, asked.overrides or [])
    if asked.stand_in:
        config, _ = replaced(config)
    with waiting("reading model and data, tokenizing what is new"):
        found = _forecast(config, asked)
    problems = list(found.problems())
    if asked.as_json:
        print_json(forecast_values(found))
        raise typer.Exit(ExitCode.BAD_INPUT if problems else ExitCode.OK)
    from neft_ray.cli.forecast import print_forecast

    print_forecast(Console(soft_wrap=True, highlight=False, markup=False), found)
    if problems:
        raise UserError(problems)


def _forecast(config: SweepConfig, asked: Asked) -> Forecast:
    from neft_ray.cost.earlier import earlier_speed
    from neft_ray.cost.forecast import make_forecast
    from neft_ray.cost.here import slots_here
    from neft_ray.cost.measure import measure
    from neft_ray.pipeline.session import open_data

    data = open_data(config)
    lengths = data.lengths(config.trial)
    check_first_rung(config, *lengths)
    made, tokenized = make_plan(config, *lengths), data.data(config.trial)
    slots = asked.slots or (slots_here(config) if is_here() else config.sweep.slots)
    earlier = None if asked.measure else earlier_speed(config, here(config.storage))
    speed = measure(config, made, tokenized) if asked.measure else earlier
    return make_forecast(config, made, tokenized, slots, speed, asked.compare)


COMMANDS = [plan]
