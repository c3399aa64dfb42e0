"""Commands that look at data, in a group of their own: data inspect."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from neft_ray.cli.examples import epilog
from neft_ray.cli.options import AsJson, Overrides, SweepFile
from neft_ray.cli.values import print_json
from neft_ray.config.load import load_sweep
from neft_ray.errors import UserError
from neft_ray.terminal import tame, waiting

if TYPE_CHECKING:  # they load datasets and numpy
    from neft_ray.data.examples import Example
    from neft_ray.data.inspection import Lengths

app = typer.Typer(help="Look at the data of a sweep file.", no_args_is_help=True)
BAR_WIDTH = 40
SUPERVISED = "bold green"
OPENING, CLOSING = "⟦", "⟧"
"""Around supervised text where there is no colour."""


class SplitName(StrEnum):
    """Which rows are shown."""

    TRAIN = "train"
    SELECT = "select"
    REPORT = "report"


@app.command(epilog=epilog("data inspect"))
def inspect(
    file: SweepFile,
    rows: Annotated[int, typer.Option(min=0, help="How many rows are shown.")] = 3,
    split: Annotated[SplitName, typer.Option(help="Of which split.")] = SplitName.TRAIN,
    dropped: Annotated[
        bool, typer.Option("--dropped", help="Show rows of every reason to drop them instead.")
    ] = False,
    as_json: AsJson = False,
    overrides: Overrides = None,
) -> None:
    """Show what becomes of the rows of a sweep file, and rows as the model sees them.

    Supervised tokens, those that the loss is taken on, are green, or stand in ⟦ ⟧.
    """
    config = load_sweep(file, overrides or [])
    with waiting("reading rows"):
        from neft_ray.data import inspection
        from neft_ray.data.examples import examples
        from neft_ray.data.prepare import count, empty_splits
        from neft_ray.data.split import Split
        from neft_ray.model import load_tokenizer

        tokenizer = load_tokenizer(config.model)
        found = list(examples(config.data, tokenizer))
    counts = count(found)
    shown = (
        inspection.dropped(found, rows)
        if dropped
        else inspection.of_split(found, Split[split.name], rows)
    )
    lengths = inspection.all_lengths(found)
    if as_json:
        told = {
            "rows": dict(counts),
            "lengths": {name: asdict(value) for name, value in lengths.items()},
            "shown": [_as_json(row, tokenizer) for row in shown],
        }
        print_json(told)
    else:
        console = Console(markup=False, highlight=False, soft_wrap=True)
        for name, number in counts.items():
            console.print(f"{number:>8}  {name}")
        for name, value in lengths.items():
            _print_lengths(console, name, value)
        for row in shown:
            _print_row(console, row, tokenizer)
    if problems := empty_splits(config.data, counts):
        raise UserError(problems)


def _print_lengths(console: Console, name: str, found: Lengths) -> None:
    quantiles = ", ".join(f"{key} {value:g}" for key, value in found.quantiles.items())
    console.print(f"\n{name} per kept row: {quantiles}")
    if name != "tokens":
        return
    most = max(found.counts)
    for low, high, number in zip(found.edges, found.edges[1:], found.counts, strict=False):
        bar = "█" * -(-number * BAR_WIDTH // most)
        console.print(f"{low:>6}–{high - 1:<6} {bar} {number}")


def _print_row(console: Console, row: Example, tokenizer: Any) -> None:
    from neft_ray.data.inspection import spans

    console.print()
    console.print(Text(f"── {row.conversation.place} · {_fate(row)}", style="bold"))
    has_colour = console.is_terminal and not console.no_color
    text = Text()
    for raw, is_supervised in spans(row, tokenizer):
        said = tame(raw)
        if not is_supervised:
            text.append(said)
        elif has_colour:
            text.append(said, style=SUPERVISED)
        else:
            text.append(f"{OPENING}{said}{CLOSING}")
    if not len(row.tokens):  # it was not rendered
        text = Text(tame("\n".join(f"{t.role}: {t.text}" for t in row.conversation.turns)))
    console.print(text)


def _fate(row: Example) -> str:
    if row.split is None:
        what = f"dropped: {row.dropped}" + (f" ({row.detail})" if row.detail else "")
    else:
        what = row.split.name.lower()
    if row.num_tokens:
        what += f" · {row.num_tokens} tokens, {int(row.supervised.sum())} supervised"
    if row.is_truncated:
        what += f", {row.num_tokens - len(row.tokens)} cut off"
    return " · ".join([what, *(f"cut: {cut}" for cut in row.cuts)])


def _as_json(row: Example, tokenizer: Any) -> dict[str, Any]:
    from neft_ray.data.inspection import spans

    return {
        "place": row.conversation.place,
        "split": None if row.split is None else row.split.name.lower(),
        "dropped": row.dropped or None,
        "detail": row.detail or None,
        "num_tokens": row.num_tokens,
        "tokens": row.tokens.tolist(),
        "supervised": row.supervised.tolist(),
        "spans": [{"text": said, "supervised": flag} for said, flag in spans(row, tokenizer)],
    }
