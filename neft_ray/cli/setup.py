"""The commands that begin a project: init writes a sweep file, schema prints what editors read."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from neft_ray.config.schema import sweep_schema
from neft_ray.errors import bad_input
from neft_ray.terminal import waiting

File = Annotated[Path, typer.Argument(help="The sweep file to write.")]
Model = Annotated[str | None, typer.Option(help="A Hugging Face folder or hub name.")]
Data = Annotated[str | None, typer.Option(help="A hub name, or a JSON, CSV or Parquet file.")]
Template = Annotated[
    str | None, typer.Option(help="How rows become text; default: the tokenizer's, or the paper's.")
]
Gpus = Annotated[int, typer.Option(min=0, help="GPUs of one trial's worker.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")]


def init(
    file: File = Path("sweep.yaml"),
    model: Model = None,
    data: Data = None,
    template: Template = None,
    gpus: Gpus = 0,
    force: Force = False,
) -> None:
    """Write a commented sweep file for your model and data, asking for what is not given.

    Format, lengths and number of the rows decide the settings, each with
    its reason.
    """
    from neft_ray.config.load import load_sweep
    from neft_ray.pipeline.draft import SCHEMA_FILE, Wish, draft

    if file.exists() and not force:
        raise bad_input(file, "is there already", "name another file, or give --force")
    model = model or _asked("--model", "Model (Hugging Face folder or hub name)", "builtin:base")
    data = data or _asked("--data", "Data (file, folder or hub name)", "builtin:tales")
    with waiting("looking at the data"):
        text = draft(Wish(model, data, template, gpus), file.stem)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        schema_file = file.with_name(SCHEMA_FILE)
        schema_file.write_text(_schema(), encoding="utf-8")
    except OSError as error:
        raise bad_input(file, f"cannot be written: {error}", "choose another place") from None
    load_sweep(file)
    typer.echo(f"{file}, and {schema_file} for editors; next:")
    for command in ("data inspect", "plan", "sweep"):
        typer.echo(f"  neft-ray {command} {file}")


def schema() -> None:
    """Print the JSON schema of a sweep file, for editors and other programs."""
    typer.echo(_schema(), nl=False)


COMMANDS = [init, schema]


def _schema() -> str:
    return json.dumps(sweep_schema(), indent=2, ensure_ascii=False) + "\n"


def _asked(option: str, question: str, default: str) -> str:
    if not sys.stdin.isatty():
        raise bad_input("neft-ray init", f"{option} is not given", "give it; nobody can be asked")
    return str(typer.prompt(question, default=default))
