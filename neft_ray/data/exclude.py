"""Prompts of evaluation sets, so that training rows that ask the same can be left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from neft_ray.data.conversation import Turn
from neft_ray.data.questions import REMEDY, opening, questions_of, read_set
from neft_ray.data.read import MAX_PROBLEMS
from neft_ray.data.row import RowError
from neft_ray.data.split import prompt_key
from neft_ray.errors import Problem, UserError


def excluded_prompts(sources: Sequence[str]) -> dict[str, str]:
    """Return the key of every prompt of some evaluation sets, with the place where it stands.

    Of questions in turn the first alone counts: those after it ask nothing without it.

    Args:
        sources: See `read_set`.

    Raises:
        UserError: If one cannot be read, or holds rows of an unknown kind (20 are named).
    """
    found: dict[str, str] = {}
    problems: list[Problem] = []
    for source in sources:
        for place, row in read_set(source):
            try:
                kind, turns = questions_of(row)
                asked = turns[:1] if kind == "mt_bench" else turns
                found.setdefault(prompt_key(asked), place)
            except RowError as error:
                problems.append(Problem(place, str(error), REMEDY))
    if problems:
        raise UserError(problems[:MAX_PROBLEMS])
    return found


def asked_keys(turns: Sequence[Turn]) -> Iterator[str]:
    """Yield the key of every question of a conversation, alone, and of all before its answer."""
    yield prompt_key(opening(turns))
    for turn in turns:
        if turn.role == "user":
            yield prompt_key([turn])
