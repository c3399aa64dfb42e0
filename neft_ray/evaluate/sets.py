"""Sets of prompts to be answered: AlpacaEval, MT-Bench, IFEval, or any file that asks something."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from neft_ray.data.conversation import Turn
from neft_ray.data.questions import PUBLISHED, REMEDY, questions_of, read_set
from neft_ray.data.read import MAX_PROBLEMS, PlacedRow, Row
from neft_ray.data.row import RowError
from neft_ray.errors import Problem, UserError
from neft_ray.generate.replies import Prompt
from neft_ray.judge import Output, Outputs


@dataclass(frozen=True)
class EvaluationSet:
    """Prompts, and what the file says beside them."""

    name: str
    kind: str
    """Of all its rows: see `KINDS`."""
    prompts: tuple[Prompt, ...]
    rows: tuple[Row, ...]
    """One per prompt, as in the file."""
    content_hash: str
    """Twelve hexadecimal digits of the questions."""

    @property
    def outputs(self) -> Outputs | None:
        """The outputs that come with the prompts, of whatever system; None where none do."""
        if not all({"output", "generator"} <= row.keys() for row in self.rows):
            return None
        found = (
            Output(self.instruction(number), str(row["output"]), str(row.get("dataset", "")))
            for number, row in enumerate(self.rows)
        )
        return Outputs(str(self.rows[0]["generator"]), tuple(found))

    def instruction(self, number: int) -> str:
        """Return what a prompt asks, as AlpacaEval's files name it."""
        texts = [_text(turn) for turn in self.prompts[number].questions]
        if len(texts) == 1:
            return texts[0]
        return "\n\n".join(f"[Turn {turn}] {text}" for turn, text in enumerate(texts, start=1))


def load_set(name: str, max_prompts: int | None = None) -> EvaluationSet:
    """Return an evaluation set.

    Args:
        name: See `read_set`.
        max_prompts: The first so many alone; None: all.

    Raises:
        UserError: If it cannot be had, or rows ask nothing (the first 20 are named).
    """
    placed = read_set(name)[:max_prompts]
    prompts, kinds, problems = [], [], []
    first: dict[str, str] = {}
    for number, (place, row) in enumerate(placed):
        try:
            kind, turns = questions_of(row)
            _check(turns)
        except RowError as error:
            problems.append(Problem(place, str(error), REMEDY))
            continue
        asked = json.dumps([(turn.text, turn.context) for turn in turns])
        if first.setdefault(asked, place) != place:  # replies are told apart by what they answer
            problems.append(Problem(place, f"asks what {first[asked]} asks", "keep one of them"))
        prompts.append(Prompt(number, tuple(turns)))
        kinds.append(kind)
    problems += _mixed(kinds, placed)
    if problems:
        raise UserError(problems[:MAX_PROBLEMS])
    digest = hashlib.sha256(json.dumps(list(first)).encode()).hexdigest()[:12]
    short = name if name in PUBLISHED else re.sub(r"[^\w.-]+", "-", Path(name).stem)
    rows = tuple(row for _, row in placed)
    return EvaluationSet(short, kinds[0], tuple(prompts), rows, digest)


def _check(turns: Sequence[Turn]) -> None:
    if any(turn.is_empty for turn in turns):
        raise RowError("asks nothing: its prompt is empty")
    if any(turn.role != "user" for turn in turns):
        raise RowError("has messages that are not a user's, which are not asked")


def _mixed(kinds: Sequence[str], placed: Sequence[PlacedRow]) -> list[Problem]:
    """Name the first row of another kind than the first one: measures are of one kind."""
    if len(set(kinds)) < 2 or len(kinds) < len(placed):
        return []
    number = next(n for n, kind in enumerate(kinds) if kind != kinds[0])
    what = f"is of kind {kinds[number]}, and the rows before are of kind {kinds[0]}"
    return [Problem(placed[number].place, what, "give each kind a file of its own")]


def _text(turn: Turn) -> str:
    return "\n\n".join(filter(None, [turn.text, turn.context]))
