"""The command that frees disk space: gc."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from neft_ray.cli.options import DEFAULT_STORAGE, AsJson, Storage, grouped
from neft_ray.cli.values import garbage_values, print_json
from neft_ray.cost.text import size_text
from neft_ray.errors import bad_input
from neft_ray.run_directory import find_run, find_runs

if TYPE_CHECKING:  # it loads torch
    from neft_ray.pipeline.garbage import Garbage


@dataclass(frozen=True)
class Wanted:
    """The options of `gc`."""

    everything: Annotated[
        bool, typer.Option("--all", help="All runs in the storage, and unused tokenized data.")
    ] = False
    dry_run: Annotated[bool, typer.Option(help="Only show what would be deleted.")] = False
    keep: Annotated[
        int | None,
        typer.Option(min=0, help="Best checkpoints to keep per finished run; default: as set."),
    ] = None
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False
    storage: Storage = DEFAULT_STORAGE
    as_json: AsJson = False


PLAINLY = Wanted()


@grouped
def gc(
    runs: Annotated[list[str] | None, typer.Argument(help="Runs: folders or names.")] = None,
    wanted: Wanted = PLAINLY,
) -> None:
    """Delete what runs no longer need: checkpoints beyond the best, leftovers, unused data.

    Models, reports, journals and points stay, and so does all of a run that goes on.
    """
    from neft_ray.pipeline.garbage import delete, garbage_of, unused_caches

    storage = wanted.storage
    if bool(runs) == wanted.everything:
        raise bad_input("gc", "no runs are named" if not runs else "runs are named beside --all",
                        "name runs, or give --all")  # fmt: skip
    names = [run.name for run in find_runs(storage)] if wanted.everything else runs or []
    chosen = [find_run(name, storage) for name in names]
    owned = {run.name: pid for run in chosen if (pid := run.owner_pid) is not None}
    found = [item for run in chosen for item in garbage_of(run, wanted.keep)]
    found += unused_caches(storage) if wanted.everything else []
    if wanted.as_json:
        if found and not (wanted.dry_run or wanted.yes):
            raise bad_input("gc", "--json does not ask", "add --yes, or --dry-run")
        if not wanted.dry_run:
            delete(found)
        items = [garbage_values(item) for item in found]
        print_json({"items": items, "deleted": not wanted.dry_run, "left_alone": owned})
        return
    console = Console(soft_wrap=True, markup=False, highlight=False)
    for name, pid in owned.items():
        console.print(f"{name}: process {pid} works on it; left alone")
    if not found:
        console.print("nothing to delete")
        return
    console.print(_table(found, storage))
    if wanted.dry_run:
        return
    if not wanted.yes:
        if not sys.stdin.isatty():
            raise bad_input("gc", "cannot ask: the input is no terminal", "add --yes, or --dry-run")
        typer.confirm("delete?", abort=True)
    delete(found)
    console.print(f"{size_text(sum(item.num_bytes for item in found))} freed")


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
