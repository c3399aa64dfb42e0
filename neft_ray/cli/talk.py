"""The command that talks to a model, or to two side by side: chat."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from rich.columns import Columns
from rich.console import Console, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from neft_ray.cli.options import DEFAULT_STORAGE, Run, Storage
from neft_ray.errors import bad_input
from neft_ray.terminal import tame, waiting

if TYPE_CHECKING:  # they load torch
    from neft_ray.generate import Chat
    from neft_ray.pipeline.sides import Side

Against = Annotated[
    str | None,
    typer.Option(
        help="A second model that answers beside the first: control or treatment (the best trial "
        "of that arm of the run), a trial such as t007, a run, or a model's folder."
    ),
]
Template = Annotated[
    str | None, typer.Option(help="How questions are put; default: as the model was tuned.")
]
SHOWN_PER_SECOND = 12


def chat(
    run: Run = "latest",
    against: Against = None,
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 200,
    template: Template = None,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Talk to a run's best model, RUN:TRIAL or any model; every question stands alone.

    With --against, two models answer side by side. An empty line ends.
    """
    with waiting("loading torch and the model"):
        from neft_ray.generate import Chat
        from neft_ray.pipeline.sides import find_side

        sides = [find_side(run, storage, template)]
        if against is not None:
            sides.append(find_side(_reference(against, sides[0]), storage, template))
            _refuse_itself(against, *sides)
        chats = [Chat(side.model, side.template) for side in sides]
    console = Console(markup=False, emoji=False, highlight=False)
    for side in sides:
        console.print(f"{side.title}: {side.model.path}", soft_wrap=True)
    console.print("an empty line ends")
    while question := _question(console):
        if len(sides) == 1:
            chats[0].answer(question, max_new_tokens, partial(_write, console))
            console.print()
        else:
            _side_by_side(console, sides, chats, question, max_new_tokens)


COMMANDS = [chat]


def _reference(against: str, first: Side) -> str:
    """Return what `--against` means: a trial or an arm is of the first model's run."""
    from neft_ray.pipeline.sides import ARMS

    is_trial = against in ARMS or (against[:1] == "t" and against[1:].isdecimal())
    return f"{first.run.root}:{against}" if is_trial and first.run is not None else against


def _refuse_itself(against: str, first: Side, second: Side) -> None:
    if first.model.path == second.model.path:
        what = f"is {first.title}, the model itself"
        raise bad_input(f"--against {against}", what, "name another trial, or the other arm")


def _question(console: Console) -> str:
    try:
        return console.input("you> ").strip()
    except (EOFError, KeyboardInterrupt):
        return ""


def _write(console: Console, piece: str) -> None:
    console.print(tame(piece), end="", soft_wrap=True)


def _add(text: Text, piece: str) -> None:
    text.append(tame(piece))


def _side_by_side(
    console: Console,
    sides: Sequence[Side],
    chats: Sequence[Chat],
    question: str,
    max_new_tokens: int,
) -> None:
    """Let two models answer at the same time, each in its half of the terminal."""
    texts = [Text() for _ in sides]

    def shown() -> RenderableType:
        width = console.width // len(sides)
        panels = [
            Panel(text, title=Text(side.title), width=width)
            for side, text in zip(sides, texts, strict=True)
        ]
        return Columns(panels, padding=0)

    with (
        Live(get_renderable=shown, console=console, refresh_per_second=SHOWN_PER_SECOND),
        ThreadPoolExecutor(len(sides)) as threads,
    ):
        answers = [
            threads.submit(each.answer, question, max_new_tokens, partial(_add, text))
            for each, text in zip(chats, texts, strict=True)
        ]
        for answer in answers:
            answer.result()
