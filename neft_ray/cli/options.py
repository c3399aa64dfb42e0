"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Storage = Annotated[
    Path, typer.Option("--storage", help="The folder that holds the runs.", show_default=True)
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
DEFAULT_STORAGE = Path("runs")
