"""The `neft-ray` program: gathers the commands and turns errors into messages and exit codes."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from neft_ray import __version__
from neft_ray.cli import data, disk, evaluation, look, models, planning, remote, setup, sweeps, talk
from neft_ray.cli.examples import EXIT_CODES, epilog
from neft_ray.errors import ExitCode, UserError

app = typer.Typer(
    help="Sweeps of NEFTune's noise and the learning rate, on a laptop or a Ray cluster.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for module in (sweeps, setup, planning, look, models, talk, evaluation, disk, remote):
    for command in module.COMMANDS:
        app.command(epilog=epilog(command.__name__))(command)
app.add_typer(data.app, name="data", epilog=EXIT_CODES)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"neft-ray {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


def main() -> None:
    """Run a command; bad input ends in one line per problem, never in a traceback."""
    try:
        app()
    except UserError as error:
        console = Console(stderr=True, soft_wrap=True, emoji=False)
        for problem in error.problems:
            console.print("[bold red]error[/]", end=" ")
            console.print(str(problem), markup=False, highlight=False)
        sys.exit(error.code)
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
