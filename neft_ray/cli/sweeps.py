"""Commands that check, plan and run: quickstart, validate, plan, sweep, train."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from neft_ray.cli.options import DEFAULT_STORAGE, Address, HubToken, Overrides, RunName
from neft_ray.config.load import load_sweep
from neft_ray.config.sweep import SweepConfig
from neft_ray.errors import ExitCode, Problem, UserError, bad_input
from neft_ray.journal import read_records
from neft_ray.run_directory import RunDirectory, find_run
from neft_ray.strategy.checks import sweep_problems
from neft_ray.sweep.address import is_here
from neft_ray.working_copy import here

File = Annotated[Path | None, typer.Argument(help="A sweep file.", show_default=False)]
Compare = Annotated[bool, typer.Option(help="Memory under all strategies and stages.")]
Memory = Annotated[bool, typer.Option(help="Warn of trials that do not fit this machine's memory.")]
Resume = Annotated[
    str | None, typer.Option(metavar="RUN", help="Go on with this run: a folder, or 'latest'.")
]


def quickstart(overrides: Overrides = None) -> None:
    """Run the built-in sweep: a tiny pretrained model, α × learning rate, in minutes."""
    config = load_sweep(quickstart_file(), overrides or [])
    _run("sweep", config, None)


def validate(
    files: Annotated[list[Path], typer.Argument(help="Sweep files.")], memory: Memory = False
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
        if not lacking:
            typer.echo(f"{file}: ok")
    if problems:
        raise UserError(problems)


def sweep(
    file: File = None,
    overrides: Overrides = None,
    resume: Resume = None,
    address: Address = None,
    run_name: RunName = None,
    hub_token_file: HubToken = None,
) -> None:
    """Search α, the learning rate or any other setting, with early stopping and two arms."""
    _take_token(hub_token_file)
    _run("sweep", *_config_and_run(file, overrides, resume), address, run_name)


def train(
    file: File = None,
    overrides: Overrides = None,
    resume: Resume = None,
    address: Address = None,
    run_name: RunName = None,
    hub_token_file: HubToken = None,
) -> None:
    """Run one trial with the values as written; the `sweep` section is not used."""
    _take_token(hub_token_file)
    _run("train", *_config_and_run(file, overrides, resume), address, run_name)


COMMANDS = [quickstart, validate, sweep, train]


def quickstart_file() -> Path:
    """Return the sweep file that ships with the package."""
    return Path(str(resources.files("neft_ray") / "sweeps" / "quickstart.yaml"))


def _take_token(file: Path | None) -> None:
    """Take a secret from a file into this process, from where workers are told it."""
    if file is not None:
        try:
            os.environ["HF_TOKEN"] = file.read_text().strip()
            file.unlink()
        except OSError as error:
            raise bad_input(file, str(error.strerror), "name a file with a token") from None


def _config_and_run(
    file: Path | None, overrides: list[str] | None, resume: str | None
) -> tuple[SweepConfig, RunDirectory | None]:
    if resume is None:
        if file is None:
            raise bad_input("neft-ray", "no sweep file is given", "name one, or give --resume")
        return load_sweep(file, overrides or []), None
    storage = here(load_sweep(file, overrides or []).storage if file else DEFAULT_STORAGE)
    run = find_run(resume, storage)
    source = file or run.config_file
    return load_sweep(source, overrides or []), run


def _run(
    kind: str,
    config: SweepConfig,
    run: RunDirectory | None,
    address: str | None = None,
    run_name: str | None = None,
) -> None:
    from neft_ray.cli.running import carry_out
    from neft_ray.cli.view import trials_table

    run, outcome = carry_out(kind, config, run, address, run_name)
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
