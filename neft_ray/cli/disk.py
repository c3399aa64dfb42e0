"""The command that frees disk space: gc."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from neft_ray.cli.options import DEFAULT_STORAGE, Storage
from neft_ray.cost.text import size_text
from neft_ray.errors import bad_input
from neft_ray.run_directory import find_run, find_runs

if TYPE_CHECKING:  # it loads torch
    from neft_ray.pipeline.garbage import Garbage


def gc(
    runs: Annotated[list[str] | None, typer.Argument(help="Runs: folders or names.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All runs in the storage, and unused tokenized data.")
    ] = False,
    dry_run: Annotated[bool, typer.Option(help="Only show what would be deleted.")] = False,
    keep: Annotated[
        int | None,
        typer.Option(min=0, help="Best checkpoints to keep per finished run; default: as set."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Delete what runs no longer need: checkpoints beyond the best, leftovers, unused data.

    Models, reports, journals and points stay, and so does all of a run that goes on.
    """
    from neft_ray.pipeline.garbage import delete, garbage_of, unused_caches

    if bool(runs) == everything:
        raise bad_input("gc", "no runs are named" if not runs else "runs are named beside --all",
                        "name runs, or give --all")  # fmt: skip
    names = [run.name for run in find_runs(storage)] if everything else runs or []
    chosen = [find_run(name, storage) for name in names]
    console = Console(soft_wrap=True, markup=False)
    for run in chosen:
        if (pid := run.owner_pid) is not None:
            console.print(f"{run.name}: process {pid} works on it; left alone", highlight=False)
    found = [item for run in chosen for item in garbage_of(run, keep)]
    found += unused_caches(storage) if everything else []
    if not found:
        console.print("nothing to delete")
        return
    console.print(_table(found, storage))
    if dry_run:
        return
    if not yes:
        if not sys.stdin.isatty():
            raise bad_input("gc", "cannot ask: the input is no terminal", "add --yes, or --dry-run")
        typer.confirm("delete?", abort=True)
    delete(found)
    console.print(f"{size_text(sum(item.num_bytes for item in found))} freed", highlight=False)


def _table(found: list[Garbage], storage: Path) -> Table:
    table = Table("what", "where", "size", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.columns[2].justify = "right"
    top = storage.resolve()
    for item in found:
        path = item.path.resolve()
        where = path.relative_to(top) if path.is_relative_to(top) else path
        table.add_row(item.what, str(where), size_text(item.num_bytes))
    table.add_row("together", "", size_text(sum(item.num_bytes for item in found)), style="bold")
    return table


COMMANDS = [gc]
