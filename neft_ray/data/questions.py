"""Evaluation sets: where the published ones lie, and what a row of any of them asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from neft_ray.data.conversation import Turn
from neft_ray.data.formats import said_in_messages, said_in_sharegpt
from neft_ray.data.read import PlacedRow, Row, read_rows
from neft_ray.data.row import RowError, text
from neft_ray.errors import bad_input


@dataclass(frozen=True)
class OnHub:
    """Where a published set lies."""

    repository: str
    file: str
    kind: str = "dataset"


PUBLISHED = {
    "alpaca_eval": OnHub("tatsu-lab/alpaca_eval", "alpaca_eval.json"),
    "ifeval": OnHub("google/IFEval", "ifeval_input_data.jsonl"),
    "mt_bench": OnHub("lmsys/mt-bench", "data/mt_bench/question.jsonl", kind="space"),
}
REMEDY = "give a file whose rows have instruction, prompt, turns, messages or conversations"


def is_published(source: str) -> bool:
    """Tell whether a name is that of a published set; a file of that name comes first."""
    return source in PUBLISHED and not Path(source).is_file()


def read_set(source: str) -> list[PlacedRow]:
    """Return the rows of an evaluation set.

    Args:
        source: A key of `PUBLISHED`, a hub name (all its splits), a file or folder, or
            `builtin:tales` for its held-out rows.

    Raises:
        UserError: If it cannot be had.
    """
    found = str(_download(source)) if is_published(source) else source
    return read_rows(found, part="held_out", hub_split="all")


def questions_of(row: Row) -> tuple[str, list[Turn]]:
    """Return the kind of a row's set, and what the row asks: one question, or several in turn.

    Raises:
        RowError: If it asks nothing in any way that is known.
    """
    for key, (kind, turns) in KINDS.items():
        if key in row:
            if not (asked := turns(row)):
                raise RowError("asks nothing before its first answer")
            return kind, asked
    raise RowError(f"has the keys {', '.join(map(str, row))}, none of them a prompt's")


def opening(turns: Sequence[Turn]) -> list[Turn]:
    """Return what comes before the first answer."""
    first = next((i for i, turn in enumerate(turns) if turn.role == "assistant"), len(turns))
    return list(turns[:first])


def _instruction(row: Row) -> list[Turn]:
    """AlpacaEval's `{instruction, output, …}`, and Alpaca's and Dolly's with their input."""
    context = text(row, "context" if "context" in row else "input", required=False)
    return [Turn("user", text(row, "instruction"), context)]


def _prompt(row: Row) -> list[Turn]:
    return [Turn("user", text(row, "prompt"))]


def _in_turn(row: Row) -> list[Turn]:
    """MT-Bench's `{turns: […]}`."""
    turns = row["turns"]
    if not isinstance(turns, list) or not turns or not all(isinstance(t, str) for t in turns):
        raise RowError("'turns' is not a list of texts")
    return [Turn("user", turn) for turn in turns]


KINDS: Mapping[str, tuple[str, Callable[[Row], list[Turn]]]] = {
    "instruction_id_list": ("ifeval", _prompt),
    "turns": ("mt_bench", _in_turn),
    "instruction": ("alpaca_eval", _instruction),
    "prompt": ("prompts", _prompt),
    "messages": ("prompts", lambda row: opening(said_in_messages(row))),
    "conversations": ("prompts", lambda row: opening(said_in_sharegpt(row))),
}
"""By the key that tells a row's kind, the first that fits: the kind, and what it asks."""


def _download(name: str) -> Path:
    from huggingface_hub import hf_hub_download

    place = PUBLISHED[name]
    try:
        file = hf_hub_download(place.repository, place.file, repo_type=place.kind)
    except Exception as error:  # the hub client's errors have no common base
        first = str(error).strip().partition("\n")[0][:200]
        what = f"cannot be fetched from {place.repository}: {type(error).__name__}: {first}"
        raise bad_input(name, what, "without a hub connection name its file") from None
    return Path(file)
