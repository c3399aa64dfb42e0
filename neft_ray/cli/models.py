"""Commands that use trained models: export, chat."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from neft_ray.cli.options import DEFAULT_STORAGE, Run, Storage
from neft_ray.errors import bad_input
from neft_ray.journal import TrialRecord, read_records
from neft_ray.run_directory import RunDirectory, find_run, trial_name


def export(
    run: Run,
    trial: Annotated[str, typer.Option(help="A trial, such as t007.")],
    to: Annotated[Path, typer.Option(help="A new folder.")],
    rebuild: Annotated[
        bool, typer.Option(help="Train it again if its checkpoints are gone; the result is equal.")
    ] = False,
    adapter: Annotated[
        bool, typer.Option(help="Write the LoRA adapter alone, not merged into the model.")
    ] = False,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Write any trial as an ordinary Hugging Face folder. RAY_ADDRESS names where to rebuild."""
    from neft_ray.export import export_trial
    from neft_ray.pipeline.rebuild import rebuild_trial
    from neft_ray.train.stored import steps_in

    found = find_run(run, storage)
    record = _record(found, trial)
    if rebuild and not steps_in(found.checkpoints(record.number)):
        rebuild_trial(found, record, None)
    config = found.trial_config(record.number)
    step = export_trial(found, record, config, to, f"Exported from {found.name}.", adapter)
    typer.echo(f"{trial_name(record.number)}, step {step}: {to}")


def chat(
    run: Run = "latest",
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 200,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Talk to a run's best model; every question stands alone. An empty line ends."""
    from neft_ray.config.load import load_sweep
    from neft_ray.generate import Chat

    found = find_run(run, storage)
    if not found.best_model.is_dir():
        raise bad_input(found.root, "has no best model yet", "wait for the sweep to end")
    console = Console()
    model = Chat(found.best_model, load_sweep(found.config_file).data.template)
    write = partial(console.print, end="", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{found.best_model}; an empty line ends", highlight=False)
    while True:
        try:
            question = console.input("[bold]you>[/] ").strip()
        except (EOFError, KeyboardInterrupt):
            break
        if not question:
            break
        model.answer(question, max_new_tokens, write)
        console.print()


COMMANDS = [export, chat]


def _record(run: RunDirectory, trial: str) -> TrialRecord:
    records = read_records(run.journal_file)
    for record in records.values():
        if trial_name(record.number) == trial:
            return record
    last = trial_name(len(records) - 1) if records else "none"
    raise bad_input(run.root, f"has no trial {trial}", f"its trials are t000 to {last}")
