"""Commands that check, plan and run: quickstart, validate, plan, sweep, train."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from neft_ray.cli.options import (
    DEFAULT_STORAGE,
    NOT_GIVEN,
    AsJson,
    Overrides,
    Start,
    SweepFile,
    grouped,
)
from neft_ray.cli.values import print_json, problem_values
from neft_ray.config.load import load_sweep
from neft_ray.config.recipes import find_sweep_file, recipe_names
from neft_ray.config.recipes import folder as recipe_folder
from neft_ray.config.recipes import recipes as all_recipes
from neft_ray.config.sweep import SweepConfig
from neft_ray.errors import ExitCode, Problem, UserError, bad_input
from neft_ray.journal import read_records
from neft_ray.run_directory import RunDirectory, find_run
from neft_ray.strategy.checks import sweep_problems
from neft_ray.sweep.address import is_here
from neft_ray.terminal import waiting
from neft_ray.working_copy import here

Memory = Annotated[bool, typer.Option(help="Warn of trials that do not fit this machine's memory.")]
PLAINLY = Start()


def quickstart(overrides: Overrides = None) -> None:
    """Run the built-in sweep: a tiny pretrained model, α × learning rate, in minutes."""
    _run("sweep", quickstart_file(), Start(overrides))


def validate(
    files: Annotated[
        list[Path], typer.Argument(parser=find_sweep_file, metavar="FILE…", help="Sweep files.")
    ],
    memory: Memory = False,
    as_json: AsJson = False,
) -> None:
    """Check sweep files: every key, type, bound, every corner of the search space, this machine."""
    from neft_ray.cli.memory import warn_of_memory

    problems: list[Problem] = []
    for file in files:
        try:
            config = load_sweep(file)
            if memory:
                warn_of_memory(Console(stderr=True, markup=False), file, config)
        except UserError as error:
            problems += error.problems
            continue
        lacking = sweep_problems(config) if is_here() else []
        problems += [replace(problem, where=f"{file}: {problem.where}") for problem in lacking]
        if not lacking and not as_json:
            typer.echo(f"{file}: ok")
    if as_json:
        print_json([problem_values(problem) for problem in problems])
        raise typer.Exit(ExitCode.BAD_INPUT if problems else ExitCode.OK)
    if problems:
        raise UserError(problems)


@grouped
def sweep(file: SweepFile = NOT_GIVEN, start: Start = PLAINLY) -> None:
    """Search α, the learning rate or any other setting, with early stopping and two arms."""
    _run("sweep", file, start)


@grouped
def train(file: SweepFile = NOT_GIVEN, start: Start = PLAINLY) -> None:
    """Run one trial with the values as written; the `sweep` section is not used."""
    _run("train", file, start)


def recipes(find: Annotated[str, typer.Argument(help="Part of a name.")] = "") -> None:
    """List the sweep files that ship with neft_ray, by the names that commands take."""
    table = Table("name", "what", "paper: plain → NEFTune, %", "cost", box=None)
    table.columns[0].no_wrap, table.columns[0].min_width = True, max(map(len, recipe_names()))
    for recipe in all_recipes():
        if find in recipe.name:
            table.add_row(
                recipe.name, recipe.title, *(recipe.facts.get(k, "") for k in ("paper", "cost"))
            )
    Console(markup=False, highlight=False).print(table)


COMMANDS = [quickstart, recipes, validate, sweep, train]


def quickstart_file() -> Path:
    """Return the sweep file that ships with the package."""
    return recipe_folder() / "quickstart.yaml"


def _take_token(file: Path | None) -> None:
    """Take a secret from a file into this process, from where workers are told it."""
    if file is not None:
        try:
            os.environ["HF_TOKEN"] = file.read_text().strip()
            file.unlink()
        except OSError as error:
            raise bad_input(file, str(error.strerror), "name a file with a token") from None


def _config_and_run(file: Path, start: Start) -> tuple[SweepConfig, RunDirectory | None]:
    given = None if file == NOT_GIVEN else file
    overrides = start.overrides or []
    if start.resume is None:
        if given is None:
            raise bad_input("neft-ray", "no sweep file is given", "name one, or give --resume")
        return load_sweep(given, overrides), None
    storage = here(load_sweep(given, overrides).storage if given else DEFAULT_STORAGE)
    run = find_run(start.resume, storage)
    return load_sweep(given or run.config_file, overrides), run


def _run(kind: str, file: Path, start: Start) -> None:
    _take_token(start.hub_token_file)
    config, run = _config_and_run(file, start)
    swaps: Sequence[str] = ()
    if start.stand_in:
        config, swaps = replaced(config)
    _go(kind, config, run, start, swaps)


def replaced(config: SweepConfig) -> tuple[SweepConfig, Sequence[str]]:
    """Return a stand-in for a sweep, and say what differs."""
    from neft_ray.stand_in import stand_in_for

    made = stand_in_for(config)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for swap in made.swaps:
        console.print(f"stand-in {swap}")
    return made.config, made.swaps


def _go(
    kind: str,
    config: SweepConfig,
    run: RunDirectory | None,
    start: Start,
    swaps: Sequence[str] = (),
) -> None:
    from neft_ray.cli.view import trials_table

    with waiting("loading torch, Ray and MLflow"):
        from neft_ray.cli.running import carry_out

    run, outcome = carry_out(kind, config, run, start, swaps)
    console = Console(soft_wrap=True, markup=False)
    if not outcome.finished:
        console.print(f"not finished; go on with: neft-ray {kind} --resume {run.root}")
        raise typer.Exit(ExitCode.INTERRUPTED)
    console.print(trials_table(read_records(run.journal_file).values()))
    for line in outcome.summary:
        console.print(line, highlight=False)
    console.print(f"report   {run.report / 'index.html'}")
    if outcome.best is None:
        console.print(f"no trial came to a finite loss; see neft-ray logs {run.root}")
        raise typer.Exit(ExitCode.FAILED)
    console.print(f"model    {run.best_model}  (neft-ray chat {run.root})")
    console.print(f"mlflow   neft-ray ui --storage {config.storage}", highlight=False)
