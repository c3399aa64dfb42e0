"""Commands for a cluster of machines: doctor, submit, fetch, down; `head`, `spot` run on them."""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from neft_ray.cli.options import (
    DEFAULT_STORAGE,
    NOT_GIVEN,
    AsJson,
    Overrides,
    Run,
    Storage,
    SweepFile,
)
from neft_ray.cli.values import checked_values, print_json
from neft_ray.config.cluster import LOCAL, load_cluster
from neft_ray.errors import ExitCode, Problem, UserError, bad_input
from neft_ray.launch import copies, job
from neft_ray.launch.ssh import Head
from neft_ray.launch.submission import compose, go_on, mlflow_uri
from neft_ray.run_directory import RunDirectory
from neft_ray.terminal import waiting

ClusterOf = Annotated[Path, typer.Option("--cluster", help="The file that made the cluster.")]


def submit(
    cluster: ClusterOf,
    file: SweepFile = NOT_GIVEN,
    overrides: Overrides = None,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Go on with this run: a name, or 'latest'.")
    ] = None,
    single: Annotated[
        bool, typer.Option("--train", help="One trial with the values as written, no sweep.")
    ] = False,
    follow: Annotated[bool, typer.Option(help="Print what it prints, until it ends.")] = False,
) -> None:
    """Run a sweep on a cluster: checked here, then sent there with the files it names."""
    there = load_cluster(cluster)
    head = Head.of(there)
    given = tuple(overrides or ())
    kind = "train" if single else "sweep"
    if resume is not None:
        changed = None if file == NOT_GIVEN else file
        submission = go_on(kind, changed, given, copies.bring(there, head, resume, DEFAULT_STORAGE))
    elif file != NOT_GIVEN:
        submission = compose(kind, file, given, there.settings, mlflow_uri(head))
    else:
        raise bad_input("neft-ray submit", "no sweep file is given", "name one, or give --resume")
    with job.jobs(head) as client:
        name = job.submit(client, head, submission)
        root = copies.folder_there(head, submission.place)
        run = submission.run_name if submission.config.storage == there.settings.storage else root
        typer.echo(f"submitted {run} to {there.name} ({head})")
        if not job.has_begun(client, name, head, root):
            typer.echo("".join(job.output(client, name)), err=True)
            raise typer.Exit(ExitCode.BAD_INPUT)
        for command in ("status", "logs", "stop", "fetch"):
            typer.echo(f"  neft-ray {command} {run} --cluster {cluster}")
        if follow:
            _follow(client, name)


def _follow(client: Any, name: str) -> None:
    """Print what a job prints until it ends; exit with code 1 where its end is a bad one."""
    try:
        for text in job.output(client, name):
            typer.echo(text, nl=False)
    except KeyboardInterrupt:
        typer.echo("not followed any more; it goes on there", err=True)
        raise
    if not job.has_succeeded(client, name):
        raise typer.Exit(ExitCode.FAILED)


def fetch(
    cluster: ClusterOf,
    run: Run = "latest",
    model: Annotated[bool, typer.Option(help="The best model too.")] = True,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Bring a run home from a cluster: report, logs, best model, all but checkpoints."""
    there = load_cluster(cluster)
    with waiting(f"copying from {there.name}"):
        found = copies.bring(there, Head.of(there), run, storage, with_model=model)
    typer.echo(f"run      {found.root}")
    if found.report.exists():
        typer.echo(f"report   {found.report / 'index.html'}")
    if found.best_model.exists():
        typer.echo(f"model    {found.best_model}  (neft-ray chat {found.root})")


def down(
    cluster: Annotated[Path, typer.Argument(help="The cluster file.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """End a cluster: `ray down`, and on machines of your own what that leaves running."""
    there = load_cluster(cluster)
    head = Head.of(there) if there.provider["type"] == LOCAL else None
    ended = subprocess.run(["ray", "down", str(cluster), *(["--yes"] if yes else [])])
    if ended.returncode:
        raise typer.Exit(ended.returncode)
    if head is None:
        return
    problems: list[Problem] = []
    for address in (head.address, *there.provider["worker_ips"]):
        node = Head(address, head.user, head.key, head.proxy)
        try:
            node.run("ray stop --grace-period 20; neft-ray head --stop")
            typer.echo(f"nothing runs on {address}")
        except UserError as error:  # on the others all is to end nevertheless
            problems += error.problems
    if problems:
        raise UserError(problems)


def head(
    file: Annotated[Path | None, typer.Argument(help="The cluster file.")] = None,
    stop: Annotated[bool, typer.Option("--stop", help="End it.")] = False,
) -> None:
    """Keep MLflow running on this machine, a cluster's head; the cluster file calls this."""
    from neft_ray.launch import head as server

    if stop:
        server.stop()
    elif file is None:
        raise bad_input("neft-ray head", "no cluster file is given", "name one, or give --stop")
    elif (address := server.start(file)) is not None:
        typer.echo(f"mlflow   {address}, password in {server.CREDENTIALS_FILE}")


def spot(
    market: Annotated[str, typer.Argument(help="aws or gcp.")],
    address: Annotated[str, typer.Argument(metavar="HEAD", help="Ray's address and port.")],
    on_advice: Annotated[
        bool, typer.Option(help="Leave on AWS' advice too, which comes before a notice if at all.")
    ] = False,
) -> None:
    """Leave this machine in time when its market calls it back; the cluster file calls this."""
    from neft_ray.launch import spot as watcher

    if market not in watcher.MARKETS:
        raise bad_input("neft-ray spot", f"no market {market!r}", "name aws or gcp")
    watcher.start(market, address, on_advice)


def doctor(
    cluster: Annotated[Path, typer.Argument(help="The cluster file.")], as_json: AsJson = False
) -> None:
    """Find out what is missing or wrong with a cluster, before it is used and paid for."""
    from neft_ray.launch.doctor import examine

    there = load_cluster(cluster)
    if as_json:
        found = list(examine(there))
        print_json([checked_values(checked) for checked in found])
        is_bad = any(checked.problems for checked in found)
        raise typer.Exit(ExitCode.BAD_INPUT if is_bad else ExitCode.OK)
    console = Console(soft_wrap=True, highlight=False)
    problems: list[Problem] = []
    for checked in examine(there):
        mark = "[green]✓[/]" if checked.is_fine else "[yellow]–[/]"
        console.print("[red]✗[/]" if checked.problems else mark, f"{checked.what:16}", end=" ")
        console.print("see below" if checked.problems else checked.told, markup=False)
        problems += checked.problems
    if problems:
        raise UserError(problems)


COMMANDS = [doctor, submit, fetch, down, head, spot]


def copy_of(cluster: Path, run: str, storage: Path) -> RunDirectory:
    """Return a copy of a cluster's run as it is now."""
    there = load_cluster(cluster)
    with waiting(f"copying from {there.name}"):
        return copies.bring(there, Head.of(there), run, storage)


def stop_there(cluster: Path, run: str, trial: str | None) -> None:
    """Stop a cluster's run within a step, to be resumed; or one of its trials, for good."""
    there = load_cluster(cluster)
    head = Head.of(there)
    root = copies.find_there(there, head, run)
    name = Path(root).name
    if copies.owner_there(head, root) is None:
        typer.echo(f"{name} is not running")
    elif trial is not None:
        copies.stop_trial(head, root, trial)
        typer.echo(f"{trial} stops within a step")
    else:
        copies.stop(head, root)
        again = f"neft-ray submit --resume {run if '/' in run else name} --cluster {cluster}"
        again += " --train" if copies.kind_there(head, root) == "train" else ""
        typer.echo(f"{name} is stopped; go on with: {again}")


def ui_there(cluster: Path, port: int) -> None:
    """Reach a cluster's MLflow and Ray's dashboard on loopback until Ctrl-C."""
    head = Head.of(load_cluster(cluster))
    with ExitStack() as tunnels:
        if (uri := mlflow_uri(head)) is not None:
            host, _, there = uri.removeprefix("http://").partition(":")
            here = tunnels.enter_context(head.tunnel(int(there), host, port))
            typer.echo(
                f"mlflow     http://127.0.0.1:{here}  (password: ssh {head} "
                "cat .mlflow/credentials)"
            )
        here = tunnels.enter_context(head.tunnel(job.JOBS_PORT))
        typer.echo(f"dashboard  http://127.0.0.1:{here}  (token: ray get-auth-token)")
        typer.echo("Ctrl-C ends the tunnels")
        while True:
            time.sleep(3600)
