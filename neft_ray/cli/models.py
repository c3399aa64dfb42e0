"""The command that brings trained models out of a run: export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neft_ray.cli.options import DEFAULT_STORAGE, Run, Storage
from neft_ray.run_directory import find_run, trial_name
from neft_ray.terminal import waiting


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
    with waiting("loading torch and Ray"):
        from neft_ray.export import export_trial
        from neft_ray.pipeline.rebuild import rebuild_trial
        from neft_ray.pipeline.sides import record_of
        from neft_ray.train.stored import steps_in

    found = find_run(run, storage)
    record = record_of(found, trial)
    if rebuild and not steps_in(found.checkpoints(record.number)):
        with waiting(f"training {trial} again"):
            rebuild_trial(found, record, None)
    config = found.trial_config(record.number)
    with waiting(f"writing {to}"):
        step = export_trial(found, record, config, to, f"Exported from {found.name}.", adapter)
    typer.echo(f"{trial_name(record.number)}, step {step}: {to}")


COMMANDS = [export]
