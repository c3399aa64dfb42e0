"""Options that several commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from neft_ray.config.recipes import find_sweep_file, recipe_names
from neft_ray.working_copy import here

DEFAULT_STORAGE = Path("runs")


def complete_run(incomplete: str) -> list[str]:
    """Return the names of runs in the default storage that begin so, for the shell."""
    names = sorted(manifest.parent.name for manifest in DEFAULT_STORAGE.glob("*/manifest.json"))
    return [name for name in ("latest", *names) if name.startswith(incomplete)]


def complete_recipe(incomplete: str) -> list[str]:
    """Return the recipes and the sweep files that begin so, for the shell."""
    files = [str(file) for file in Path().glob("*.yaml")]
    return [name for name in (*recipe_names(), *files) if name.startswith(incomplete)]


SweepFile = Annotated[
    Path,
    typer.Argument(
        parser=find_sweep_file,
        autocompletion=complete_recipe,
        metavar="FILE",
        help="A sweep file, or the name of a recipe, see `neft-ray recipes`.",
        show_default=False,
    ),
]

NOT_GIVEN = Path()
"""A sweep file that may be left out, and was."""

Storage = Annotated[
    Path,
    typer.Option(
        "--storage",
        parser=here,
        metavar="PLACE",
        help="The folder that holds the runs, or s3://… or gs://….",
    ),
]
Run = Annotated[
    str,
    typer.Argument(help="A run's folder or name, or 'latest'.", autocompletion=complete_run),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace a setting, such as noise.alpha=15."),
]
Address = Annotated[
    str | None,
    typer.Option(help="A Ray cluster to join; default: RAY_ADDRESS, else this machine alone."),
]
Cluster = Annotated[
    Path | None,
    typer.Option("--cluster", help="The cluster file, for a run that was submitted to it."),
]
RunName = Annotated[
    str | None, typer.Option(help="Of the run directory; default: the sweep's name and the time.")
]
HubToken = Annotated[
    Path | None,
    typer.Option(
        "--hub-token-file", help="A file with the token of the model hub; it is read and removed."
    ),
]
Resume = Annotated[
    str | None, typer.Option(metavar="RUN", help="Go on with this run: a folder, or 'latest'.")
]
AsStandIn = Annotated[
    bool,
    typer.Option(
        "--stand-in",
        help="Try it out in a minute, without hub or GPU: on a small model and rows of its kind.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, for programs.")]


@dataclass(frozen=True)
class Start:
    """The options of a command that starts or goes on with a run."""

    overrides: Overrides = None
    resume: Resume = None
    address: Address = None
    run_name: RunName = None
    hub_token_file: HubToken = None
    stand_in: AsStandIn = False


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the fields of its last parameter, a dataclass, as options of their own."""
    *others, last = inspect.signature(command, eval_str=True).parameters.values()
    group, hints = last.annotation, get_type_hints(last.annotation, include_extras=True)
    options = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]

    @wraps(command)
    def run(**given: Any) -> None:
        taken = {option.name: given.pop(option.name) for option in options}
        command(**given, **{last.name: group(**taken)})

    vars(run)["__signature__"] = inspect.Signature([*others, *options])
    return run
