"""Commands that look at runs, or end them: ls, status, logs, stop, report, ui."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from neft_ray.cli.options import DEFAULT_STORAGE, AsJson, Cluster, Run, Storage
from neft_ray.cli.values import print_json, run_values, trial_values
from neft_ray.cli.view import trials_table
from neft_ray.config.load import load_sweep
from neft_ray.cost.pace import Pace
from neft_ray.cost.schedule import seconds_left, slots_of
from neft_ray.cost.text import time_text
from neft_ray.errors import bad_input
from neft_ray.journal import (
    RUNNING,
    Event,
    TrialRecord,
    is_finished,
    read_events,
    read_records,
    reduce_events,
)
from neft_ray.plan import make_plan
from neft_ray.run_directory import CANCEL_FILE, RunDirectory, find_run, find_runs, trial_name
from neft_ray.terminal import waiting

STOP_TIMEOUT_SECONDS = 120.0


def ls(storage: Storage = DEFAULT_STORAGE, as_json: AsJson = False) -> None:
    """List the runs on this machine."""
    runs = [run_values(run, _state(run)) for run in find_runs(storage)]
    if as_json:
        print_json(runs)
        return
    table = Table("run", "state", "trials", "best select loss")
    for run in runs:
        best = run["best_select_loss"]
        ended = f"{run['num_ended']}/{run['num_trials']} ended"
        table.add_row(run["run"], run["state"], ended, "" if best is None else f"{best:.4f}")
    Console(markup=False).print(table)


def status(
    run: Run = "latest",
    storage: Storage = DEFAULT_STORAGE,
    cluster: Cluster = None,
    as_json: AsJson = False,
) -> None:
    """Show a run's trials."""
    found = _found(run, storage, cluster)
    if as_json:
        trials = [trial_values(it) for it in read_records(found.journal_file).values()]
        print_json(run_values(found, _state(found)) | {"trials": trials})
        return
    console = Console(markup=False)
    events = list(read_events(found.journal_file))
    records = reduce_events(events)
    console.print(f"{found.root}: {_state(found)}", highlight=False)
    console.print(trials_table(records.values()))
    if found.manifest.get("kind") == "sweep" and not is_finished(found.journal_file):
        console.print(_time_left(found, events, records), highlight=False)


def logs(
    run: Run = "latest",
    trial: Annotated[str | None, typer.Option(help="A trial, such as t007.")] = None,
    storage: Storage = DEFAULT_STORAGE,
    cluster: Cluster = None,
) -> None:
    """Print the driver's log, or a trial's."""
    found = _found(run, storage, cluster)
    files = [found.log_file]
    if trial is not None:
        files = sorted((found.root / "trials" / trial).glob("log-*.txt"))
    if not files or not files[0].exists():
        raise bad_input(found.root, f"has no log of {trial or 'a driver'}", "see neft-ray status")
    for file in files:
        typer.echo(file.read_text(errors="replace"), nl=False)


def stop(
    run: Run = "latest",
    trial: Annotated[str | None, typer.Option(help="Only this trial, for good.")] = None,
    storage: Storage = DEFAULT_STORAGE,
    cluster: Cluster = None,
) -> None:
    """Stop a sweep within a step, to be resumed; or one of its trials, for good."""
    if cluster is not None:
        from neft_ray.cli.remote import stop_there

        stop_there(cluster, run, trial)
        return
    found = find_run(run, storage)
    if trial is not None:
        _cancel(found, trial)
        return
    if found.owner_pid is None:
        typer.echo(f"{found.name} is not running")
        return
    found.stop_file.touch()
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    while (pid := found.owner_pid) is not None:
        if time.monotonic() > deadline:
            raise bad_input(found.root, f"process {pid} did not stop", "see neft-ray logs")
        time.sleep(0.5)
    kind = found.manifest.get("kind", "sweep")
    typer.echo(f"{found.name} is stopped; go on with: neft-ray {kind} --resume {found.root}")


def report(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Folders, names in the storage, or 'latest'.", show_default="latest"),
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    out: Annotated[
        Path | None,
        typer.Option(help="Where several are compared; default: <storage>/comparison."),
    ] = None,
    cluster: Cluster = None,
    as_json: AsJson = False,
) -> None:
    """Write a run's report anew and print its findings; of several runs, compare them.

    Works while a sweep goes on.
    """
    found = [_found(run, storage, cluster) for run in runs or ["latest"]]
    if out is not None and len(found) == 1:
        raise bad_input("--out", "one run's report lies in its own folder", "name several runs")
    with waiting("drawing"):
        from neft_ray.report import compare_runs, summary_lines, write_report

        if len(found) > 1:
            folder = out or storage / "comparison"
            lines, document = compare_runs(found, folder), folder / "comparison.json"
        else:
            folder = found[0].report
            lines, document = summary_lines(write_report(found[0])), folder / "results.json"
    if as_json:
        typer.echo(document.read_text(encoding="utf-8"), nl=False)
        return
    for line in (*lines, f"report   {folder / 'index.html'}"):
        typer.echo(line)


def ui(
    storage: Storage = DEFAULT_STORAGE,
    port: Annotated[int, typer.Option(help="A free port on loopback.")] = 5000,
    cluster: Cluster = None,
) -> None:
    """Open the MLflow UI on this storage, on loopback only; name the newest run's views.

    Of a cluster: that of its MLflow server and Ray's dashboard, through ssh.
    """
    if cluster is not None:
        from neft_ray.cli.remote import ui_there

        ui_there(cluster, port)
        return
    from neft_ray.tracking.address import Address, ui_command
    from neft_ray.tracking.views import view_links

    command = ui_command(Address.of(None, storage), port)
    typer.echo(f"http://127.0.0.1:{port}")
    for run in find_runs(storage)[-1:]:
        if "mlflow" in run.manifest:
            links = view_links(run.name, run.manifest["mlflow"]["experiment_id"])
            for what, link in links.items():
                typer.echo(f"  {run.name}, {what}: http://127.0.0.1:{port}{link}")
    os.execvpe(command.argv[0], command.argv, command.environment)


COMMANDS = [ls, status, logs, stop, report, ui]


def _found(run: str, storage: Path, cluster: Path | None) -> RunDirectory:
    """Return a run, of a cluster as a copy of its present state."""
    if cluster is None:
        return find_run(run, storage)
    from neft_ray.cli.remote import copy_of

    return copy_of(cluster, run, storage)


def _cancel(run: RunDirectory, trial: str) -> None:
    running = [
        record for record in read_records(run.journal_file).values() if record.status == RUNNING
    ]
    names = [trial_name(record.number) for record in running]
    if run.owner_pid is None or trial not in names:
        remedy = f"running now: {', '.join(names) if run.owner_pid else 'none'}"
        raise bad_input(run.root, f"{trial} is not running", remedy)
    (run.root / "trials" / trial / CANCEL_FILE).touch()
    typer.echo(f"{trial} stops within a step")


def _time_left(run: RunDirectory, events: list[Event], records: dict[int, TrialRecord]) -> str:
    """Say how long the rest takes at the speed so far, of a run that goes on or could."""
    speed = Pace(records.values()).speed()
    if speed is None:
        return "time left: unknown before the second evaluation of a trial"
    config = load_sweep(run.config_file)
    last = [record for record in records.values() if record.reports][-1]
    num_steps = max(record.num_steps for record in records.values())
    tokens = last.reports[-1].metrics.get("tokens_trained", 0.0) / last.last_step * num_steps
    plan = make_plan(config, num_steps, max(1, round(tokens)))
    slots = slots_of(events)
    left = seconds_left(plan, list(records.values()), slots, speed)
    return f"about {time_text(left)} left with {slots} {'slot' if slots == 1 else 'slots'}"


def _state(run: RunDirectory) -> str:
    if run.copied_from_file.exists():
        there = json.loads(run.copied_from_file.read_text())
        if there["owner_pid"] is not None:
            return f"running (process {there['owner_pid']} on {there['head']})"
    elif (pid := run.owner_pid) is not None:
        return f"running (process {pid})"
    return "finished" if is_finished(run.journal_file) else "stopped"
