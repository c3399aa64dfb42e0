"""Prompts of evaluation sets, so that training rows that ask the same can be left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from neft_ray.data.conversation import Turn
from neft_ray.data.formats import messages, sharegpt
from neft_ray.data.read import MAX_PROBLEMS, Row, read_rows
from neft_ray.data.row import RowError, text
from neft_ray.data.split import prompt_key
from neft_ray.errors import Problem, UserError

REMEDY = "give a file whose rows have instruction, prompt, turns, messages or conversations"


def excluded_prompts(sources: Sequence[str]) -> dict[str, str]:
    """Return the key of every prompt of some evaluation sets, with the place where it stands.

    Args:
        sources: Hub names, files, folders, or `builtin:tales` for its held-out rows. All splits of
            a data set on the hub count.

    Raises:
        UserError: If one cannot be read, or holds rows of an unknown kind (20 are named).
    """
    found: dict[str, str] = {}
    problems: list[Problem] = []
    for source in sources:
        for place, row in read_rows(source, part="held_out", hub_split="all"):
            try:
                found.setdefault(prompt_key(_prompt(row)), place)
            except RowError as error:
                problems.append(Problem(place, str(error), REMEDY))
    if problems:
        raise UserError(problems[:MAX_PROBLEMS])
    return found


def asked_keys(turns: Sequence[Turn]) -> Iterator[str]:
    """Yield the key of every question of a conversation, alone, and of all before its answer."""
    yield prompt_key(_opening(turns))
    for turn in turns:
        if turn.role == "user":
            yield prompt_key([turn])


def _opening(turns: Sequence[Turn]) -> list[Turn]:
    """Return what comes before the first answer."""
    first = next((i for i, turn in enumerate(turns) if turn.role == "assistant"), len(turns))
    return list(turns[:first])


def _instruction(row: Row) -> list[Turn]:
    """AlpacaEval's `{instruction, output, …}`, and Alpaca's and Dolly's with their input."""
    context = text(row, "context" if "context" in row else "input", required=False)
    return [Turn("user", text(row, "instruction"), context)]


def _first_turn(row: Row) -> list[Turn]:
    """MT-Bench's `{turns: […]}`; those after the first ask nothing without it."""
    turns = row["turns"]
    if not isinstance(turns, list) or not turns or not isinstance(turns[0], str):
        raise RowError("'turns' is not a list of texts")
    return [Turn("user", turns[0])]


PROMPTS: Mapping[str, Callable[[Row], list[Turn]]] = {
    "instruction": _instruction,
    "prompt": lambda row: [Turn("user", text(row, "prompt"))],  # IFEval's
    "turns": _first_turn,
    "messages": lambda row: _opening(messages(row)),
    "conversations": lambda row: _opening(sharegpt(row)),
}
"""How the prompt of an evaluation set's row is found, by the key that tells its kind."""


def _prompt(row: Row) -> list[Turn]:
    for key, turns in PROMPTS.items():
        if key in row:
            return turns(row)
    raise RowError(f"has the keys {', '.join(map(str, row))}, none of them a prompt's")
