"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neft_ray.working_copy import here

Storage = Annotated[
    Path,
    typer.Option(
        "--storage",
        parser=here,
        metavar="PLACE",
        help="The folder that holds the runs, or s3://… or gs://….",
    ),
]
Run = Annotated[str, typer.Argument(help="A run's folder or name, or 'latest'.")]
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
DEFAULT_STORAGE = Path("runs")
