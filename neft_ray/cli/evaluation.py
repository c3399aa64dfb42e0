"""The command that lets models answer evaluation sets and compares what they say: evaluate."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table

from neft_ray.cli.options import DEFAULT_STORAGE, Address, Overrides, Storage
from neft_ray.config.evaluation import load_evaluation
from neft_ray.terminal import only_ours, waiting

LOG_FILE = "evaluate.log"
"""In the storage: what libraries say meanwhile."""

What = Annotated[
    str,
    typer.Argument(
        help="A run, RUN:TRIAL (t007, best, control), a model's folder or hub name, or a JSON file "
        "of outputs in AlpacaEval's format."
    ),
]
On = Annotated[
    str | None,
    typer.Option(help="alpaca_eval, mt_bench, ifeval, or a file of prompts of their formats."),
]
Against = Annotated[
    str | None,
    typer.Option(
        help="What to set beside it, named as WHAT; outputs, those of the set; or none. Default: "
        "of a run, the best trial of its other arm, without noise or with it; else outputs."
    ),
]


def evaluate(
    what: What,
    on: On = None,
    against: Against = None,
    overrides: Overrides = None,
    storage: Storage = DEFAULT_STORAGE,
    address: Address = None,
) -> None:
    """Let a model answer a set of prompts; set it beside another one, with or without a judge.

    Leaves replies, outputs in AlpacaEval's format, measures and a page in
    RUN/evaluation/SET; what is there already is not asked for again.

    Settings: decoding.max_new_tokens=256, max_prompts=100, workers.num=4,
    sharded=true, template=alpaca, judge.url=https://…/v1, and more.
    """
    config = load_evaluation(overrides or [])

    with waiting("loading torch and Ray"):
        from neft_ray.pipeline.evaluate import Evaluation, Request

    request = Request(what, on, against, storage)
    storage.mkdir(parents=True, exist_ok=True)
    with only_ours(storage / LOG_FILE) as terminal, _View(terminal) as view:
        found = Evaluation(request, config, address, view).run()
    console = Console(soft_wrap=True, markup=False, highlight=False)
    if found.measures:
        console.print(_table(found.measures))
    for sentence in found.sentences:
        console.print(sentence)
    console.print(f"replies  {found.folder}")
    if found.page is not None:
        console.print(f"page     {found.page}")


COMMANDS = [evaluate]


class _View(Progress):
    """Bars on the terminal, one for each thing that takes time."""

    def __init__(self, console: Console) -> None:
        text = TextColumn("{task.description}", markup=False)
        super().__init__(text, BarColumn(), MofNCompleteColumn(), console=console)
        self._bars: dict[str, TaskID] = {}

    def progress(self, what: str, num_done: int, num: int) -> None:
        """See `View`."""
        if what not in self._bars:
            self._bars[what] = self.add_task(what, total=num)
        self.update(self._bars[what], completed=num_done, refresh=True)

    def confirm(self, what: str) -> bool:
        """See `View`."""
        if not sys.stdin.isatty():
            return False
        self.stop()
        reply = self.console.input(f"{what}. Go on? [y/N] ", markup=False)
        self.start()
        return reply.strip().lower() in ("y", "yes")


def _table(measures: dict[str, dict[str, float]]) -> Table:
    table = Table("", *measures)
    for name in next(iter(measures.values())):
        cells = (f"{values[name]:.4g}" for values in measures.values())
        table.add_row(name.replace("_", " "), *cells)
    return table
